"""Sentence vectors of an exported model: ``python -m minbert.embed DIR --file SENTENCES --out VECTORS.npy``.

``--nearest K --corpus FILE`` prints the sentences of a file that are nearest to each one given.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from minbert.command_line import Parser, local_path, run, whole_number
from minbert.errors import UserError
from minbert.exported import open_exported
from minbert.files.inside_study import refuse_search_folders
from minbert.files.leftovers import beside
from minbert.files.storage import failure
from minbert.given_texts import STDIN, Given, check_texts, read_sentences
from minbert.nearest import nearest
from minbert.waiting import progress_bar

_KINDS = (".npy", ".safetensors")
_HELD = "a sentence a line, or a table with a column sentence"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Raises:
        UserError: the folder, the sentences or ``--out`` cannot be used.
    """
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    model = open_exported(options.folder)
    model.only_folder()
    corpus = read_sentences(options.corpus) if options.corpus is not None else Given([])
    sentences = _sentences(options.texts, options.file)
    with progress_bar(len(sentences) + len(corpus.examples), "sentences") as progress:
        vectors = model.embed(sentences, progress)
        against = model.embed(_texts(corpus), progress)
    if options.out is not None:
        write_vectors(options.out, vectors)
        print(f"{len(vectors)} vectors of {vectors.shape[1]} numbers: {options.out}")
        return 0
    _print_nearest(sentences, vectors, corpus, against, options.nearest, options.json)
    return 0


def write_vectors(file: Path, vectors: np.ndarray) -> None:
    """Write (n, hidden) vectors as .npy, or as the tensor ``vectors`` of a .safetensors file, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = beside(file, "tmp")
    try:
        if file.suffix == ".npy":
            with temporary.open("wb") as stream:
                np.save(stream, vectors)
        else:
            save_file({"vectors": vectors}, temporary)
        temporary.rename(file)
    except OSError as error:
        if failure(error):
            raise
        raise UserError(f"--out {file}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _print_nearest(
    sentences: Sequence[str],
    vectors: np.ndarray,
    corpus: Given,
    against: np.ndarray,
    count: int,
    as_json: bool,
) -> None:
    places, cosines = nearest(vectors, against, count)
    texts = _texts(corpus)
    for sentence, own, near in zip(sentences, places.tolist(), cosines.tolist(), strict=True):
        found = [
            {"sentence": texts[place], "line": corpus.lines[place], "cosine": cosine}
            for place, cosine in zip(own, near, strict=True)
        ]
        if as_json:
            print(json.dumps({"query": sentence, "nearest": found}, ensure_ascii=False))
            continue
        for one in found:
            print(f"{_in_one_line(sentence)}\t{one['cosine']:.4f}\t{_in_one_line(one['sentence'])}")


def _sentences(texts: Sequence[str], file: Path | None) -> list[str]:
    check_texts(texts)
    return list(texts) if texts else _texts(read_sentences(file))


def _in_one_line(sentence: str) -> str:
    """A sentence of a table may hold line breaks and tabs."""
    return re.sub(r"\s*[\n\t]\s*", " ", sentence)


def _texts(given: Given) -> list[str]:
    return [sentence for (sentence,) in given.examples]


def _check(options: argparse.Namespace) -> None:
    if options.texts and options.file is not None:
        raise UserError("sentences are given as arguments and by --file: give them once")
    if (options.nearest is None) != (options.corpus is None):
        raise UserError("--nearest K and --corpus FILE go together")
    if (options.out is None) == (options.nearest is None):
        raise UserError("say what is wanted: --out FILE, or --nearest K --corpus FILE")
    if options.corpus == STDIN and not options.texts and options.file in (None, STDIN):
        raise UserError(
            "--corpus -: the sentences come from standard input already: name a file for one of them"
        )
    if options.json and options.nearest is None:
        raise UserError("--json goes with --nearest")
    out: Path | None = options.out
    if out is None:
        return
    if out.suffix not in _KINDS:
        raise UserError(f"--out {out}: name a file that ends with {' or '.join(_KINDS)}")
    refuse_search_folders(out, f"--out {out}")
    if out.exists():
        raise UserError(f"--out {out}: there is something already; name a new file")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: {out.absolute().parent} is no folder")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m minbert.embed",
        description="Sentence vectors of an exported model, or the nearest sentences by them. Sentences come from "
        "arguments, from --file, or else from standard input. A file holds a sentence a line, or is a tab- or "
        "comma-separated table with a column sentence in its header.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folder", metavar="DIR", type=local_path, help="what python -m trainables.export wrote"
    )
    parser.add_argument("texts", metavar="SENTENCE", nargs="*")
    parser.add_argument("--file", type=local_path, help=f"{_HELD}; -: standard input")
    parser.add_argument(
        "--out",
        type=local_path,
        metavar="FILE",
        help="a new .npy or .safetensors: a row a sentence, in order",
    )
    parser.add_argument(
        "--nearest",
        type=whole_number(1),
        metavar="K",
        help="print the K nearest sentences of --corpus, by cosine",
    )
    parser.add_argument("--corpus", type=local_path, metavar="FILE", help=f"{_HELD}; -: standard input")
    parser.add_argument("--json", action="store_true", help="a line of JSON a sentence (with --nearest)")
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
