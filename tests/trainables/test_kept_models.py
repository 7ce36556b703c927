"""Which finished trials keep their model, at every moment of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from minbert.config import TrainConfig
from tests.trainables.commands import CommandLine
from trainables.studies.kept_models import KeptModels, made_again, with_point
from trainables.studies.ledger import Issue
from trainables.studies.study import StudyFolder

METRICS = ("select/sst", "select/qqp", "select/sts")
TASKS = ("sst", "qqp", "sts")
POINTS = st.lists(st.tuples(*[st.sampled_from((0.1, 0.2, 0.3, 0.4))] * 3), max_size=25)


def trial(number: int, *point: float, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    metrics = dict(zip(METRICS, point, strict=True)) if point else {}
    value = sum(point) / 3 if state is TrialState.COMPLETE else None
    made = create_trial(state=state, value=value, user_attrs={"metrics": metrics})
    made.number = number
    return made


def study(folder: Path, trials: int) -> StudyFolder:
    """A folder whose trials all have a model and a checkpoint."""
    made = StudyFolder(folder, {})
    for number in range(trials):
        for name in ("best", "checkpoint", "predictions"):
            (made.trial(number) / name).mkdir(parents=True)
    return made


def end(models: KeptModels, ended: FrozenTrial) -> None:
    models.ended(Issue(ended.number, TrainConfig(), 0), ended)


def with_model(folder: StudyFolder) -> set[int]:
    return {int(path.parent.name) for path in folder.path.glob("trials/*/best")}


def front_by_definition(points: Sequence[tuple[float, ...]]) -> set[int]:
    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and one != other

    return {number for number, point in enumerate(points) if not any(beats(other, point) for other in points)}


@given(POINTS)
def test_the_front_holds_what_no_other_trial_beats(points: list[tuple[float, ...]]) -> None:
    front: list[FrozenTrial] = []
    for number, point in enumerate(points):
        front = with_point(front, trial(number, *point), METRICS)
    assert {one.number for one in front} == front_by_definition(points)


@given(POINTS, st.integers(1, 4), st.randoms())
def test_what_is_kept_depends_on_the_finished_trials_and_not_on_their_order(
    points: list[tuple[float, ...]], count: int, random: object
) -> None:
    trials = [trial(number, *point) for number, point in enumerate(points)]
    nowhere = StudyFolder(Path("/nonexistent"), {})
    one, other = KeptModels(nowhere, TASKS, count), KeptModels(nowhere, TASKS, count)
    one.catch_up(trials)
    random.shuffle(trials)  # type: ignore[attr-defined]
    for each in trials:
        end(other, each)
    best = sorted(range(len(points)), key=lambda number: (-(sum(points[number]) / 3), number))[:count]
    assert one.kept == other.kept == {*best} | front_by_definition(points)


def test_a_model_is_dropped_as_soon_as_others_take_its_place_and_predictions_stay(tmp_path: Path) -> None:
    folder = study(tmp_path, 6)
    models = KeptModels(folder, TASKS, 1)
    held = []
    points = [(0.5, 0.5, 0.5), (0.4, 0.4, 0.4), (0.6, 0.6, 0.6), (0.9, 0.1, 0.1), (0.7, 0.7, 0.7)]
    for number, point in enumerate(points):
        end(models, trial(number, *point))
        held.append(with_model(folder) - {*range(number + 1, 6)})
    assert held == [{0}, {0}, {2}, {2, 3}, {3, 4}]
    assert (folder.trial(5) / "best").is_dir(), "a trial that has not ended is left alone"
    assert [int(path.parent.name) for path in tmp_path.glob("trials/*/checkpoint")] == [5]
    assert len(list(tmp_path.glob("trials/*/predictions"))) == 6


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_a_trial_that_did_not_reach_its_end_keeps_no_model(tmp_path: Path, state: TrialState) -> None:
    folder = study(tmp_path, 1)
    end(KeptModels(folder, TASKS, 5), trial(0, 0.9, 0.9, 0.9, state=state))
    assert with_model(folder) == set()


def test_a_trial_without_all_metrics_is_on_no_front_but_may_be_among_the_best() -> None:
    lacking = create_trial(state=TrialState.COMPLETE, value=0.9, user_attrs={"metrics": {"select/sst": 0.9}})
    lacking.number = 0
    assert with_point([], lacking, METRICS) == []
    models = KeptModels(StudyFolder(Path("/nonexistent"), {}), TASKS, 1)
    models.catch_up([lacking])
    assert models.kept == {0}


@pytest.mark.parametrize(("count", "kept"), [(0, set()), (1, {0, 1, 2}), (None, {0, 1, 2, 3})])
def test_none_are_kept_with_0_and_every_one_with_all(
    tmp_path: Path, count: int | None, kept: set[int]
) -> None:
    folder = study(tmp_path, 4)
    models = KeptModels(folder, TASKS, count)
    for number, point in enumerate([(0.9, 0.1, 0.1), (0.1, 0.9, 0.1), (0.1, 0.1, 0.9), (0.0, 0.0, 0.0)]):
        end(models, trial(number, *point))
    assert with_model(folder) == kept
    assert not list(tmp_path.glob("trials/*/checkpoint"))


def test_the_next_start_drops_what_a_killed_driver_did_not_and_leaves_running_trials_alone(
    tmp_path: Path,
) -> None:
    folder = study(tmp_path, 4)
    finished = [trial(number, *[0.1 * number] * 3) for number in range(3)]
    KeptModels(folder, TASKS, 1).catch_up([*finished, trial(3, state=TrialState.RUNNING)])
    assert with_model(folder) == {2, 3}
    assert (folder.trial(3) / "checkpoint").is_dir()


def test_members_whose_model_is_gone_are_named_with_a_command(tmp_path: Path) -> None:
    study(tmp_path, 2)
    for number in (4, 7):
        (tmp_path / "trials" / f"{number:05d}").mkdir()
    assert made_again(tmp_path, {0, 1}) == ""
    told = made_again(tmp_path, {7, 1, 4})
    assert told.startswith("4, 7; ")
    assert f"python -m minbert.train --config {tmp_path}/trials/00004/config.yaml --out DIR" in told


@pytest.mark.parametrize("value", ["-1", "many", "2.5", "²", ""])
def test_another_number_of_models_is_refused_in_one_line(search_command: CommandLine, value: str) -> None:
    code, told = search_command("--space", "full_ablation", f"--keep={value}")
    assert code == 2
    assert f"--keep: {value!r}: a whole number from 0, or all, is needed" in told.splitlines()[-1]
