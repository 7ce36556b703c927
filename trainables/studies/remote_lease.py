"""One driver a study in an object store, which has no locks: who drives says so again and again.

Every driver keeps an object of its own under ``drivers/``, which says whether it asks for the study or holds it. Whoever
finds that another one holds it, and has given a sign of life lately, stays away. All times are the store's, so that clocks of
machines do not matter.

Of several that begin at once exactly one goes on. Each writes that it asks, and then looks at the others: it gives way to
one that holds the study, and to one that asks and whose name comes first; for one whose name comes later it looks again, until
that has gone, or holds. Where no other is left it writes that it holds, and looks a last time for another that does.

- Never two: each wrote that it holds before its last look, so that whichever wrote later saw the other one. This needs nothing
  but that what was written is seen by all who look afterwards, as S3 promises.
- Never none: of those that ask, the one whose name comes first gives way to nobody but one that holds. That one goes on: in its
  last look it finds no other that holds, since whoever sees it there does not come to hold. Only where a driver gives no
  sign for ``STALE_SECONDS`` in the middle of this, is taken for lost, and goes on then, may the last looks turn away both.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minbert.errors import UserError
from minbert.remote.object_store import ObjectStore, Stored

FOLDER = "drivers"
HOLDS = "holds"
"""Key of what a driver says of itself: whether it holds the study, or asks for it."""
SECONDS_BETWEEN_SIGNS = 20.0
STALE_SECONDS = 90.0
_SECONDS_BETWEEN_LOOKS = 1.0
_Owner = dict[str, object]


@contextmanager
def leased(store: ObjectStore, option: str = "--study") -> Iterator[None]:
    """Hold a study in a store for this driver.

    Args:
        store: where the study is.
        option: of the command line that names it.

    Raises:
        UserError: another driver holds it; the message names host and process, and since when it gave no sign.
        OSError: the store is away.
    """
    own, over = f"{FOLDER}/{secrets.token_hex(8)}", threading.Event()
    asked_once = store.impatient()
    _ask(store, own, option)
    try:
        _win(store, own, option)

        def renew() -> None:
            while not over.wait(SECONDS_BETWEEN_SIGNS):
                with suppress(OSError):  # a store that is away: whoever writes the journal finds that out
                    asked_once.write(own, _sign(holds=True))

        thread = threading.Thread(target=renew, name="signs of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(SECONDS_BETWEEN_SIGNS)
    finally:
        with suppress(OSError):
            asked_once.delete([own])


def _ask(store: ObjectStore, own: str, option: str) -> None:
    try:
        store.write(own, _sign(holds=False))
    except OSError as error:
        if error.errno in (errno.EIO, errno.EACCES):
            raise UserError(
                f"{option} {store.url}: {error.strerror}: we may read there, but not write"
            ) from None
        raise


def _win(store: ObjectStore, own: str, option: str) -> None:
    """Come to hold the study.

    Raises:
        UserError: another one does, or comes first.
    """
    told = False
    while asking := _others(store, own, option):
        first = min(asking)
        if first < own:
            raise _refusal(store, option, *asking[first])
        if not told:
            store.on_waiting(f"{store.url}: {_named(asking[first][0])} begins there, too; it is waited for")
            told = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        store.write(own, _sign(holds=False))
    store.write(own, _sign(holds=True))
    _others(store, own, option)


def _others(store: ObjectStore, own: str, option: str) -> dict[str, tuple[_Owner, float]]:
    """The other drivers that ask for the study, and for how many seconds each gave no sign; the lost ones are cleared away.

    Raises:
        UserError: another one holds it, or took this one for lost.
    """
    signs, asking = store.names(FOLDER), {}
    if own not in signs:
        raise UserError(
            f"{option} {store.url}: another search took this one, which gave no sign for {STALE_SECONDS:.0f} s, for lost; "
            "give the command again"
        )
    for name in signs.keys() - {own}:
        owner = _owner(store, name)
        if owner is None:  # has just ended
            continue
        silent = _seconds(signs[name], signs[own])
        if silent >= STALE_SECONDS or _is_dead(owner):
            store.delete([name])
        elif owner.get(HOLDS, True):
            raise _refusal(store, option, owner, silent)
        else:
            asking[name] = owner, silent
    return asking


def _refusal(store: ObjectStore, option: str, owner: _Owner, silent: float) -> UserError:
    return UserError(
        f"{option} {store.url}: in use by {_named(owner, f'; its last sign {silent:.0f} s ago')}; if it was lost, give the "
        f"command again in {max(1, STALE_SECONDS - silent):.0f} s"
    )


def _named(owner: _Owner, more: str = "") -> str:
    return f"another search (host {owner.get('host')}, process {owner.get('process')}{more})"


def _seconds(earlier: Stored, now: Stored) -> float:
    return max(0.0, (now.changed - earlier.changed).total_seconds())


def _sign(holds: bool) -> bytes:
    owner = {"host": socket.gethostname(), "process": os.getpid(), "machine": _machine(), HOLDS: holds}
    return json.dumps(owner).encode()


def _owner(store: ObjectStore, name: str) -> _Owner | None:
    """What a driver says of itself; None where it has just ended."""
    content = store.read(name)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead(owner: _Owner) -> bool:
    """Whether a driver ran on this machine and does so no more."""
    process = owner.get("process")
    return (
        owner.get("machine") == _machine()
        and isinstance(process, int)
        and not Path(f"/proc/{process}").exists()
    )


def _machine() -> str:
    """Names this start of this machine and the processes that we see of it; of chance where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return secrets.token_hex(8)
