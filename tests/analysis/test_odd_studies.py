"""Every command on studies that lack what a table needs: it says so in words and leaves nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis import claims, ensemble, errors, report
from analysis.claims import claim_table
from analysis.ensemble import methods_table
from analysis.errors import constant_predictors, forgetting
from analysis.importance import importance
from analysis.interactions import interactions
from analysis.listed import run_table
from analysis.one_factor import ablation_table
from analysis.pareto import hypervolume_over_time, pareto_front
from analysis.selection import METHODS
from analysis.study import load
from analysis.tables import compute_tables, summary_tables
from minbert.command_line import EXIT_USER, run

HEAD = "tasks.sts.head.kind"
LEVELS = ["cosine", "concat", "cross"]
KINDS = {
    "sst": {"kind": "classification", "classes": 5},
    "qqp": {"kind": "binary"},
    "sts": {"kind": "regression"},
}
CLAIMS = {
    "a": {
        "says": "Crossing is better.",
        "section": "4",
        "contrasts": [
            {"a": ["cross"], "b": ["cosine"], "metric": metric, "direction": "up"}
            for metric in ("overall", "seconds", "memory")
        ],
    }
}
COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING
STATES = {
    "empty": [],
    "waiting": [TrialState.WAITING],
    "running": [RUNNING],
    "one trial": [COMPLETE],
    "two trials": [COMPLETE] * 2,
    "all failed": [FAIL] * 3,
    "all pruned": [PRUNED] * 3,
    "unfinished": [COMPLETE, COMPLETE, RUNNING, FAIL],
}
TASKS: dict[str, dict[str, Any]] = {
    "one task": {"sst": KINDS["sst"]},
    "two tasks": {"sst": KINDS["sst"], "sts": KINDS["sts"]},
    "a fourth task": {**KINDS, "nli": {"kind": "classification", "classes": 5}},
}
DESIGNS: dict[str, dict[str, Any]] = {
    "optuna": {"factors": [{"path": HEAD, "levels": LEVELS}]},
    "grid": {"design": "grid", "factors": [{"path": HEAD, "levels": LEVELS}]},
    "listed": {
        "design": "listed",
        "factors": [{"path": path, "levels": LEVELS} for path in ("run", HEAD)],
        "runs": {name: {"trained_as": name, "reported": {"sst": 0.5}} for name in LEVELS},
        "paper": {"name": "000", "average": "overall"},
        "claims": CLAIMS,
    },
    "one_factor": {
        "design": "one_factor",
        "factors": [{"path": HEAD, "levels": LEVELS}],
        "base": {HEAD: "cosine"},
        "baseline": "cosine",
        "comparisons": [{"factor": HEAD, "level": name, "config_id": name} for name in LEVELS[1:]],
        "quote": "dev",
    },
    "no factors": {"factors": []},
}


class Odd:
    """Writes a study of trials in given states, and runs commands over it."""

    def __init__(self, new_study: Callable[..., Any], capsys: pytest.CaptureFixture[str], out: Path) -> None:
        self._new_study, self._capsys, self.out = new_study, capsys, out

    def write(
        self,
        states: list[TrialState],
        design: str,
        tasks: dict[str, Any],
        stored: bool = True,
        folder: str = "study",
    ) -> Path:
        writer = self._new_study(folder, tasks=tasks, **DESIGNS[design])
        for place, state in enumerate(states):
            level = LEVELS[place % len(LEVELS)]
            settings = {HEAD: level, **({"run": level} if design == "listed" else {})}
            number = writer.add(state, settings, config_id=level, replicate=place // len(LEVELS))
            predictions = writer.path / "trials" / f"{number:05d}" / "predictions"
            if not stored:
                shutil.rmtree(predictions)
            elif (predictions / "sst.parquet").exists() and "nli" in tasks:
                shutil.copy(predictions / "sst.parquet", predictions / "nli.parquet")
        return Path(writer.path)

    def command(self, main: Callable[[list[str]], int], *arguments: object) -> tuple[int, str]:
        """Exit code, and what was written to the terminal; of a mistake one line."""
        self._capsys.readouterr()
        code = run(partial(main, [str(one) for one in arguments]))
        said = self._capsys.readouterr()
        if code:
            assert code == EXIT_USER
            assert said.err.startswith("error: ")
            assert said.err.count("\n") == 1
        else:
            assert said.err == ""
        return code, said.out + said.err

    def commands(self, path: Path) -> dict[str, tuple[int, str]]:
        """Run all commands; whatever fails has written nothing."""
        before = sorted(path.rglob("*"))
        found = {
            "report": self.command(report.main, path, "--out", self.out / "report"),
            "ensemble": self.command(ensemble.main, path, "--out", self.out / "ensemble"),
            "errors": self.command(errors.main, path),
            "claims": self.command(claims.main, path, "--out", self.out / "claims.md"),
        }
        written = {one.name.partition(".")[0] for one in self.out.iterdir()} if self.out.exists() else set()
        assert written == {name for name, (code, _) in found.items() if not code} - {"errors"}
        assert sorted(path.rglob("*")) == before
        return found


@pytest.fixture
def odd(new_study: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Odd:
    return Odd(new_study, capsys, tmp_path / "out")


EVERY_STATE = [(name, "optuna") for name in STATES]
EVERY_DESIGN = [(name, design) for name in ("empty", "unfinished") for design in DESIGNS]


@pytest.mark.parametrize(("states", "design"), dict.fromkeys([*EVERY_STATE, *EVERY_DESIGN]))
def test_commands_end_in_words_whatever_a_study_lacks(odd: Odd, states: str, design: str) -> None:
    found = odd.commands(odd.write(STATES[states], design, KINDS))
    complete = COMPLETE in STATES[states]
    assert found["report"][0] == 0
    assert found["ensemble"][0] == (0 if complete else EXIT_USER)
    assert found["claims"][0] == (0 if design == "listed" else EXIT_USER)
    assert found["errors"][0] == EXIT_USER
    if not complete:
        assert "no trial is complete" in found["ensemble"][1]
        assert "no trial is complete" in found["errors"][1]
    if design == "listed":
        assert "memory is not recorded" in (odd.out / "claims.md").read_text()


@pytest.mark.parametrize(
    ("tasks", "design"), [("one task", "optuna"), ("two tasks", "one_factor"), ("a fourth task", "listed")]
)
def test_commands_take_other_numbers_of_tasks(odd: Odd, tasks: str, design: str) -> None:
    found = odd.commands(odd.write([COMPLETE] * 6, design, TASKS[tasks]))
    assert found["report"][0] == found["ensemble"][0] == 0
    written = sorted(one.name for one in (odd.out / "ensemble" / "predictions").iterdir())
    names = [{"qqp": "para"}.get(task, task) for task in TASKS[tasks]]
    assert written == sorted(f"{name}-{split}-output.csv" for name in names for split in ("dev", "test"))
    methods = pd.read_csv(odd.out / "ensemble" / "methods.csv")
    assert set(methods["task"]) == {*TASKS[tasks], "score"}
    assert set(methods["method"]) == set(METHODS)


@pytest.mark.parametrize("design", ["listed", "one_factor"])
def test_without_stored_predictions_an_ensemble_is_refused_and_a_report_written(
    odd: Odd, design: str
) -> None:
    found = odd.commands(odd.write([COMPLETE] * 6, design, KINDS, stored=False))
    assert found["report"][0] == 0
    assert found["ensemble"][0] == EXIT_USER
    assert "no complete trial has stored predictions for dev" in found["ensemble"][1]
    if design == "listed":
        assert "no stored predictions" in (odd.out / "claims.md").read_text()


@pytest.mark.parametrize("states", list(STATES))
def test_every_table_of_an_odd_study_can_be_made(odd: Odd, states: str) -> None:
    study = load(odd.write(STATES[states], "optuna", KINDS))
    tables = compute_tables(study)
    assert list(tables.leaders.columns) and list(tables.effects.columns)
    assert all(len(frame) for frame in summary_tables(study, tables).values())
    compared = tables.compared.trials
    assert importance(compared, study.factors, study.tasks).reason
    assert set(interactions(compared, study.factors)["verdict"]) <= {"too few"}
    complete = STATES[states].count(COMPLETE)
    assert len(pareto_front(study.trials, study.tasks)) <= complete
    assert len(hypervolume_over_time(study.trials, study.tasks)) == complete
    assert study.scored_epochs["number"].is_monotonic_increasing
    assert constant_predictors(study.scored_epochs).empty
    assert set(forgetting(study.history, list(study.tasks))["number"]) <= set(study.trials["number"])
    assert methods_table({task: study.predictions(task) for task in study.tasks}, study.tasks).empty == (
        not complete
    )


def test_one_factor_and_listed_tables_of_an_odd_study_name_what_did_not_run(odd: Odd) -> None:
    study = load(odd.write([COMPLETE, FAIL, PRUNED], "one_factor", KINDS))
    table = ablation_table(study)
    assert set(table.loc[~table["base"], "verdict"]) == {"not run"}
    study = load(odd.write([COMPLETE, FAIL, PRUNED], "listed", KINDS, folder="listed"))
    assert run_table(study)["replicates"].tolist() == [1, 0, 0]
    judged = claim_table([study]).set_index("metric")
    assert judged.loc["overall", "verdict"] == "not measured"
    assert "not complete: cross" in judged.loc["overall", "reason"]
