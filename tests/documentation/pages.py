"""What README and the pages of docs/ hold: commands, snippets, running text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
)
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
ENDS = ("|", ">", "<", "&&", ";", "&", "…", "||")


def fences(page: str, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(TEXTS[page]) if language in languages]


def prose(page: str) -> str:
    return FENCE.sub("", TEXTS[page])


def inline(page: str) -> list[str]:
    """What stands in backticks in the running text, each on one line."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]


def shell_lines(page: str) -> list[str]:
    """The lines of a page's blocks of commands, continued ones joined."""
    blocks = fences(page, "", "sh", "bash")
    return [line for text in blocks for line in text.replace("\\\n", " ").splitlines()]


def commands(page: str) -> Iterator[list[str]]:
    """Commands of a page, quoted ones within them too, up to a pipe or redirection."""
    for line in [*shell_lines(page), *inline(page)]:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a sentence of output
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        for word in words[1:]:
            if word.startswith(("python ", "make ")):
                yield shlex.split(word)
        if words:
            yield first_command(words)


def python_commands(page: str) -> list[tuple[str, list[str]]]:
    """Module and arguments of every ``python -m``."""
    return [
        (words[2], words[3:])
        for words in commands(page)
        if Path(words[0]).name == "python" and words[1:2] == ["-m"] and len(words) > 2
    ]


def steps(page: str) -> list[str]:
    """What a reader of a page types, in order: the lines of its blocks, then the commands of the running text.

    In the running text a module's name alone is no command, nor is one that ends with "…".
    """
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in shell_lines(page)]
    typed = [line for line in lines if line]
    known = {tuple(first_command(shlex.split(line))) for line in typed if line.startswith("python ")}
    quoted = [
        ["python", "-m", module, *arguments]
        for module, arguments in python_commands(page)
        if arguments and "…" not in arguments
    ]
    return [*typed, *dict.fromkeys(shlex.join(words) for words in quoted if tuple(words) not in known)]


def first_command(words: list[str]) -> list[str]:
    """A line's words up to a pipe, a redirection or what is left out."""
    return words[: next((at for at, word in enumerate(words) if word in ENDS), len(words))]
