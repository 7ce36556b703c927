"""The rules by which a page's commands are run: where, with what for the names that a reader fills in, and how short."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from minbert import command_line
from minbert.bundled import CORPUS, ENCODER
from tests.documentation import without_ray
from tests.documentation.pages import ROOT, fences, first_command

LINES = {"train": 40, "dev": 30, "test": 9}
"""How much of the bundled corpus's files is left; of others as much as of train."""
BUNDLED = {"--data": "minbert/bundled/corpus", "--encoder": "minbert/bundled/encoder"}
"""Named to every search that names neither and is not of the page's real data, as the folder ``data`` may be there, too."""
SHORT = {"fidelity": "0.0002", "device": "cpu", "precision": "fp32", "threads": "1"}
"""Set for every search, also in the place of what its own command sets."""
STUDIES = {"analysis.claims": "results/papers/multi_bert", "analysis.ablation": "results/essentials"}
"""What STUDY stands for, by module; elsewhere ``FIRST``."""
FIRST = "results/full_ablation"
BUCKET = re.compile(r"s3://(BUCKET|bucket)/")
SHELL = re.compile(r"[|>&]")
Search = Callable[[Sequence[str]], object]


def lay_out(folder: Path, study: Path | None = None) -> None:
    """Make a folder like the project's, with a small bundled corpus, and the study that ``make search`` leaves.

    Args:
        folder: is made.
        study: a copy of it stands in ``results/full_ablation``; None: nothing does.
    """
    corpus = folder / "minbert" / "bundled" / "corpus"
    corpus.mkdir(parents=True)
    for file in CORPUS.iterdir():
        count = next((lines for split, lines in LINES.items() if split in file.name), LINES["train"])
        text = "".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[: count + 1])
        (corpus / file.name).write_text(text, encoding="utf-8")
    (folder / BUNDLED["--encoder"]).symlink_to(ENCODER)
    shutil.copytree(ROOT / "cluster", folder / "cluster")
    own = folder / "cluster" / "on_prem.yaml"
    own.write_text(own.read_text(encoding="utf-8").replace("192.0.2.", "10.0.0."), encoding="utf-8")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    named = (ROOT / "cluster.yaml").read_text(encoding="utf-8").replace("YOUR-BUCKET", "studies-of-mine")
    (folder / "cluster.yaml").write_text(named, encoding="utf-8")
    example = Path("analysis", "notebooks", "example_study")
    shutil.copytree(ROOT / example, folder / example)
    if study is not None:
        shutil.copytree(study, folder / FIRST)


def run(line: str, page: str, search: Search = without_ray.search) -> int:
    """Run a line of a page in the working directory, which was laid out; returns the exit code.

    Args:
        line: as :func:`tests.documentation.pages.steps` gives it.
        page: which it is of.
        search: what searches without ``--dry-run``.
    """
    words = shlex.split(line)
    module = words[2] if words[:2] == ["python", "-m"] else ""
    is_search = module == "trainables.search"
    own_process = not module or module == "minbert.fetch"  # the hub's address is read once a process
    if own_process or (not is_search and SHELL.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", line))):
        return _in_shell(line)
    arguments = [_filled_in(word, module, page) for word in first_command(words)[3:]]
    for study in filter(_is_missing, _named_studies(arguments) if is_search else arguments):
        without_ray.search(shortened(["--space", study.removeprefix("results/")]))
    if not is_search:
        return in_process(module, arguments)
    if "--dry-run" in arguments:
        return in_process(module, shortened(arguments))
    search(shortened(arguments))
    return 0


def shortened(arguments: Sequence[str]) -> list[str]:
    """A search's arguments, with what makes it short."""
    real = any(argument.startswith("data/") for argument in arguments)
    more = [word for option in BUNDLED.items() if not real and option[0] not in arguments for word in option]
    given = {word.partition("=")[0] for option, word in itertools.pairwise(arguments) if option == "--set"}
    own = [_replaced(word) for word in arguments]
    settings = [f"{path}={value}" for path, value in SHORT.items() if path not in given]
    return [*own, *more, *(word for setting in settings for word in ("--set", setting))]


def _replaced(word: str) -> str:
    path, _, value = word.partition("=")
    return f"{path}={SHORT.get(path, value)}" if value else word


def in_process(module: str, arguments: Sequence[str]) -> int:
    """Run a module's command line; returns its exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [module, *arguments])
        main = getattr(importlib.import_module(module), "main", None)
        return command_line.run(main or (lambda: _run_whole(module)))


def _run_whole(module: str) -> int:
    """Run a module that is its own command line."""
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _filled_in(word: str, module: str, page: str) -> str:
    """What stands for a name that the reader fills in."""
    if BUCKET.match(word):
        place = Path("bucket", BUCKET.sub("", word)).absolute()
        if not place.exists() and module != "trainables.search":
            without_ray.send(Path(FIRST), place.as_uri())
        return place.as_uri()
    if word == "FILE":
        Path("FILE.yaml").write_text(fences(page, "yaml")[0] + "device: cpu\n", encoding="utf-8")
    if word == "DIR":
        return f"new/{len(list(Path('new').glob('*'))) if Path('new').exists() else 0}"
    names = {
        "STUDY": STUDIES.get(module, FIRST),
        "DATA": BUNDLED["--data"],
        "ENCODER": BUNDLED["--encoder"],
        "FILE": "FILE.yaml",
    }
    return names.get(word, word)


def _named_studies(arguments: Sequence[str]) -> list[str]:
    """What a search needs of other studies."""
    return [study for option, study in itertools.pairwise(arguments) if option == "--around"]


def _is_missing(word: str) -> bool:
    """Whether it names a study of a packaged space that no command of the page has made."""
    return word.startswith("results/") and not Path(word).exists()


def _in_shell(line: str) -> int:
    """Run a line with pipes or redirections, by the Python that runs the tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode
