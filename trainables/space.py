"""Search spaces: list them, look at one, check one's own, and let an editor check it while it is written."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import nullcontext
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from minbert.command_line import EXIT_USER, Parser, not_a_url, run
from minbert.errors import UserError
from minbert.terminal import PlainConsole
from trainables.space_pages.parts import read_parts
from trainables.spaces.files import available_spaces

_COUNTS = ("runs", "factors")
_WHOLE_LINES = 10_000
"""Width for programs and files, where no line is broken."""


def main() -> int:
    """Parse the command line and do what it says."""
    arguments = _parser().parse_args()
    commands = {"list": _list, "show": _show, "check": _check, "schema": _schema}
    return commands[arguments.command](arguments)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m trainables.space", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="all spaces that --space NAME of a search finds")
    listing.add_argument("--json", action="store_true", help="as JSON, with the files' paths")
    show = commands.add_parser("show", help="a space as a tree; levels are not put together (check does)")
    check = commands.add_parser("check", help="say what a search would refuse; nothing is written")
    for command, several in ((show, None), (check, "+")):
        command.add_argument(
            "space", type=not_a_url, nargs=several, help="name of a packaged space or path of a .yaml"
        )
    check.add_argument(
        "--data",
        type=not_a_url,
        default="auto",
        help="data folder (default: $MINBERT_DATA, ./data, or the bundled corpus)",
    )
    check.add_argument(
        "--encoder",
        type=not_a_url,
        default="auto",
        help="checkpoint folder or hub id (default: bundled, or bert-base-uncased)",
    )
    check.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="set a leaf first; repeatable"
    )
    commands.add_parser("schema", help="a JSON Schema of space files, for editors")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    from trainables.space_pages.runs import runs_of  # noqa: PLC0415 - slow to import: optuna

    found, failed = [], False
    for name in available_spaces():
        try:
            space = read_parts(name).space
            runs = runs_of(space)
        except UserError as error:
            failed = True
            print(f"error: {error}", file=sys.stderr)
            continue
        factors = 0 if space.runs.rows else len(space.factors)
        found.append(
            {
                "name": name,
                "description": " ".join(space.description.split()),
                "design": space.settings.design,
                "runs": runs,
                "factors": factors,
                "file": str(space.source),
            }
        )
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        _print_list(found)
    return EXIT_USER if failed else 0


def _print_list(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("space", "design", "runs", "factors", "question"):
        table.add_column(title, no_wrap=title != "question", justify="right" if title in _COUNTS else "left")
    for each in found:
        cells = [each["name"], each["design"], each["runs"], each["factors"] or "–", each["description"]]
        table.add_row(*(Text(str(cell)) for cell in cells))
    _print(table)


def _show(arguments: argparse.Namespace) -> int:
    from trainables.space_pages.page import show_space  # noqa: PLC0415 - slow to import: optuna

    _print(show_space(read_parts(arguments.space)))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from trainables.space_pages.check import Checker  # noqa: PLC0415 - slow to import: torch

    checker = Checker(arguments.data, arguments.encoder, os.environ.get("MINBERT_DATA"), arguments.set)
    failed = False
    errors = Console(stderr=True)
    for name in arguments.space:
        waiting = errors.status(Text(f"checking {name} …")) if errors.is_terminal else nullcontext()
        try:
            with waiting:
                line = checker.check(name)
        except UserError as error:
            failed = True
            where = "" if name in str(error) else f"{name}: "
            print(f"error: {where}{error}", file=sys.stderr, flush=True)
        else:
            print(line, flush=True)
    return EXIT_USER if failed else 0


def _schema(arguments: argparse.Namespace) -> int:
    from trainables.schema.space_schema import space_schema  # noqa: PLC0415 - only here

    print(json.dumps(space_schema(), indent=1))
    return 0


def _print(shown: RenderableType) -> None:
    """Print for a terminal in its width, and for programs and files without breaking a line."""
    console = PlainConsole(width=None if sys.stdout.isatty() else _WHOLE_LINES, highlight=False)
    with console.capture() as capture:
        console.print(shown)
    print(capture.get().rstrip())


if __name__ == "__main__":
    sys.exit(run(main))
