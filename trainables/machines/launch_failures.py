"""Machines that the cloud refuses, or whose setup fails: each reason is told once, and a search ends where there is no hope for any.

Ray's autoscaler asks again and again, and its status tells no reason (2.60: that stands in the autoscaler's log alone, on
the head, where the search runs, too).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from minbert.errors import cut
from trainables.machines.on_demand import Supply
from trainables.machines.placement import MONITOR_LOGS

HOPELESS_SECONDS = 300.0
"""So long all kinds of machines that are asked for are refused for good before a search ends: rights that were given just
now take a while to hold."""
_LOG = "monitor.log"
_RECORD = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)
_FAILED = re.compile(r"Failed to launch \d+ nodes of type (?P<kind>\S+): (?P<reason>.+)", re.DOTALL)
_BROKEN = re.compile(r"Ray installation failed on instance (?P<instance>\S+): (?P<reason>.+)", re.DOTALL)
MOST_BROKEN = 6
"""So many machines one after the other, each tried three times, are paid for and not set up before a search ends."""
_CODE = re.compile(r"^(?:Node Launch Exception|An error occurred) \((?P<code>[\w.]+)\)[^:]*: ?(?P<text>.*)")
_PARAMETERS = "Parameter validation failed"
_LASTING = re.compile(
    r"(Invalid|Malformed|Missing|Unknown|Unsupported|Unauthorized|AccessDenied)[\w.]*|(?!Request)\w*(Limit|Count)Exceeded|"
    r"AuthFailure|OptInRequired|PendingVerification|Blocked"
)
"""Codes of EC2 for what somebody has to mend: quotas, rights, roles, images, parameters."""


@dataclass(frozen=True)
class Refusal:
    """What came of one request.

    Attributes:
        kind: of machine, as the launcher's file names it.
        code: the cloud's word for the reason, where there is one.
        text: the reason, in one line.
    """

    kind: str
    code: str
    text: str

    @classmethod
    def of(cls, kind: str, reason: str) -> Refusal:
        """From what Ray writes down."""
        line = " ".join(reason.split())
        found = _CODE.match(line)
        return cls(kind, found["code"], found["text"]) if found else cls(kind, "", line)

    @property
    def is_lasting(self) -> bool:
        """Whether it does not pass by itself, as a lack of machines does."""
        return bool(_LASTING.fullmatch(self.code)) or self.text.startswith(_PARAMETERS)

    @property
    def why(self) -> str:
        """The reason as users are told it."""
        return cut(f"{self.code}: {self.text}" if self.code else self.text, 300)


@dataclass(frozen=True)
class FailedSetup:
    """A try to set up a machine that was had.

    Attributes:
        instance: the cloud's name of it.
        reason: in one line.
    """

    instance: str
    reason: str


class LaunchLog:
    """What the autoscaler notes from now on of machines that it could not have, or not set up.

    Args:
        logs: the folder of Ray's logs on this machine; no such log is there on one that is no head.
    """

    def __init__(self, logs: Path) -> None:
        self._path = logs / _LOG
        self._read = self._path.stat().st_size if self._path.is_file() else 0

    def new(self) -> list[Refusal | FailedSetup]:
        """What was added since the last time."""
        if not self._path.is_file():
            return []
        if self._path.stat().st_size < self._read:  # it was begun anew
            self._read = 0
        with self._path.open("rb") as file:
            file.seek(self._read)
            text, whole, _ = file.read().rpartition(b"\n")
        self._read += len(text) + len(whole)
        return failures_in(text.decode(errors="replace"))


def failures_in(log: str) -> list[Refusal | FailedSetup]:
    """What lines of the autoscaler's log tell of; a reason may take several of them."""
    found: list[Refusal | FailedSetup] = []
    for record in _RECORD.split(log):
        if refused := _FAILED.search(record):
            found.append(Refusal.of(refused["kind"], refused["reason"]))
        elif broken := _BROKEN.search(record):
            found.append(FailedSetup(broken["instance"], cut(" ".join(broken["reason"].split()), 300)))
    return found


class Refusals:
    """Tells of each reason once, and gives up where all that is asked for is refused for good.

    Args:
        say: tells the user.
        give_up: ends the search; is told why.
    """

    def __init__(self, say: Callable[[str], object], give_up: Callable[[str], object]) -> None:
        self._say, self._give_up = say, give_up
        self._said: set[tuple[str, str]] = set()
        self._last: dict[str, Refusal] = {}  # of each kind, since a machine was had
        self._since: float | None = None

    def look(self, refused: Iterable[Refusal], supply: Supply, now: float) -> None:
        """Take in what was refused, and what there is all the same.

        Args:
            refused: since the last look.
            supply: of the moment.
            now: seconds of some clock.
        """
        for refusal in refused:
            self._last[refusal.kind] = refusal
            if (told := (refusal.kind, refusal.code or refusal.text)) not in self._said:
                self._said.add(told)
                self._say(f"no machine of the type {refusal.kind} could be had: {refusal.why}")
        if supply.there or supply.of_any_kind or supply.coming or not supply.awaited:
            self._last.clear()
        if not self._last or not all(refusal.is_lasting for refusal in self._last.values()):
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= HOPELESS_SECONDS:
            reasons = "; ".join(f"{kind}: {refusal.why}" for kind, refusal in self._last.items())
            self._give_up(f"no machine can be had: {reasons}")


class FailedSetups:
    """Tells of each reason once, and gives up after some machines in a row that were paid for and never joined.

    Args:
        say: tells the user.
        give_up: ends the search; is told why.
    """

    def __init__(self, say: Callable[[str], object], give_up: Callable[[str], object]) -> None:
        self._say, self._give_up = say, give_up
        self._said = set[str]()
        self._broken = set[str]()  # since a machine joined

    def look(self, failed: Iterable[FailedSetup], supply: Supply) -> None:
        """Take in what failed since the last look, and what there is all the same."""
        if supply.there or supply.of_any_kind:
            self._broken.clear()
        for setup in failed:
            self._broken.add(setup.instance)
            if setup.reason not in self._said:
                self._said.add(setup.reason)
                self._say(f"a machine was had, and its setup failed: {setup.reason}; {MONITOR_LOGS} say more")
            if len(self._broken) >= MOST_BROKEN:
                self._give_up(
                    f"{len(self._broken)} machines were had, and the setup of all failed: {setup.reason}; {MONITOR_LOGS} say more"
                )
                return
