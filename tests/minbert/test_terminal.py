"""Commands whose output nobody takes: a reader that went away, a full disk, a stream that was closed before."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import ablation_page

EXAMPLE = Path(ablation_page.__file__).with_name("notebooks") / "example_study"
READS = [
    ["trainables.status", str(EXAMPLE)],
    ["analysis.ablation", str(EXAMPLE)],
    ["analysis.errors", str(EXAMPLE)],
]
TRAIN = """\
device: cpu
precision: fp32
threads: 1
stages: {finetune: {epochs: 2, epoch_examples: 16}}
"""


def in_a_shell(module: str, *arguments: str, end: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command whose output goes where ``end`` says."""
    command = shlex.join([sys.executable, "-m", module, *arguments])
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} {end}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", READS, ids=lambda command: command[0])
def test_what_only_reads_ends_quietly_when_its_reader_goes_away(command: list[str], tmp_path: Path) -> None:
    done = in_a_shell(*command, end="| true", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("| true", "its output cannot be written any more (Broken pipe); {}\n"),
        ("> /dev/full", "its output cannot be written any more (No space left on device); {}\n"),
        (">&-", ""),
    ],
    ids=["reader gone", "full", "closed"],
)
def test_what_writes_files_writes_them_all_the_same(end: str, said: str, tmp_path: Path) -> None:
    done = in_a_shell("analysis.ensemble", str(EXAMPLE), "--out", "out", end=end, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, said.format("the files are written"))
    assert (tmp_path / "out" / "members.yaml").is_file()


@pytest.mark.parametrize("end", ["| true", ">&-"])
def test_training_goes_on_without_a_reader(end: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(TRAIN)
    done = in_a_shell("minbert.train", "--config", "config.yaml", "--out", "out", end=end, folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr in ("", "its output cannot be written any more (Broken pipe); training goes on\n")
    assert (tmp_path / "out" / "history.jsonl").read_bytes().count(b"\n") == 2
