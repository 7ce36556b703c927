"""`python -m minbert.train` trains, continues, and explains the user's mistakes in one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from minbert import train
from minbert.command_line import run
from minbert.files.durable import exclusive
from tests.minbert.test_trial import assert_same_outcome

ROOT = Path(__file__).parents[2]
CONFIG = """
device: cpu
threads: 1
max_length: 24
stages:
  finetune: {epochs: 2, batch_size: 16, learning_rate: 1e-3}
"""


@pytest.fixture
def arguments(corpus_folder: Path, tiny_encoder: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return [
        *("--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")),
        *("--data", str(corpus_folder), "--encoder", str(tiny_encoder)),
    ]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], tuple[int, str, str]]:
    """Call the command line inside this process: exit code, stdout, stderr."""

    def call(arguments: list[str]) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(train.main)
        return code, out.getvalue(), err.getvalue()

    return call


def test_a_run_as_a_process_leaves_model_history_and_predictions(
    arguments: list[str], tmp_path: Path
) -> None:
    # torch's compiler, which is of no use here, takes seconds to import; several of torch's ways do it unasked.
    tell = "import sys; from minbert import train; train.main(); print('compiler:', 'torch._dynamo' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", tell, *arguments, "--checkpoint-every", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "finetune epoch 2: loss sst" in done.stdout and "best epoch" in done.stdout
    assert done.stdout.endswith("compiler: False\n")
    out = tmp_path / "out"
    records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["data"]["fingerprint"] and config["precision"] in ("fp32", "bf16")
    assert len(pd.read_parquet(out / "predictions" / "qqp.parquet")) == 24 + 8
    assert (out / "best" / "encoder" / "model.safetensors").is_file()


def test_the_same_command_continues_and_a_finished_run_is_shown_again(
    arguments: list[str], called: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    first = called(arguments)
    assert first[0] == 0
    history = (tmp_path / "out" / "history.jsonl").read_bytes()
    (tmp_path / "out" / "history.jsonl").write_bytes(history[: history.index(b"\n") + 1])
    assert called(arguments) == first
    assert (tmp_path / "out" / "history.jsonl").read_bytes() == history


def test_a_run_goes_on_in_the_precision_that_it_began_with(
    arguments: list[str],
    called: Callable[[list[str]], tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Precision `auto` is timed, so it may come out otherwise the second time."""
    monkeypatch.setattr("minbert.devices.bf16_is_faster", lambda *_: False)
    first = called(arguments)
    monkeypatch.setattr("minbert.devices.bf16_is_faster", lambda *_: True)
    assert called(arguments) == first and first[0] == 0


def test_a_run_may_be_continued_with_its_own_config_and_the_data_elsewhere(
    arguments: list[str],
    called: Callable[[list[str]], tuple[int, str, str]],
    corpus_folder: Path,
    tmp_path: Path,
) -> None:
    assert called(arguments)[0] == 0
    (tmp_path / "moved").symlink_to(corpus_folder)
    own = [
        "--config",
        str(tmp_path / "out" / "config.yaml"),
        *arguments[2:4],
        "--data",
        str(tmp_path / "moved"),
    ]
    assert called(own)[0] == 0


@pytest.mark.parametrize(
    "damage",
    [lambda text: text.replace("epochs: 2", "epochs: 3"), lambda text: text[: len(text) // 2]],
    ids=["changed", "cut"],
)
def test_a_runs_configuration_that_was_damaged_is_refused_and_nothing_is_written(
    damage: Callable[[str], str],
    arguments: list[str],
    called: Callable[[list[str]], tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    assert called(arguments)[0] == 0
    written = tmp_path / "out" / "config.yaml"
    whole = written.read_text()
    spoilt = damage(whole)
    assert spoilt != whole
    written.write_text(spoilt)
    again = ["--config", str(written), "--out", str(tmp_path / "again"), *arguments[4:]]
    said = f"error: {written}: damaged: its first line says another content; bring it back from a copy, or remove "
    for given in (again, arguments):  # as what is to be trained, and as what the folder of a run holds
        code, _, error = called(given)
        assert code == 2 and error.startswith(said) and error.count("\n") == 1
    assert written.read_text() == spoilt
    assert not (tmp_path / "again").exists()


def test_a_runs_configuration_may_be_changed_and_trained_without_its_first_line(
    arguments: list[str], called: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    assert called(arguments)[0] == 0
    text = (tmp_path / "out" / "config.yaml").read_text().partition("\n")[2]
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("epochs: 2", "epochs: 1"))
    assert called(["--config", str(own), "--out", str(tmp_path / "again"), *arguments[4:]])[0] == 0
    assert len((tmp_path / "again" / "history.jsonl").read_text().splitlines()) == 1


def test_another_configuration_seed_or_data_is_refused_and_nothing_is_changed(
    arguments: list[str],
    called: Callable[[list[str]], tuple[int, str, str]],
    corpus_folder: Path,
    tmp_path: Path,
) -> None:
    assert called(arguments)[0] == 0
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for change in ("pooling: cls\n", "seed: 3\n"):
        (tmp_path / "config.yaml").write_text(CONFIG + change)
        code, _, error = called(arguments)
        assert code == 2 and error.count("\n") == 1
        assert "holds a run of another configuration" in error
    other = tmp_path / "other"
    other.mkdir()
    for file in corpus_folder.iterdir():
        (other / file.name).write_text(file.read_text().replace("dev3\t", "dev3x\t"))
    own = ["--config", str(out / "config.yaml"), "--out", str(tmp_path / "new"), "--data", str(other)]
    code, _, error = called(own)
    assert code == 2 and "its fingerprint is" in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda base: (base / "config.yaml").unlink(), "config.yaml"),
    "misspelt key": (
        lambda base: (base / "config.yaml").write_text("poling: cls\n"),
        "did you mean 'pooling'?",
    ),
    "misspelt value": (
        lambda base: (base / "config.yaml").write_text("pooling: means\n"),
        "did you mean 'mean'?",
    ),
    "pcgrad without concurrent": (
        lambda base: (base / "config.yaml").write_text(
            "stages: {finetune: {pcgrad: true, sampler: {kind: annealed}}}\n"
        ),
        "concurrent",
    ),
    "task name": (
        lambda base: (base / "config.yaml").write_text(
            "tasks: {a/b: {kind: binary, head: {kind: linear}, text: [t], label: y}}\n"
        ),
        "cannot be a task's name",
    ),
    "no tasks in a stage": (
        lambda base: (base / "config.yaml").write_text("stages: {finetune: {tasks: []}}\n"),
        "stages.finetune.tasks",
    ),
    "longer than the encoder": (
        lambda base: (base / "config.yaml").write_text("max_length: 128\n"),
        "64 positions",
    ),
    "out is a file": (lambda base: (base / "out").write_text("mine"), "--out"),
    "out holds something else": (
        lambda base: [(base / "out" / "predictions").mkdir(parents=True)],
        "holds 'predictions' and no run",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_exit_code_2_and_writes_nothing(
    mistake: str,
    arguments: list[str],
    called: Callable[[list[str]], tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    spoil, told = MISTAKES[mistake]
    spoil(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, _, error = called(arguments)
    assert code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and told in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", ["--data", "--encoder"])
def test_a_missing_source_is_one_line_with_exit_code_2(
    option: str, arguments: list[str], called: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    arguments[arguments.index(option) + 1] = str(tmp_path / "nowhere")
    code, _, error = called(arguments)
    assert code == 2 and error.count("\n") == 1 and "nowhere" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("made_by", ["a search", "a fork"])
def test_a_trials_folder_is_refused_and_nothing_in_it_is_touched(
    made_by: str,
    arguments: list[str],
    called: Callable[[list[str]], tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    """Its study's journal would go on telling of another training."""
    study = tmp_path / "study"
    folder = study / "trials" / "00000"
    folder.mkdir(parents=True)
    if made_by == "a search":
        (folder / "attempts").mkdir()
    else:
        (study / "study.yaml").touch()
    shutil.copy(tmp_path / "config.yaml", folder)
    before = [(path, path.stat().st_mtime_ns) for path in sorted(study.rglob("*"))]
    code, out, err = called([*arguments, "--out", str(folder)])
    assert (code, out) == (2, "")
    assert err == f"error: --out {folder}: is the folder of a study's trial; choose another folder\n"
    assert [(path, path.stat().st_mtime_ns) for path in sorted(study.rglob("*"))] == before


def test_a_missing_option_is_one_line_too(called: Callable[[list[str]], tuple[int, str, str]]) -> None:
    code, _, error = called(["--out", "here"])
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and "--config" in error


def test_a_training_that_explodes_ends_with_exit_code_3_and_its_cause(
    arguments: list[str], called: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("1e-3", "1e+30"))
    code, _, error = called(arguments)
    assert code == 3 and error.startswith("failed (nan): ") and error.count("\n") == 1


@contextlib.contextmanager
def room_for_files(size: int) -> Iterator[None]:
    """Let no file become larger than so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [100, 20_000])
def test_a_run_without_room_ends_in_one_line_and_goes_on_once_there_is_some(
    room: int, arguments: list[str], called: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 1"))
    with room_for_files(room):
        code, _, error = called(arguments)
    assert (code, error.count("\n")) == (3, 1), error
    assert error.startswith("error: ") and "File too large; what was finished is kept" in error
    assert called(arguments)[0] == 0
    assert (tmp_path / "out" / "best" / "encoder" / "model.safetensors").is_file()


def test_a_run_that_another_process_is_at_is_refused_and_says_whose_it_is(
    arguments: list[str], called: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 1"))
    shown = called(arguments)
    with exclusive(tmp_path / "out" / ".lock", 0):
        code, _, error = called(arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert f"--out {tmp_path / 'out'}: in use by another run (host " in error
    assert f", process {os.getpid()})" in error
    assert called(arguments) == shown


def test_a_history_that_is_none_is_made_again(
    arguments: list[str], called: Callable[[list[str]], tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 1"))
    called(arguments)
    history = tmp_path / "out" / "history.jsonl"
    history.write_text("[" * 100_000 + "\n")
    assert called(arguments)[0] == 0
    assert json.loads(history.read_text())["epoch"] == 1


def test_a_run_that_gets_a_signal_keeps_its_running_epoch_and_goes_on_to_the_same_end(
    arguments: list[str], tmp_path: Path
) -> None:
    # Not what a timed probe says of each process: for an encoder this small it may say either.
    config = CONFIG.replace("device: cpu", "device: cpu\nprecision: fp32")
    (tmp_path / "config.yaml").write_text(config.replace("epochs: 2", "epochs: 2, epoch_examples: 1500"))
    command = [sys.executable, "-m", "minbert.train", *arguments, "--checkpoint-every", "0.2"]
    subprocess.run([*command, "--out", str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kept = tmp_path / "out" / "checkpoint" / "manifest.json"
    while not kept.is_file():  # in the middle of the first epoch
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert "continue with: python -m minbert.train" in output
    assert json.loads(kept.read_text())["unfinished"]["steps"] > 0
    assert not (tmp_path / "out" / "history.jsonl").exists()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert_same_outcome(tmp_path / "whole", tmp_path / "out")
