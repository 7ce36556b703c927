"""Two trials never make the same stage at once."""

from __future__ import annotations

from optuna.trial import create_trial

from minbert.config import TrainConfig, build_config
from minbert.stage_chain import stage_ends
from trainables.running.single_flight import SingleFlight
from trainables.studies.ledger import Issue


def trial(simcse: float = 2, rate: float = 1e-5, **leaves: object) -> TrainConfig:
    return build_config(
        {
            "data": {"path": "data", "fingerprint": "d"},
            "encoder": {"path": "encoder", "fingerprint": "e"},
            "stages": {"simcse": {"epochs": simcse}, "finetune": {"learning_rate": rate}},
            **leaves,
        }
    )


def issue(number: int, config: TrainConfig) -> Issue:
    return Issue(number, config, replicate=0)


def keys(config: TrainConfig) -> list[str]:
    return [end.key for end in stage_ends(config)]


def test_a_trial_waits_for_one_that_makes_the_same_beginning_and_starts_once_it_is_published() -> None:
    store: set[str] = set()
    flights = SingleFlight(store.__contains__)
    flights.issued(issue(0, trial()))
    assert not flights.may_start(issue(9, trial(rate=2e-5)))
    assert flights.may_start(issue(9, trial(simcse=0)))
    assert flights.may_start(issue(9, trial(seed=1)))
    store.update(keys(trial()))
    assert flights.may_start(issue(9, trial(rate=2e-5)))


def test_a_shorter_training_starts_as_soon_as_its_part_is_there_and_a_longer_one_waits_for_the_whole() -> (
    None
):
    store: set[str] = set()
    flights = SingleFlight(store.__contains__)
    flights.issued(issue(0, trial(simcse=2)))
    store.add(keys(trial(simcse=1))[0])
    assert flights.may_start(issue(9, trial(simcse=1)))
    assert not flights.may_start(issue(9, trial(simcse=3)))
    store.update(keys(trial(simcse=2)))
    assert flights.may_start(issue(9, trial(simcse=3)))
    flights.issued(issue(1, trial(simcse=3)))
    assert flights.may_start(issue(9, trial(simcse=2)))
    assert not flights.may_start(issue(9, trial(simcse=4)))


def test_the_next_one_makes_what_a_trial_that_ended_did_not_publish() -> None:
    flights = SingleFlight(set[str]().__contains__)
    flights.issued(issue(0, trial()))
    assert not flights.may_start(issue(9, trial(rate=2e-5)))
    flights.ended(issue(0, trial()), create_trial(value=0.5))
    assert flights.may_start(issue(9, trial(rate=2e-5)))
    flights.issued(issue(1, trial(rate=2e-5)))
    flights.ended(issue(0, trial()), create_trial(value=0.5))  # told once more
    assert not flights.may_start(issue(9, trial(rate=3e-5)))


def test_nobody_waits_for_what_a_trial_left_behind_without_publishing_it() -> None:
    """Smaller passes, for lack of memory, are not what the key stands for."""
    flights = SingleFlight(set[str]().__contains__)
    flights.issued(issue(0, trial()))
    flights.reported(issue(0, trial()), {"stage": "simcse", "epoch": 1})
    assert flights.may_start(issue(9, trial(simcse=1, rate=2e-5)))
    assert not flights.may_start(issue(9, trial(rate=2e-5)))
    flights.reported(issue(0, trial()), {"stage": "simcse", "epoch": 2})
    assert flights.may_start(issue(9, trial(rate=2e-5)))


def test_a_whole_stage_counts_even_where_its_inner_epochs_are_gone() -> None:
    store = {keys(trial(simcse=2))[-1]}
    flights = SingleFlight(store.__contains__)
    flights.issued(issue(0, trial(simcse=2)))
    assert flights.may_start(issue(9, trial(simcse=2, rate=2e-5)))


def test_what_another_trial_makes_by_now_is_not_let_go_when_the_first_one_ends() -> None:
    flights = SingleFlight(set[str]().__contains__)
    first, second = issue(0, trial()), issue(1, trial(rate=2e-5))
    flights.issued(first)
    for epoch in (1, 2):
        flights.reported(first, {"stage": "simcse", "epoch": epoch})
    flights.issued(second)
    flights.ended(first, create_trial(value=0.5))
    assert not flights.may_start(issue(9, trial(rate=3e-5)))


def test_the_store_is_asked_only_about_what_is_being_made() -> None:
    asked: list[str] = []

    def published(key: str) -> bool:
        asked.append(key)
        return False

    flights = SingleFlight(published)
    flights.issued(issue(0, trial()))
    waiting = [issue(number, trial(rate=number * 1e-5)) for number in range(1, 20)]
    for each in waiting:
        flights.waits(each)
    asked.clear()
    flights.ended(issue(0, trial()), create_trial(value=0.5))
    assert all(flights.may_start(each) for each in waiting)
    assert asked == []
