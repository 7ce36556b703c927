"""Claims about the signed error on long pairs, in a study whose data folder is there, gone or another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis.claim_pages import claims_page
from analysis.claims import claim_table
from analysis.study import Study, load
from minbert.config import TrainConfig
from minbert.corpora.reader import read_corpus
from tests.analysis.test_claims import EXAMPLES, LABELS, outputs, parts, write_study

LENGTHS = np.random.default_rng(8).integers(1, 400, EXAMPLES)
LENGTHS[:2] = 300, 299
SKILLS = [0.5, 0.55, 0.6]
UP = {"a": ["a"], "metric": "sts", "direction": "up", "error_from": 300}


def write_data(folder: Path, lengths: np.ndarray) -> None:
    """A data folder whose sts pairs of dev are the study's and have so many characters together."""
    folder.mkdir()
    for split in ("train", "dev"):
        (folder / f"ids-sst-{split}.csv").write_text("\tid\tsentence\tsentiment\n0\ts\tgood\t1\n")
        (folder / f"quora-{split}.csv").write_text(
            "\tid\tsentence1\tsentence2\tis_duplicate\n0\tq\tone\ttwo\t1\n"
        )
        lines = ["\tid\tsentence1\tsentence2\tsimilarity"]
        for at, count in enumerate(lengths):
            lines.append(
                f"{at}\te{at}\t{'a' * (count // 2)}\t{'b' * (count - count // 2)}\t{LABELS['sts'][at]}"
            )
        (folder / f"sts-{split}.csv").write_text("\n".join(lines) + "\n")


def study_with_texts(
    folder: Path, contrast: dict[str, object], lengths: np.ndarray, skills: Sequence[float]
) -> Study:
    write_data(folder / "data", lengths)
    config = TrainConfig()
    data = {
        "path": str(folder / "data"),
        "fingerprint": read_corpus(folder / "data", config.tasks).fingerprint,
    }
    runs = {"a": skills, "b": [0.3] * len(skills)}
    study = write_study(folder / "s", runs, [contrast], data=data)
    for number in range(2 * len(skills)):
        file = study.trial_folder(number) / "config.yaml"
        file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return load(study.path)


def judged(folder: Path, contrast: dict[str, object] = UP, skills: Sequence[float] = SKILLS) -> pd.Series:
    return claim_table([study_with_texts(folder, contrast, LENGTHS.clip(min=2), skills)]).iloc[0]


def errors(skill: float, long: np.ndarray) -> list[float]:
    return list((outputs("sts", skill)[:, 0] - LABELS["sts"])[long])


@pytest.mark.parametrize(("direction", "expected"), [("up", "refuted"), ("down", "supported")])
def test_the_mean_error_of_long_pairs_is_judged_over_examples_and_seeds(
    tmp_path: Path, direction: str, expected: str
) -> None:
    row = judged(tmp_path, UP | {"direction": direction})
    long = LENGTHS >= 300
    rows = [errors(skill, long) for skill in SKILLS]
    assert row["measured"] == pytest.approx(np.mean(rows))
    assert row["measured"] != pytest.approx(np.mean([errors(skill, LENGTHS > 300) for skill in SKILLS]))
    seeds, examples = parts(rows)
    width = (row["high"] - row["low"]) / 2 / np.sqrt(seeds + examples)
    assert 1.9 < width < 4.4  # a t quantile between those of 2 and of very many degrees of freedom
    assert (row["low"] + row["high"]) / 2 == pytest.approx(row["measured"])
    assert (row["verdict"], row["replicates"]) == (expected, 3)
    assert "sts, mean of answer − label over dev examples of 300 characters or more: a" in row["compared"]


def test_two_runs_are_compared_by_their_errors(tmp_path: Path) -> None:
    row = judged(tmp_path, UP | {"b": ["b"]})
    long = LENGTHS >= 300
    own = np.mean([errors(skill, long) for skill in SKILLS])
    assert row["measured"] == pytest.approx(own - np.mean(errors(0.3, long)))


def test_one_run_decides_nothing(tmp_path: Path) -> None:
    row = judged(tmp_path, skills=[0.5])
    assert (row["verdict"], row["reason"]) == ("undecided", "one run each: seed noise unknown")


def test_without_texts_or_predictions_nothing_is_decided_and_the_page_says_why(tmp_path: Path) -> None:
    study = study_with_texts(tmp_path, UP, LENGTHS.clip(min=2), SKILLS)
    (study.trial_folder(1) / "predictions" / "sts.parquet").unlink()
    row = claim_table([load(study.path)]).iloc[0]
    assert row["reason"] == "1 replicate left out (trial 1: no stored predictions)"
    rows = [errors(skill, LENGTHS >= 300) for skill in (SKILLS[0], *SKILLS[2:])]
    assert row["measured"] == pytest.approx(np.mean(rows)) and row["replicates"] == 2
    for number in (0, 2):
        (study.trial_folder(number) / "predictions" / "sts.parquet").unlink()
    row = claim_table([load(study.path)]).iloc[0]
    assert (row["verdict"], row["reason"]) == ("undecided", "no stored predictions")
    (tmp_path / "data").rename(tmp_path / "moved")
    table = claim_table([load(study.path)])
    row = table.iloc[0]
    assert (row["verdict"], row["reason"]) == ("undecided", "the texts of its data are gone or have changed")
    assert np.isnan(row[["measured", "low", "high"]].to_numpy(float)).all()
    assert "no size reported: **undecided** (the texts of its data are gone or have changed)" in claims_page(
        table
    )


def test_without_long_pairs_nothing_is_measured(tmp_path: Path) -> None:
    lengths = np.full(EXAMPLES, 20)
    lengths[3] = 400
    row = claim_table([study_with_texts(tmp_path, UP, lengths, SKILLS)]).iloc[0]
    assert row["verdict"] == "not measured"
    assert row["reason"] == "fewer than two sts dev examples have 300 characters or more"
