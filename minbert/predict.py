"""Predict with an exported model: ``python -m minbert.predict DIR --task sts "one sentence" "another one"``.

Prints a line an example, in the order given: the label, its probability and its name where it has one, separated by
tabs, or the score.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert.command_line import Parser, local_path, run
from minbert.errors import UserError
from minbert.exported import Exported, open_exported
from minbert.given_texts import Given, read_arguments, read_file
from minbert.waiting import progress_bar


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Raises:
        UserError: the folder, the task or the texts cannot be used.
    """
    options = _parser().parse_intermixed_args(arguments)
    model = open_exported(options.folder)
    task = _task(model, options.task)
    given = _given(model, task, options.texts, options.file)
    with progress_bar(len(given.examples) * model.members(task), "examples") as progress:
        outputs = model.predict(task, given.examples, progress)
    for number, answer in enumerate(model.answers(task, outputs)):
        named = {"id": given.ids[number]} if given.ids is not None else {}
        print(json.dumps({**named, **answer}, ensure_ascii=False) if options.json else describe(answer))
    return 0


def describe(answer: Mapping[str, Any]) -> str:
    """An answer as a line: ``label<tab>probability``, with ``<tab>name`` where labels have names, or ``score``."""
    if "score" in answer:
        return f"{answer['score']:.4f}"
    name = f"\t{answer['name']}" if "name" in answer else ""
    return f"{answer['label']}\t{answer['probability']:.4f}{name}"


def _task(model: Exported, name: str | None) -> str:
    if name is None and len(model.tasks) > 1:
        raise UserError(f"--task is missing: the tasks of {model.folder} are {', '.join(model.tasks)}")
    found = name if name is not None else next(iter(model.tasks))
    model.task(found)
    return found


def _given(model: Exported, task: str, texts: Sequence[str], file: Path | None) -> Given:
    if texts and file is not None:
        raise UserError("sentences are given as arguments and by --file: give them once")
    config = model.task(task)
    return read_arguments(texts, config) if texts else read_file(file, config)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m minbert.predict",
        description="Predict with an exported model; a line an example: its label, the label's probability "
        "and name, or its score. Examples come from arguments, from --file, or else from standard input.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=local_path,
        help="what python -m trainables.export wrote",
    )
    parser.add_argument("texts", metavar="SENTENCE", nargs="*", help="of pair tasks, two for each example")
    parser.add_argument("--task", help="such as sst, qqp or sts; may be left out where there is one")
    parser.add_argument(
        "--file",
        type=local_path,
        help="tab- or comma-separated with a header that names the task's columns (sentence1, sentence2); without "
        "one, two columns, or a sentence a line; -: standard input",
    )
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON an example, with all probabilities"
    )
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
