"""Commands of a shell taken apart: which words each has, and which files it writes. A reading, not the shell's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_TOKEN = re.compile(
    r"""
    (?P<space>[^\S\n]+|\\\n)
    | (?P<comment>\#[^\n]*)
    | (?P<write>(?:1|&)?>>?\|?(?!&))
    | (?P<other>[0-9]*>>?&?[0-9-]*|[0-9]*<+)
    | (?P<end>&&|\|\||[;&|()\n])
    | (?P<word>(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s;&|<>()'"\\])+)
    | (?P<odd>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"'([^']*)'|\"((?:\\.|[^\"\\])*)\"|\\(.)", re.DOTALL)
_HOME = re.compile(r"^\$(HOME|\{HOME\})(?=/|$)")


@dataclass(frozen=True)
class Command:
    """One command: its words without their quotes, and the files that its output goes to."""

    words: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def commands_of(text: str) -> Iterator[Command]:
    """The commands that a line holds, those of a pipe one by one; ``… | tee FILE`` writes as ``… > FILE`` does."""
    found = [Command()]
    before = aim = ""
    for kind, token in _tokens(text):
        if kind == "end":
            _close(found, before)
            before, aim = token, ""
        elif kind in ("write", "other"):
            aim = kind
        elif aim:
            if aim == "write":
                found[-1] = replace(found[-1], files=(*found[-1].files, at_home(token)))
            aim = ""
        else:
            found[-1] = replace(found[-1], words=(*found[-1].words, token))
    _close(found, before)
    return (command for command in found if command.words)


def at_home(path: str) -> str:
    """A path with the home folder written as ``~``."""
    return _HOME.sub("~", path)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    is_document = "<<" in text  # its lines are the command's input
    for match in _TOKEN.finditer(text):
        kind, token = str(match.lastgroup), match[0]
        if kind == "word":
            yield kind, _QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or quoted[3] or "", token)
        elif kind in ("write", "other") or (kind == "end" and not (is_document and token == "\n")):
            yield kind, token


def _close(found: list[Command], before: str) -> None:
    """End the last command, which came after the operator `before`."""
    if before == "|" and "tee" in found[-1].words:
        words = found.pop().words
        files = (at_home(word) for word in words[words.index("tee") + 1 :] if not word.startswith("-"))
        found[-1] = replace(found[-1], files=(*found[-1].files, *files))
    found.append(Command())
