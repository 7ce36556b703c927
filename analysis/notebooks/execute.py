"""Run the notebooks again: ``python -m analysis.notebooks.execute [--study STUDY --out DIR]``.

Without options the committed ones are written anew. With another study, copies that show it are written to
DIR. What differs from run to run without meaning anything (times, versions, paths) is not kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from traitlets.config import Config

from analysis.notebooks.cells import FOLDER
from analysis.provenance import refuse_lost_journal
from analysis.study import load
from minbert.command_line import EXIT_USER, Parser, local_path, refuse_unwritable, run
from minbert.errors import UserError
from minbert.files.inside_study import refuse_search_folders

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PARAMETERS = "parameters"
"""The tag of the cell that names the study, as papermill calls it."""
LONGEST = 120
"""Seconds that a cell may take."""


def notebooks() -> list[Path]:
    """The committed notebooks, by name."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(file: Path, study: str | None = None) -> NotebookNode:
    """Run a notebook in a fresh kernel, in its own folder, and return it with its outputs; ``study`` replaces its own.

    Raises:
        UserError: a cell failed.
    """
    notebook = nbformat.read(file, as_version=4)
    if study is not None:
        (cell,) = (one for one in notebook.cells if PARAMETERS in one.metadata.get("tags", ()))
        cell.source = f"STUDY = {study!r}"
    with TemporaryDirectory() as sockets:  # files that only this user can open, instead of ports
        client = NotebookClient(
            notebook,
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            timeout=LONGEST,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(file.parent)}},
        )
        try:
            client.execute()
        except CellExecutionError as error:
            raise UserError(f"{file.name}: {error.ename}: {error.evalue}") from None
    return _normalised(notebook)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Raises:
        UserError: ``--study`` without ``--out``, or the other way round; or one of them cannot be used.
    """
    parser = Parser(prog="python -m analysis.notebooks.execute", description="Run the notebooks again.")
    parser.add_argument("--study", metavar="STUDY", type=local_path, help="the study to show (needs --out)")
    parser.add_argument("--out", metavar="DIR", type=local_path, help="where to write copies that show it")
    options = parser.parse_args(arguments)
    if (options.study is None) != (options.out is None):
        raise UserError("--study and --out go together: the committed notebooks show the example")
    study = None if options.study is None else str(options.study.resolve())
    out = options.out or FOLDER
    if options.out:
        refuse_unwritable(out, f"--out {out}")
        refuse_search_folders(out, f"--out {out}")
        refuse_lost_journal(load(options.study))  # else every notebook says it, after its kernel has started
    out.mkdir(parents=True, exist_ok=True)
    failed = False
    for file in notebooks():
        try:
            nbformat.write(execute(file, study), out / file.name)
            print(out / file.name)
        except UserError as error:  # the other notebooks may well suit the study
            print(f"error: {error}", file=sys.stderr)
            failed = True
    return EXIT_USER if failed else 0


def _normalised(notebook: NotebookNode) -> NotebookNode:
    notebook.metadata = nbformat.from_dict(KERNEL)
    for place, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{place}"
        cell.metadata = nbformat.from_dict({"tags": tags} if (tags := cell.metadata.get("tags")) else {})
    return notebook


if __name__ == "__main__":
    sys.exit(run(main))
