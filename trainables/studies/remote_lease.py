"""One driver a study in an object store, which has no locks: who drives says so again and again.

Every driver keeps an object of its own under ``drivers/``. Whoever finds a fresh one of another driver stays away. All
times are the store's, so that clocks of machines do not matter.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minbert.errors import UserError
from minbert.remote.object_store import ObjectStore

FOLDER = "drivers"
SECONDS_BETWEEN_SIGNS = 20.0
STALE_SECONDS = 90.0


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
    name, over = f"{FOLDER}/{secrets.token_hex(8)}", threading.Event()
    sign = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "machine": _machine()}).encode()
    asked_once = store.impatient()
    try:
        store.write(name, sign)
    except OSError as error:
        if error.errno in (errno.EIO, errno.EACCES):
            raise UserError(
                f"{option} {store.url}: {error.strerror}: we may read there, but not write"
            ) from None
        raise
    try:
        _refuse_others(store, name, option)

        def renew() -> None:
            while not over.wait(SECONDS_BETWEEN_SIGNS):
                with suppress(OSError):  # a store that is away: whoever writes the journal finds that out
                    asked_once.write(name, sign)

        thread = threading.Thread(target=renew, name="signs of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(SECONDS_BETWEEN_SIGNS)
    finally:
        with suppress(OSError):
            asked_once.delete([name])


def _refuse_others(store: ObjectStore, own: str, option: str) -> None:
    signs = store.names(FOLDER)
    now = signs[own].changed
    for name, stored in signs.items():
        owner = None if name == own else _owner(store, name)
        if owner is None:  # ourselves, or who has just ended
            continue
        silent = (now - stored.changed).total_seconds()
        if silent >= STALE_SECONDS or _is_dead(owner):
            store.delete([name])
            continue
        who = f"host {owner.get('host')}, process {owner.get('process')}"
        raise UserError(
            f"{option} {store.url}: in use by another search ({who}; its last sign {max(0, silent):.0f} s ago); if it was lost, "
            f"give the command again in {max(1, STALE_SECONDS - silent):.0f} s"
        )


def _owner(store: ObjectStore, name: str) -> dict[str, object] | None:
    """What a driver says of itself; None where it has just ended."""
    content = store.read(name)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead(owner: dict[str, object]) -> bool:
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
