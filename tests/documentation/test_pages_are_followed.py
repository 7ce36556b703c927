"""README and the pages of docs/, as a reader follows them from top to bottom: every command and snippet is run.

Those that train are run short, by the rules of :mod:`tests.documentation.following`, and without Ray. ``make test-long`` runs them with
it, and dry runs. What is not run here stands in the tables below, with where it is run, or why it cannot be.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import ray
import torch

from minbert.bundled import ENCODER
from tests.documentation import following, without_ray
from tests.documentation.pages import ROOT, TEXTS, fences, shell_lines, steps
from tests.minbert.hub import miniature, served

ELSEWHERE = {
    "docs/own-task.md": "tests/test_own_task.py",
    "docs/extending.md": "tests/test_extending.py",
    "docs/spaces.md": "tests/trainables/test_space_command.py",
}
"""Pages that a test of their own follows."""
NOT_RUN = {
    r"make \w+|\. \.venv/bin/activate": "they install an environment; a target must exist (tests/test_documentation.py)",
    r"python -m pytest .*": "a test",
    r"(ray|aws|pip) .*": "need an account of AWS, other machines or a package index",
    r"python -m benchmarks\..*": "take minutes to hours; tests/benchmarks runs short ones",
    r"python -m analysis\.notebooks\.execute .*": "tests/analysis/test_notebooks.py runs it, for another study, too",
    r"(optuna-dashboard|tensorboard) .*": "servers; tests/trainables/test_status.py starts the first",
}
"""Lines that are not run, and why."""
ACCOUNT = "docs/cluster.md"
"""The page whose lines are for AWS or other machines, but those of Python."""
YAML_ELSEWHERE = {
    "docs/cluster.md": "tests/trainables/test_cluster_files.py",
    "docs/results.md": "FILE, see following.py",
}
"""Pages whose YAML is no space."""
DEAR = re.compile(r"--dry-run|results/confounds")
"""Lines that take seconds each: dry runs, and a comparison of three studies, which are made for it."""
SEARCHES = re.compile(rf"python -m (minbert\.fetch$|trainables\.search )|.*({DEAR.pattern})")
"""What is left for ``make test-long``: lines that search, what brings their data, and the dear ones."""
HOURS = ("docs/results.md",)
"""Pages whose searches were of hours, on other data; without Ray they are run as well."""
DONE_ONCE = re.compile(r"trainables\.(space|status|cluster)|analysis\.|minbert\.(train|predict|embed)")
"""Commands on which none that follows depends: where pages have the same, one is run."""


def to_run(page: str) -> list[str]:
    """The lines of a page that are to be run, in order."""
    if page in ELSEWHERE:
        return []
    skipped = re.compile("|".join(NOT_RUN))
    lines = [line for line in steps(page) if page != ACCOUNT or line.startswith("python ")]
    return [line for line in lines if not skipped.fullmatch(line)]


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder with what a cluster takes, a hub on loopback, and an environment that says nothing else."""
    for name in (
        "MINBERT_DATA",
        "MINBERT_RESULTS",
        "MINBERT_GPUS_PER_TRIAL",
        "MINBERT_CLUSTER",
        "RAY_ADDRESS",
    ):
        monkeypatch.delenv(name, raising=False)
    for file in (".ssh/id_ed25519", ".ray/auth_token"):
        path = tmp_path / "home" / file
        path.parent.mkdir(parents=True)
        path.touch(mode=0o600)
        path.write_text("a secret of sixty-four letters or so, " * 2)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    with served(miniature(ENCODER)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield tmp_path


def test_every_page_is_followed_from_top_to_bottom(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = begun(at_home, monkeypatch)
    done: set[str] = set()
    for number, page in enumerate(TEXTS):
        lines = [line for line in to_run(page) if not DEAR.search(line)]
        lines = [line for line in lines if line not in done or not DONE_ONCE.search(line)]
        snippets = [] if page in ELSEWHERE else fences(page, "python")
        spaces = [] if page in ELSEWHERE or page in YAML_ELSEWHERE else fences(page, "yaml")
        if not lines and not snippets and not spaces:
            continue
        following.lay_out(at_home / str(number), first)
        monkeypatch.chdir(at_home / str(number))
        for line in lines:
            assert following.run(line, page) == 0, (page, line)
        for snippet in snippets:
            exec(compile(snippet, page, "exec"), {})
        for text in spaces:
            Path("snippet.yaml").write_text(text, encoding="utf-8")
            assert following.in_process("trainables.space", ["check", "snippet.yaml"]) == 0, (page, text)
        done.update(lines)


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study that ``make search`` makes."""
    following.lay_out(folder / "first")
    monkeypatch.chdir(folder / "first")
    return without_ray.search(following.shortened(["--space", "full_ablation"])).absolute()


@pytest.mark.long
def test_the_searches_of_the_pages_run_with_ray(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: set[str] = set()
    for number, page in enumerate(TEXTS):
        lines = [line for line in to_run(page) if SEARCHES.match(line) and line not in done]
        if page in HOURS or not any("trainables" in line for line in lines):
            continue
        following.lay_out(at_home / str(number))
        monkeypatch.chdir(at_home / str(number))
        for line in lines:
            assert following.run(line, page, with_ray) == 0, (page, line)
        done.update(line for line in lines if "trainables" in line)


def with_ray(arguments: Sequence[str]) -> None:
    """Search for one trial; events go into a file."""
    short = [*arguments, "--trials", "1", "--max-concurrent", "1"]
    if "--json" in arguments:
        with Path("events.jsonl").open("w") as events:
            command = [sys.executable, "-P", "-m", "trainables.search", *short]  # not what lies here
            assert subprocess.run(command, stdout=events, check=False).returncode == 0
    else:
        try:
            assert following.in_process("trainables.search", short) == 0
        finally:
            ray.shutdown()


def test_every_line_and_snippet_of_a_page_has_a_test() -> None:
    left = {line for page in TEXTS if page not in ELSEWHERE for line in steps(page)}
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, line) for line in left), pattern
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")
        blocks = [" ".join(line.split()) for line in shell_lines(page)]
        assert all(any(line in block for block in blocks) for line in steps(page))  # such tests run blocks
