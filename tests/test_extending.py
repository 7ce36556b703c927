"""docs/extending.md: its changes, applied to a copy of the package, register and train, and pass the tests that they bring."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMAND = "python -m minbert.train --config both.yaml --out both\n"
PINNED = "device: cpu\nprecision: fp32\nthreads: 1\n"
"""Beside what the page says: to find these out takes longer than to train."""
CHECK_AND_TRAIN = """
import sys, pytest
from minbert import command_line, train
assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:randomly", *sys.argv[1].split()]) == 0
sys.argv = ["minbert.train", *sys.argv[2].split()]
sys.exit(command_line.run(train.main))
"""


def blocks(language: str) -> list[str]:
    return [text for its, text in BLOCKS if its == language]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as the page changes it, and the tests that the page adds."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "minbert", folder / "minbert", ignore=shutil.ignore_patterns("__pycache__"))
    diffs = [f"{number}.diff" for number, _ in enumerate(blocks("diff"))]
    for name, text in zip(diffs, blocks("diff"), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    command = ["git", "apply", "--recount", "-C1", *diffs]
    applied = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, applied.stderr
    for number, text in enumerate(blocks("python")):
        (folder / f"test_page_{number}.py").write_text(text, encoding="utf-8")
    (folder / "both.yaml").write_text(blocks("yaml")[0] + PINNED, encoding="utf-8")
    return folder


def test_what_the_page_adds_passes_its_tests_and_trains(changed: Path) -> None:
    assert blocks("") == [COMMAND]
    tests = " ".join(path.name for path in sorted(changed.glob("test_page_*.py")))
    arguments = COMMAND.partition("minbert.train ")[2]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MINBERT_")}
    done = subprocess.run(
        [sys.executable, "-c", CHECK_AND_TRAIN, tests, arguments],
        cwd=changed,
        env={**environment, "PYTHONPATH": str(changed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    epoch = re.search(r"^finetune epoch 1: .* \| dev (.*)$", done.stdout, re.MULTILINE)
    assert epoch is not None and epoch[1].split()[::2] == ["qqp", "sts", "score"]
    config = (changed / "both" / "config.yaml").read_text(encoding="utf-8")
    assert "kind: product" in config and "kind: square_root" in config


def test_the_package_itself_has_neither() -> None:
    """Or the page would show what is there already."""
    for name in ("heads.py", "samplers.py", "task_config.py", "stage_config.py"):
        text = (ROOT / "minbert" / name).read_text(encoding="utf-8")
        assert 'product"' not in text and 'square_root"' not in text
