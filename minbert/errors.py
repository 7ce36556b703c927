"""The one exception for mistakes that the user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: command lines print it as one line and exit with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def did_you_mean(value: object, allowed: Iterable[object]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest allowed value, or an empty string; capitals make no difference."""
    nearest = nearest_name(value, allowed)
    return f"; did you mean {nearest!r}?" if nearest else ""


def nearest_name(value: object, allowed: Iterable[object]) -> str:
    """The allowed value that is nearest to one that is none, or an empty string; capitals make no difference."""
    names = [str(name) for name in allowed]
    matches = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    if not matches:
        folded = {name.casefold(): name for name in names}
        near = difflib.get_close_matches(str(value).casefold(), folded, n=1, cutoff=0.5)
        matches = [folded[name] for name in near]
    return matches[0] if matches else ""


def nearest_first(value: object, allowed: Iterable[object], what: str, hint: str = "") -> str:
    """``; did you mean 'x'? The keys here are x, y``, or ``: the keys here are x, y`` where no name is near.

    Args:
        value: what is none of them.
        allowed: all names.
        what: what they are, such as ``the keys here are``.
        hint: what is said in the place of the nearest name; empty: that.
    """
    names = [str(name) for name in allowed]
    nearest, listed = hint or did_you_mean(value, names), f"{what} {', '.join(names)}"
    return f"{nearest} {listed[0].upper()}{listed[1:]}" if nearest else f": {listed}"


def cut(text: str, longest: int = 80) -> str:
    """A text of the user's, cut to fit a message."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


class Interrupted(Exception):
    """A trial was asked to end; it goes on from what it kept."""


class TrainingFailure(Exception):
    """A trial that cannot go on; ``cause`` is a short name such as ``nan``."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause
