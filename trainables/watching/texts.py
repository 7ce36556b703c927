"""How a terminal is told texts and times."""

from __future__ import annotations

_MESSAGE = 160


def printable(text: str) -> str:
    """A text without what would steer the terminal: a study may come from anywhere."""
    return "".join(character if character.isprintable() else " " for character in text)


def one_line(text: str) -> str:
    """A message in one line, cut to fit."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _MESSAGE else line[: _MESSAGE - 1] + "…"


def duration(seconds: float, short: bool = False) -> str:
    """Seconds as a person says them: ``1 h 05 min``, or ``25 min 10 s``, in short ``25 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    if minutes:
        return f"{minutes} min" if short else f"{minutes} min {rest:02d} s"
    return f"{rest} s"
