"""Get the real data and encoder from the Hugging Face hub: ``python -m minbert.fetch``.

Data comes in the layout of the CS224N default project (:mod:`minbert.corpora`), the encoder as a folder in it.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from minbert.command_line import EXIT_FAILED, EXIT_INTERRUPTED, Parser, folder, run
from minbert.errors import UserError
from minbert.files.inside_study import refuse_search_folders
from minbert.hub.catalogue import ENCODER_FOLDER, ENTRIES, PUBLIC_HUB, PUBLIC_PAGES, Entry, chosen
from minbert.hub.record import condition, download_of, read_record

_DATA, _STUDY = Path("data"), Path("results/real")
_TASKS = ("sst", "qqp", "sts")


def main() -> int:
    """Parse the command line, fetch, and say how to go on."""
    arguments = _parser().parse_args()
    entries = chosen(arguments.only)
    if arguments.list:
        _print_list(entries, arguments.to)
        return 0
    refuse_search_folders(arguments.to, f"--to {arguments.to}")
    _refuse_bad_endpoint(os.environ.get("HF_ENDPOINT", PUBLIC_HUB))
    try:
        return _fetch(entries, arguments.to)
    except KeyboardInterrupt:
        print("interrupted: what came is kept, the same command goes on from there", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m minbert.fetch",
        description="Get the real data, in the layout of the CS224N default project, and the encoder from the Hugging "
        "Face hub. HF_ENDPOINT names a mirror, HF_TOKEN a token, HTTPS_PROXY a proxy.",
    )
    names = ", ".join(entry.name for entry in ENTRIES)
    parser.add_argument(
        "--to",
        type=folder,
        default=_DATA,
        metavar="DIR",
        help="the data folder (data/, where a search looks)",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"fetch only these of: {names}")
    parser.add_argument(
        "--list", action="store_true", help="show what there is and what is there; fetch nothing"
    )
    return parser


def _refuse_bad_endpoint(address: str) -> None:
    """Refuse what is no address, before huggingface_hub stumbles over it while it is imported."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"\s", address):
        raise UserError(f"HF_ENDPOINT {address[:80]!r}: is no address such as {PUBLIC_HUB}")


def _fetch(entries: Sequence[Entry], to: Path) -> int:
    from minbert.hub.client import Unreachable  # noqa: PLC0415 - huggingface_hub and pyarrow are slow to import
    from minbert.hub.obtaining import obtain  # noqa: PLC0415
    from minbert.hub.progress import Watch  # noqa: PLC0415

    try:
        failures = obtain(entries, to, Watch())
    except Unreachable as error:
        print(f"error: {error}", file=sys.stderr)
        _print_by_hand(entries, to)
        return EXIT_FAILED
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    _print_next(to)
    return EXIT_FAILED if failures else 0


def _print_by_hand(entries: Sequence[Entry], to: Path) -> None:
    """Which file to put where, for somebody without a connection."""
    from minbert.hub.client import address  # noqa: PLC0415
    from minbert.hub.obtaining import still_to_bring  # noqa: PLC0415

    print(
        "HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror. Or give the same command on a machine with a connection, "
        f"and bring its folder {to} here. Or put these files there by hand, and give the same command again:",
        file=sys.stderr,
    )
    for file in still_to_bring(entries, to):
        print(f"  {address(file, PUBLIC_HUB)}\n    as {download_of(to, file)}", file=sys.stderr)


def _print_next(to: Path) -> None:
    """The command that uses what is there."""
    record = read_record(to)
    if not all(name in record for name in _TASKS):
        return
    command = ["python", "-m", "trainables.search", "--space", "full_ablation"]
    if to != _DATA:
        command += ["--data", str(to)]
    if ENCODER_FOLDER in record:
        command += ["--encoder", str(to / ENCODER_FOLDER)]
    command += ["--study", str(_STUDY)]  # a search on the bundled data may lie in the space's own folder
    print(f"search on it with: {shlex.join(command)}")


def _print_list(entries: Sequence[Entry], to: Path) -> None:
    record = read_record(to)
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        state = condition(to, entry, record).state
        where = f"{PUBLIC_PAGES[entry.repository.kind]}{entry.repository.name}"
        print(f"{entry.name:{width}}  {entry.megabytes:6.1f} MB  {state}")
        print(f"    {entry.what}")
        print(f"    from {where}, revision {entry.repository.revision[:12]}")
        print(f"    licence: {entry.licence}")
        print(f"    files in {to}: {', '.join(entry.writes)}")


if __name__ == "__main__":
    raise SystemExit(run(main))
