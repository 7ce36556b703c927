"""A user's mistake on the command line: exit code 2, one clear line, nothing written."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from rich.console import Console

from analysis.terminal import print_table
from minbert.bundled import CORPUS, ENCODER
from minbert.errors import UserError
from tests.trainables.commands import SPACE, CommandLine, start_search
from trainables.studies.locks import locked
from trainables.studies.study_difference import difference

FULL = ("--space", str(SPACE))

MISTAKES = {
    "unknown space": (["--space", "full_ablatoin"], ["full_ablatoin", "did you mean 'full_ablation'"]),
    "misspelt key": ([*FULL, "--set", "stages.finetune.learning_rat=1"], ["learning_rat", "learning_rate"]),
    "misspelt value": ([*FULL, "--set", "pooling=meen"], ["meen", "mean"]),
    "value out of range": ([*FULL, "--set", "stages.finetune.dropout=1.5"], ["dropout", "1.5"]),
    "setting without a value": ([*FULL, "--set", "pooling"], ["path=value"]),
    "invalid combination": (
        [*FULL, "--set", "stages.finetune.sampler.kind=round_robin", "--set", "stages.finetune.pcgrad=true"],
        ["pcgrad"],
    ),
    "missing data folder": ([*FULL, "--data", "nowhere"], ["nowhere"]),
    "missing encoder": ([*FULL, "--encoder", "./nowhere"], ["nowhere"]),
    "no trials": ([*FULL, "--trials", "0"], ["trials", "0"]),
    "trials at a time": ([*FULL, "--max-concurrent", "0"], ["--max-concurrent", "'0'", "at least 1"]),
    "no replicates": ([*FULL, "--replicates", "0"], ["--replicates", "at least 1"]),
    "no CPU": ([*FULL, "--cpus-per-trial", "0"], ["--cpus-per-trial", "at least 1"]),
    "no share of a GPU": ([*FULL, "--gpus-per-trial", "nan"], ["--gpus-per-trial", "'nan'", "at least 0"]),
    "no time": ([*FULL, "--time-budget", "-1"], ["--time-budget", "'-1'", "above 0"]),
    "data as a setting": ([*FULL, "--set", "data.path=nowhere"], ["data", "choose it with --data"]),
    "seed as a setting": ([*FULL, "--set", "seed=5"], ["seed", "choose it with --seed"]),
    "trials not a number": ([*FULL, "--trials", "many"], ["--trials", "many"]),
    "unknown option": ([*FULL, "--trails", "3"], ["--trails"]),
    "no space": ([], ["--space"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(search_command: CommandLine, tmp_path: Path, name: str) -> None:
    arguments, expected = MISTAKES[name]
    code, errors = search_command(*arguments)
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert all(text in errors for text in expected), errors
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_of_the_layout_is_named_with_its_line(
    search_command: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("data")
    shutil.copytree(CORPUS, data, dirs_exist_ok=True)
    path = data / "ids-sst-train.csv"
    lines = path.read_text().splitlines()
    lines[9] = lines[9].rsplit("\t", 1)[0] + "\tgood"
    path.write_text("\n".join(lines) + "\n")
    code, errors = search_command(*FULL, "--data", str(data))
    assert code == 2
    assert "ids-sst-train.csv" in errors
    assert "10" in errors
    assert "good" in errors


def test_a_checkpoint_that_is_not_bert_is_refused(
    search_command: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("gpt")
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    code, errors = search_command(*FULL, "--encoder", str(folder))
    assert code == 2
    assert "gpt2" in errors
    assert "bert" in errors


def test_a_checkpoint_whose_weights_do_not_fit_its_config_is_refused_before_anything_starts(
    search_command: CommandLine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = shutil.copytree(ENCODER, tmp_path_factory.mktemp("spoilt") / "encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 7}))
    code, errors = search_command(*FULL, "--encoder", str(folder))
    assert code == 2
    assert "config.json asks for (7" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_table_wider_than_the_terminal_loses_no_column() -> None:
    written = io.StringIO()
    frame = pd.DataFrame(
        [["level " * 8 + "[a, b]", "0.1234 " * 4, "verdict"]],
        columns=["factor", "effect (pts)", "last column"],
    )
    print_table(Console(file=written, width=40, soft_wrap=True), "Main effects", frame)
    for text in ("[a, b]", "effect (pts)", "last column", "verdict", "0.1234 " * 3):
        assert text in written.getvalue()


def test_lengths_beyond_the_encoder_are_refused_without_a_workers_traceback(tmp_path: Path) -> None:
    process = start_search(tmp_path, "--set", "max_length=512")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.startswith("error: max_length: 512 is more than the encoder's")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_refused_start_leaves_none_of_the_folders_it_made(tmp_path: Path) -> None:
    with pytest.raises(UserError), locked(tmp_path / "results" / "deeper" / "study"):
        raise UserError("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_not_taken_for_a_study(
    search_command: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("thesis")
    (folder / "chapter.txt").write_text("years of work")
    code, errors = search_command(*FULL, "--study", str(folder))
    assert code == 2
    assert "not empty" in errors
    assert [path.name for path in folder.iterdir()] == ["chapter.txt"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"space_fingerprint": "other"}, "search space"),
        ({"data": {"fingerprint": "other"}}, "data"),
        ({"encoder": {"fingerprint": "other"}}, "encoder"),
        ({"schema_version": 99}, "99"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_study_of_something_else_is_refused_with_the_difference(
    search_command: CommandLine,
    tmp_path_factory: pytest.TempPathFactory,
    change: dict[str, object],
    named: str,
    options: tuple[str, ...],
) -> None:
    from minbert.sources import resolve  # noqa: PLC0415
    from trainables.spaces.space import load_space  # noqa: PLC0415

    space = load_space(str(SPACE))
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    folder = tmp_path_factory.mktemp("study")
    spec = {
        "schema_version": 1,
        "name": "small_ablation",
        "seed": 0,
        "space": space.resolved(),
        "space_fingerprint": space.fingerprint(),
        "data": {"fingerprint": sources.corpus.fingerprint},
        "encoder": {"fingerprint": sources.encoder.fingerprint},
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(spec | change))
    before = (folder / "study.yaml").read_bytes()
    code, errors = search_command(*FULL, "--study", str(folder), *options)
    assert code == 2
    assert named in errors
    assert (folder / "study.yaml").read_bytes() == before


def test_all_settings_that_make_another_space_are_named_but_not_dozens() -> None:
    there: dict[str, Any] = {
        "name": "a",
        "space": {"config": {"fidelity": 0.02, "stages": {"finetune": {"epochs": 1}}}},
    }
    now: dict[str, Any] = {"name": "a", "space": {"config": {"stages": {"finetune": {"epochs": 3}}}}}
    there["space_fingerprint"], now["space_fingerprint"] = "a", "b"
    assert difference(there, now, "space_fingerprint") == (
        "another search space (fidelity: 0.02 there, absent now; stages.finetune.epochs: 1 there, 3 now)"
    )
    now["space"]["config"] |= {f"leaf{number}": 1 for number in range(9)}
    assert difference(there, now, "space_fingerprint").endswith("leaf1: absent there, 1 now; and 7 more)")


def test_other_content_of_a_text_file_is_another_study(
    search_command: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from minbert.sources import resolve  # noqa: PLC0415
    from trainables.spaces.space import load_space  # noqa: PLC0415
    from trainables.studies.study import identity  # noqa: PLC0415

    space = load_space(str(SPACE)).fix("stages.simcse.text", "sentences")
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks, texts={"sentences": "sentences"})
    folder = tmp_path_factory.mktemp("study")
    spec = identity(space, sources, 0)
    spec["data"]["texts"]["sentences"] = "other"
    spec |= {"device": "cpu", "precision": "fp32", "threads": 1}
    (folder / "study.yaml").write_text(yaml.safe_dump(spec))
    code, errors = search_command(*FULL, "--set", "stages.simcse.text=sentences", "--study", str(folder))
    assert code == 2
    assert "made with another content of the text files" in errors


def test_an_unwritable_study_folder_is_refused(
    search_command: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    blocked = tmp_path_factory.mktemp("blocked") / "file"
    blocked.write_text("")
    code, errors = search_command(*FULL, "--study", str(blocked / "study"))
    assert code == 2
    assert str(blocked) in errors


def test_a_dry_run_shows_the_factors_and_writes_nothing(tmp_path: Path) -> None:
    process = start_search(tmp_path, "--dry-run")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    for text in ("tasks.sts.head.kind", "cosine, concat, cross", "combinations", "trials: 24"):
        assert text in output
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_not_changed_by_a_mistake(search_command: CommandLine) -> None:
    before = dict(os.environ)
    search_command(*FULL, "--data", "nowhere")
    assert {key for key in os.environ if key not in before} == set()
