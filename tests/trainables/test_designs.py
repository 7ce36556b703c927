"""Where configurations come from, through the ledger: every run once, in order, whatever driver dies when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages.journal._storage import JournalStorageReplayResult
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.journal import read_trials
from minbert.errors import UserError
from tests.trainables.test_ledger import complete, open_ledger
from trainables.designs.combinations import every_setting
from trainables.designs.design import REDRAWS, NotStarted, build_design
from trainables.spaces.run_checks import identify
from trainables.spaces.space import Space, load_space
from trainables.studies.ledger import Issue, Ledger

GRID = """\
search: {design: grid}
pooling: {choice: [mean, cls]}
stages:
  finetune:
    dropout: {uniform: [0.1, 0.3], step: 0.1}
    sampler: {kind: {choice: [annealed, concurrent]}}
    pcgrad: {choice: [false, true], when: {stages.finetune.sampler.kind: concurrent}}
"""
LISTED = """\
search: {design: listed}
runs:
  a: {}
  b: {set: {pooling: cls}}
  again: {same_as: b}
  c: {like: b, set: {max_length: 64}}
"""
DRAWN = """\
search: {early_stopping: null, sampler: random, trials: 8}
stages: {finetune: {learning_rate: {log_uniform: [1e-5, 1e-3]}}}
"""
FINITE = """\
search: {early_stopping: null, startup_trials: 2}
pooling: {choice: [mean, cls]}
shared_layer: {choice: [none, all]}
"""


CLS: dict[str, BaseDistribution] = {"pooling": CategoricalDistribution(["mean", "cls"])}


def load(folder: Path, content: str) -> Space:
    path = folder / "x.yaml"
    path.write_text(content)
    return load_space(str(path))


def configurations(space: Space) -> int:
    """How many runs the design has in all."""
    return build_design(space, lambda params: identify(space, params, {})).runs


def run_out(ledger: Ledger) -> list[Issue]:
    issues = []
    while (issue := ledger.next()) is not None:
        issues.append(issue)
        complete(ledger, issue.number, 0.1 * (issue.number % 7))
    return issues


def counted(ledger: Ledger) -> list[tuple[str, int]]:
    return [(trial.user_attrs["config_id"], trial.user_attrs["replicate"]) for trial in ledger.trials()]


def test_listed_runs_go_in_their_order_all_before_the_next_replicate(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, load(tmp_path, LISTED), None, replicates=2)
    assert ledger.target == 6
    issues = run_out(ledger)
    assert [(issue.run, issue.replicate) for issue in issues] == [
        (run, replicate) for replicate in (0, 1) for run in ("a", "b", "c")
    ]
    assert [issue.config.max_length for issue in issues] == [128, 128, 64] * 2
    assert ledger.done


def test_a_grid_runs_every_combination_that_applies_once(tmp_path: Path) -> None:
    space = load(tmp_path, GRID)
    ledger = open_ledger(tmp_path, space, None)
    issues = run_out(ledger)
    seen = set()
    for issue in issues:
        stage: Any = issue.config.stages["finetune"]
        seen.add((issue.config.pooling, stage.dropout, stage.sampler.kind, stage.pcgrad))
    kinds = [("annealed", False), ("concurrent", False), ("concurrent", True)]
    expected = {
        (pooling, dropout, *kind)
        for pooling in ("mean", "cls")
        for dropout in (0.1, 0.2, 0.3)
        for kind in kinds
    }
    assert seen == expected
    assert len(issues) == len(expected) == space.combinations() == len(list(every_setting(space)))


def test_settings_of_a_grid_that_train_the_same_way_run_once(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        "search: {design: grid}\nstages: {simcse: {epochs: {choice: [0, 1]}, temperature: {choice: [0.05, 0.1]}}}",
    )
    assert space.combinations() == 4
    assert configurations(space) == 3  # without the stage its temperature means nothing


def test_a_grid_over_a_continuous_factor_is_refused_with_its_line(tmp_path: Path) -> None:
    space = load(tmp_path, "search: {design: grid}\nstages:\n  finetune:\n    dropout: {uniform: [0, 0.5]}\n")
    with pytest.raises(
        UserError, match=r"x.yaml:4: stages.finetune.dropout is continuous.*give a uniform a step"
    ):
        configurations(space)


def test_a_grid_beyond_any_plan_is_refused(tmp_path: Path) -> None:
    content = "search:\n  design: grid\nmax_length: {int: [8, 500]}\nstages: {finetune: {batch_size: {int: [1, 99]}}}\n"
    with pytest.raises(UserError, match=r"x.yaml:2: search.design grid: 48807 combinations are more than"):
        configurations(load(tmp_path, content))


@pytest.mark.parametrize("content", [GRID, LISTED])
def test_fewer_trials_run_the_first_ones_and_more_continue(tmp_path: Path, content: str) -> None:
    space = load(tmp_path, content)
    first = open_ledger(tmp_path, space, 2)
    assert len(run_out(first)) == 2
    whole = [identity for identity, _ in counted(first)]
    rest = open_ledger(tmp_path, space, 1000)
    assert rest.target == configurations(space)
    run_out(rest)
    assert [identity for identity, _ in counted(rest)][:2] == whole
    assert len(set(counted(rest))) == len(counted(rest)) == configurations(space)


class Killed(Exception):
    """The driver's end."""


@pytest.mark.parametrize("content", [LISTED, GRID])
def test_a_driver_killed_at_any_write_leaves_no_run_skipped_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    space = load(tmp_path, content)
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    write = JournalFileBackend.append_logs
    left = 0

    def dying(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        write(self, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", dying)
    for life in range(1, 60):
        left = life + 2
        try:
            run_out(open_ledger(tmp_path, space, None))
        except Killed:
            continue
    left = 10_000
    last = open_ledger(tmp_path, space, None)
    run_out(last)
    assert len(set(counted(last))) == len(counted(last)) == configurations(space)
    assert {trial.state for trial in last.trials()} == {TrialState.COMPLETE}


def test_a_configuration_drawn_again_is_told_to_the_sampler_and_not_trained(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, load(tmp_path, FINITE), 4)
    issues = run_out(ledger)
    assert len(issues) == 4
    assert len(set(counted(ledger))) == 4
    copies = [trial for trial in ledger._study.trials if "copied_from" in trial.user_attrs]
    by_number = {trial.number: trial for trial in ledger.trials()}
    assert copies  # 4 draws from 4 settings are different ones in 9% of cases, not with this seed
    for copy in copies:
        assert copy.value == by_number[copy.user_attrs["copied_from"]].value
        assert copy.params == by_number[copy.user_attrs["copied_from"]].params
    shown = [trial.number for trial in read_trials(tmp_path / "journal.log")]
    assert shown == list(by_number)  # tables must not count a copy as a replicate


def test_a_finite_space_that_has_run_wholly_ends_the_study(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, load(tmp_path, FINITE), 50, replicates=2)
    assert len(run_out(ledger)) == 8
    assert (ledger.done, ledger.unfinished) == (True, 42)
    trials = len(ledger._study.trials)
    again = open_ledger(tmp_path, load(tmp_path, FINITE), 50, replicates=2)
    assert again.done
    assert len(again._study.trials) == trials


def test_nothing_is_drawn_while_the_last_configurations_run(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, load(tmp_path, FINITE), 50)
    issues = [ledger.next() for _ in range(4)]
    assert ledger.next() is None
    assert not ledger.done
    before = (tmp_path / "journal.log").read_bytes()
    assert ledger.next() is None
    assert (tmp_path / "journal.log").read_bytes() == before
    for issue in issues:
        assert issue is not None
        complete(ledger, issue.number, 0.5)
    assert ledger.next() is None
    assert ledger.done


def test_an_untried_setting_of_a_wide_range_is_found_without_listing_it(tmp_path: Path) -> None:
    space = load(tmp_path, "stages: {finetune: {epochs: 1, warmup_steps: {int: [1, 1000000000]}}}\n")
    proposal = next(build_design(space, str).proposals({}, redrawn=REDRAWS))
    assert proposal.params == {"stages.finetune.warmup_steps": 1}


class Account(dict[tuple[str, int], FrozenTrial]):
    """What was started; counts how often it is asked."""

    asked = 0

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return super().__contains__(name)


def test_of_a_long_plan_each_run_is_passed_over_once() -> None:
    left, account = NotStarted((str(number), 0, {"number": number}) for number in range(300)), Account()
    account["7", 0] = create_trial(value=0.5)
    started = []
    while (proposal := next(left.proposals(account), None)) is not None:
        assert proposal.params is not None
        started.append(proposal.params["number"])
        account[str(started[-1]), 0] = create_trial(value=0.5)
    assert started == [number for number in range(300) if number != 7]
    assert account.asked <= 3 * 300


@pytest.mark.parametrize("replicates", [1, 3])
def test_a_proposal_of_a_drawn_study_does_not_look_at_what_has_all_its_replicates(
    tmp_path: Path, replicates: int
) -> None:
    space = load(tmp_path, FINITE).fix("search.replicates", replicates)
    design, account, proposed = build_design(space, lambda params: ""), Account(), []
    for number in range(200):
        while (proposal := next(design.proposals(account, 0))).params is not None:
            proposed.append((number - 1, proposal.replicate))
            account[str(number - 1), proposal.replicate] = create_trial(value=0.5)
        account[str(number), 0] = create_trial(value=0.5, params={"pooling": "cls"}, distributions=CLS)
    assert proposed == [(number, each) for number in range(199) for each in range(1, replicates)]
    assert account.asked <= 200 * 2 * replicates**2


def test_a_draw_and_an_end_look_through_no_list_of_all_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[int] = []
    original = JournalStorageReplayResult.get_all_trials

    def walking(self: Any, *arguments: Any) -> Any:
        found = original(self, *arguments)
        walked.append(len(found))
        return found

    for name, content in {"drawn": DRAWN, "grid": GRID}.items():
        (tmp_path / name).mkdir()
        ledger = open_ledger(tmp_path / name, load(tmp_path, content), None)
        first = ledger.next()
        assert first is not None
        monkeypatch.setattr(JournalStorageReplayResult, "get_all_trials", walking)
        complete(ledger, first.number, 0.5)
        assert len(run_out(ledger)) >= 5
        assert walked == []
        monkeypatch.undo()


def test_a_failed_configuration_is_not_tried_again_by_a_draw(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, load(tmp_path, FINITE), 50)
    while (issue := ledger.next()) is not None:
        ledger.finish(issue.number, "failed", f"cause {issue.number}", "")
    assert len(set(counted(ledger))) == len(counted(ledger)) == 4
