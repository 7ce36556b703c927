"""Without a network everything local works, and what is missing is named at once; in a namespace without any."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minbert.bundled import CORPUS, ENCODER
from tests.needing_root import cannot_run
from tests.trainables.studies import state_names

HUB_ID = "someone/an-encoder"
TRAIN = "stages: {finetune: {epochs: 1, epoch_examples: 48}}\n"
SEARCH = f"description: A search without a network\nsearch: {{design: listed}}\nruns: {{mean: {{}}}}\n{TRAIN}"
CPU = ("--set", "device=cpu", "--set", "precision=fp32")
_HANG = 240


@pytest.fixture(scope="module", autouse=True)
def without_network() -> None:
    """What all tests here need."""
    made = ["unshare", "-n", "ip", "link", "set", "lo", "up"]
    if not all(map(shutil.which, ("unshare", "ip"))):
        cannot_run("not installed: unshare or ip")
    if subprocess.run(made, capture_output=True, check=False).returncode:
        cannot_run("a namespace without network needs root")


def offline(folder: Path, module: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run a command where only loopback is up: its exit code, output and errors."""
    hidden = ("HF_", "MINBERT_", "RAY_", "TRANSFORMERS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"HF_HOME": str(folder / "hub"), **variables}
    inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        ["unshare", "-n", *inside],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_HANG,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def train(folder: Path, *options: str, **variables: str) -> tuple[int, str, str]:
    (folder / "config.yaml").write_text(TRAIN)
    return offline(folder, "minbert.train", "--config", "config.yaml", "--out", "run", *options, **variables)


def fill_cache(home: Path, name: str) -> None:
    """What a download leaves: the bundled encoder under a hub id."""
    entry = home / "hub" / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(ENCODER, entry / "snapshots" / commit)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(commit)


@pytest.mark.parametrize(
    ("variables", "cause"),
    [({}, "https://huggingface.co cannot be reached"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")],
    ids=["no network", "HF_HUB_OFFLINE"],
)
def test_a_hub_id_that_cannot_be_fetched_is_refused_in_one_line_that_says_what_to_do(
    tmp_path: Path, variables: dict[str, str], cause: str
) -> None:
    code, _, errors = train(tmp_path, "--encoder", "bert-base-uncased", **variables)
    cache = tmp_path / "hub" / "hub"
    assert code == 2, errors
    assert errors == (
        f"error: --encoder bert-base-uncased: no such folder, not in the hub's cache {cache}, and {cause}; name a "
        "folder with config.json, model.safetensors and vocab.txt (`python -m minbert.fetch` says what goes where), "
        "or bring that cache from a machine that has it\n"
    )
    assert not (tmp_path / "run").exists()


def test_without_a_network_data_of_ones_own_are_told_of_the_default_encoder_and_of_the_bundled_one(
    tmp_path: Path,
) -> None:
    own = shutil.copytree(CORPUS, tmp_path / "own")
    code, _, errors = train(tmp_path, "--data", str(own))
    assert (code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith("error: --encoder bert-base-uncased: no such folder, not in the hub's cache")
    said = "it is the default for data of one's own, as no --encoder was given: the bundled small one is --encoder"
    assert errors.endswith(f"; {said} {ENCODER}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.chaos
def test_the_bundled_data_an_encoders_folder_and_what_the_cache_holds_need_no_network(tmp_path: Path) -> None:
    fill_cache(tmp_path / "hub", HUB_ID)
    for encoder in (str(ENCODER), HUB_ID):
        code, output, errors = train(tmp_path, "--encoder", encoder)
        assert (code, errors) == (0, ""), errors
        assert "best epoch 1 of 1" in output
        shutil.rmtree(tmp_path / "run")


@pytest.mark.chaos
def test_a_search_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SEARCH)
    code, output, errors = offline(
        tmp_path, "trainables.search", "--space", "space.yaml", "--study", "study", *CPU
    )
    assert (code, errors) == (0, ""), output
    assert state_names(tmp_path / "study") == ["COMPLETE"]
    code, _, errors = offline(tmp_path, "analysis.report", "study")
    assert (code, errors) == (0, "")
