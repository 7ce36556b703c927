"""What a search tells while it runs: in a terminal, elsewhere, to scripts and to TensorBoard."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from minbert.config import TrainConfig
from minbert.files.durable import append_json
from minbert.now import Now
from tests.trainables.watched import Watched, record_of, some_of_each
from trainables.status import plain
from trainables.studies.ledger import Issue
from trainables.studies.locks import locked
from trainables.studies.time_share import TimeShare
from trainables.watching import overview
from trainables.watching.events import EventStream, as_plain
from trainables.watching.progress import Outlets
from trainables.watching.running_trials import running_trial
from trainables.watching.study_state import read_state
from trainables.watching.time_left import TimeLeft, Underway, time_left

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def told(out: io.StringIO) -> list[dict[str, Any]]:
    """The events of a stream; what no JSON may hold is refused."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in out.getvalue().splitlines()]


def shown_by(watched: Watched) -> list[str]:
    """The lines of the live table, once drawn."""
    with watched.progress:
        watched.progress.tick()
        return [line.rstrip() for line in ANSI.sub("", watched.output.getvalue()).splitlines()]


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Name, step and value of what a folder's only TensorBoard log holds."""
    (file,) = folder.iterdir()
    content, found, at = file.read_bytes(), [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 12 + length + 4
    return found


def test_the_live_table_shows_running_trials_counts_best_causes_sharing_and_time_left(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", columns=80)
    some_of_each(watched)
    lines = shown_by(watched)
    assert "small: 4 of 6 trials done: 2 complete, 1 stopped early, 1 failed, 1 running" in lines
    text = " ".join(" ".join(lines).split())
    assert "best: trial 1, score 0.6000 (sst 0.500 qqp 0.600 sts 0.700); Pareto front: 1 trial (1)" in text
    assert "failed: 1 nan; last: trial 3: the loss is no number" in text
    assert "1 trial took stages made by others: 12 s saved" in text
    assert re.search(r"time left: about \d+ s \(\d+ to \d+\)", text)
    (row,) = [line.split() for line in lines if line.split()[:2] == ["4", "finetune"]]
    assert row[2:7] == ["1/3", "0.350", "0.450*", "0.550", "0.450"]
    assert max(map(len, lines)) <= 80


def test_the_best_trial_is_not_shown_without_its_constant_answers(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", columns=120)
    issue = watched.start()
    record = watched.epoch(issue, 1, 0.5)
    watched.epoch(issue, 2, 0.6, chosen={**record["chosen"], "constant": ["qqp"]})
    watched.end(issue, "complete")
    lines = shown_by(watched)
    (best,) = [line for line in lines if line.startswith("best: ")]
    assert "(sst 0.400 qqp 0.500 sts 0.600; qqp: constant answer)" in best
    shown = read_state(watched.folder).overview.best
    assert shown is not None
    assert shown.constant == ("qqp",)


def test_the_live_table_shows_inside_an_epoch_how_much_of_it_is_done(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", trials=9, columns=80)
    some_of_each(watched)
    starting, first, scoring, scored = (watched.start() for _ in range(4))
    watched.tell(first, 1, 3)
    watched.tell(scoring, 1, 8, "scoring")
    watched.tell(scored, 1, 8, "scoring", scored=0.5, scoring_seconds=1.0)
    rows = {line.split()[0]: line.split()[1:] for line in shown_by(watched) if line.split()}
    assert rows[str(starting.number)][0] == "starting"
    assert rows[str(first.number)][:3] == ["finetune", "1/3", "37%"]
    assert rows[str(scoring.number)][:3] == ["finetune", "1/3", "scoring"]
    assert rows[str(scored.number)][:4] == ["finetune", "1/3", "scoring", "50%"]


def test_a_table_that_is_too_long_for_the_terminal_says_how_many_it_leaves_out(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", trials=12, columns=80, rows=10)
    for _ in range(12):
        watched.start()
    lines = shown_by(watched)
    rows = [line for line in lines if "starting" in line]
    assert lines[-1] == f"… and {12 - len(rows)} more"
    assert 2 < len(rows) < len(lines) < 10


def test_plain_lines_tell_of_starts_scored_epochs_and_ends_with_what_is_left(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study")
    with watched.progress:
        issue = watched.start()
        watched.report(issue, {"stage": "simcse", "epoch": 1, "train_seconds": 1.0})
        watched.epoch(issue, 1, 0.5, constant=["qqp"])
        watched.end(issue, "complete")
        watched.end(watched.start(), "failed", "oom", "out of\nmemory")
    lines = [line.split("] ", 1)[1] for line in watched.output.getvalue().splitlines()]
    assert lines[0] == "trial 0 started"
    assert lines[1] == "trial 0 epoch 1 of 3: sst 0.400 qqp 0.500 sts 0.600 score 0.500; qqp: constant answer"
    assert lines[2].startswith(
        "trial 0 complete; 1 of 6 trials done: 1 complete; best 0.5000 (trial 0); about "
    )
    assert lines[2].endswith(" left")
    assert lines[4].startswith(
        "trial 1 failed (oom): out of memory; 2 of 6 trials done: 1 complete, 1 failed"
    )
    assert len(lines) == 5


def test_status_reads_from_the_files_what_the_search_shows_itself(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study")
    running = some_of_each(watched)
    with locked(watched.folder):
        (watched.trial(running) / "attempts" / "0001").touch()
        watched.tell(running, 2, 4)
        shown = as_plain(watched.progress.follower.overview())
        read = plain(read_state(watched.folder))
    for timed in (shown["running"][0], read["running"][0]):
        timed.pop("seconds")
    shown.pop("seconds_left")
    assert [trial["share"] for trial in shown["running"]] == [0.5]
    assert {name: read[name] for name in shown} == shown


def test_an_epoch_that_a_trial_has_not_reported_yet_is_taken_from_its_history(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study")
    issue = watched.start()
    history = watched.trial(issue) / "history.jsonl"
    history.write_text(json.dumps({"stage": "simcse", "epoch": 2, "train_seconds": 1.0}) + "\n{torn")
    (running,) = watched.progress.follower.overview().running
    assert (running.stage, running.epoch) == ("simcse", 2)


def test_a_worker_that_takes_over_tells_no_epoch_twice(tmp_path: Path) -> None:
    out = io.StringIO()
    watched = Watched(tmp_path / "study", outlets=Outlets(EventStream(out), tensorboard=True))
    with watched.progress:
        issue = watched.start()
        first = watched.epoch(issue, 1, 0.4)
        watched.report(issue, first)
        watched.epoch(issue, 2, 0.5)
    assert [event["epoch"] for event in told(out) if event["event"] == "epoch"] == [1, 2]
    log = scalars(tmp_path / "study" / "tensorboard" / "00000")
    assert [step for name, step, _ in log if name == "finetune/select/score"] == [1, 2]


def test_events_tell_the_whole_search_in_valid_json(tmp_path: Path) -> None:
    out = io.StringIO()
    watched = Watched(tmp_path / "study", outlets=Outlets(EventStream(out)))
    with watched.progress:
        running = some_of_each(watched)
        watched.epoch(running, 2, 0.3, train_loss={"sst": float("nan")})
    events = told(out)
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "began",
        *["started", "epoch", "epoch", "ended"] * 2,
        *["started", "epoch", "ended"],
        *["started", "ended"],
        *["started", "epoch", "epoch"],
    ]
    ended = [event for event in events if event["event"] == "ended"]
    assert [event["state"] for event in ended] == ["complete", "complete", "pruned", "failed"]
    assert ended[1]["scores"] == pytest.approx({"sst": 0.5, "qqp": 0.6, "sts": 0.7, "score": 0.6})
    assert (ended[3]["cause"], ended[3]["message"]) == ("nan", "the loss\nis no number")
    assert events[-1]["train_loss"] == {"sst": None}
    assert [event["done"] for event in events if event["event"] == "progress"] == [1, 2, 3, 4]


def test_stdout_carries_events_alone_whoever_prints_there() -> None:
    script = (
        "import os; from trainables.watching.events import take_stdout; events = take_stdout(); print('text');"
        "os.write(1, b'raw '); os.system('echo of a library'); events.say('began', {'study': 'é'})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (json.loads(done.stdout)["event"], done.stdout.count("\n")) == ("began", 1)
    assert sorted(done.stderr.split()) == ["a", "library", "of", "raw", "text"]


def test_a_search_goes_on_when_nobody_reads_its_events_any_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    watched = Watched(tmp_path / "study", outlets=Outlets(EventStream(Closed())))
    with watched.progress:
        some_of_each(watched)
    assert watched.progress.follower.overview().done == 4
    assert capsys.readouterr().err == "events cannot be written any more (Broken pipe); the search goes on\n"


def test_nothing_follows_the_last_event() -> None:
    out = io.StringIO()
    events = EventStream(out)
    events.say("finished", {"how": "failed"}, last=True)
    events.say("progress", {})
    assert [event["event"] for event in told(out)] == ["finished"]


def test_tensorboard_logs_hold_each_trials_scalars_by_epoch_and_nothing_of_the_report_half(
    tmp_path: Path,
) -> None:
    watched = Watched(tmp_path / "study", outlets=Outlets(tensorboard=True))
    with watched.progress:
        some_of_each(watched)
    log = scalars(tmp_path / "study" / "tensorboard" / "00001")
    assert [(step, value) for name, step, value in log if name == "finetune/select/score"] == [
        (1, pytest.approx(0.5)),
        (2, pytest.approx(0.6)),
    ]
    assert ("finetune/train_loss/sst", 2, 0.5) in log
    assert not [name for name, *_ in log if "report" in name or "dev" in name]


def test_a_search_that_begins_to_log_writes_what_earlier_starts_did_not(tmp_path: Path) -> None:
    plain_start = Watched(tmp_path / "study")
    some_of_each(plain_start)
    assert not (tmp_path / "study" / "tensorboard").exists()
    again = Watched(tmp_path / "study", outlets=Outlets(tensorboard=True))
    with again.progress:
        continued = again.start()
        for epoch, score in ((1, 0.45), (2, 0.5)):
            again.report(continued, record_of(epoch, score))
    logs = tmp_path / "study" / "tensorboard"
    assert [len(scalars(logs / f"{number:05d}")) for number in range(5)] == [14, 14, 7, 0, 14]
    assert "writing the TensorBoard logs of 4 earlier trials\n" in again.output.getvalue()


def test_a_single_earlier_log_is_told_as_one(tmp_path: Path) -> None:
    first = Watched(tmp_path / "study")
    issue = first.start()
    first.epoch(issue, 1, 0.4)
    first.end(issue, "complete")
    again = Watched(tmp_path / "study", outlets=Outlets(tensorboard=True))
    with again.progress:
        pass
    assert "writing the TensorBoard log of 1 earlier trial\n" in again.output.getvalue()


def test_a_trial_that_is_handed_out_again_begins_its_log_anew(tmp_path: Path) -> None:
    first = Watched(tmp_path / "study", outlets=Outlets(tensorboard=True))
    with first.progress:
        first.epoch(first.start(), 1, 0.4)
    again = Watched(tmp_path / "study", outlets=Outlets(tensorboard=True))
    with again.progress:
        again.report(again.start(), record_of(1, 0.4))
    assert len(scalars(tmp_path / "study" / "tensorboard" / "00000")) == 7


def makespan(seconds: list[float], slots: int) -> float:
    """When the last of the trials ends that go one after another into the slot that is free first."""
    ends = [0.0] * slots
    for each in seconds:
        ends[ends.index(min(ends))] += each
    return max(ends)


def test_the_bounds_of_the_time_left_hold_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    held = []
    for _ in range(100):
        durations = random.lognormal(3.0, 0.6, 52)
        said = time_left(list(durations[:12]), [], 40, 4)
        assert said is not None
        held.append(said.low <= makespan(list(durations[12:]), 4) <= said.high)
    assert 0.65 <= np.mean(held) <= 0.95  # eight times out of ten; three standard errors are 0.12


def test_many_trials_take_as_long_as_their_sum_over_the_slots() -> None:
    said = time_left([50.0, 60.0, 70.0] * 60, [], 5000, 10)
    assert said is not None
    assert said.about == pytest.approx(5000 * 60 / 10, rel=0.05)


def test_running_trials_are_the_only_ones_to_wait_for_at_the_end() -> None:
    said = time_left([100.0] * 200, [Underway(20.0), Underway(90.0)], 0, 2)
    assert said is not None
    assert said.about == pytest.approx(80.0, rel=0.1)
    assert time_left([100.0], [], 0, 2) == TimeLeft(0.0, 0.0, 0.0)


def test_before_the_first_end_the_epochs_tell_roughly_and_without_any_nothing_does() -> None:
    said = time_left([], [Underway(20.0, 40.0), Underway(20.0, 40.0)], 2, 2)
    assert said is not None
    assert said.rough
    assert said.low < 100.0 < said.high
    assert time_left([], [Underway(20.0)], 5, 1) is None


def test_inside_the_first_epoch_its_steps_tell_how_long_it_takes_and_more_roughly(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", trials=1)
    issue = watched.start()
    watched.tell(issue, 1, 2)
    shown = watched.progress.follower.overview()
    seconds = (epochs_of(issue) - 2 / 8) * 8 * 2.0  # eight steps an epoch, two seconds each
    assert shown.running[0].left == seconds
    assert shown.left is not None and shown.left.rough
    assert shown.left.low < seconds < shown.left.high
    epochs = time_left([], [Underway(0.0, seconds)], 0, 1)
    assert epochs is not None
    assert shown.left.high / shown.left.low > 2 * epochs.high / epochs.low


def epochs_of(issue: Issue) -> int:
    """Epochs of the last stage, in which a watched trial stands."""
    return issue.config.running_stages()[-1][1].last_epoch


def test_steps_of_a_first_epoch_tell_nothing_that_ended_trials_do_not_tell_better() -> None:
    assert time_left([100.0] * 5, [Underway(20.0, 9.0, guessed=9.0)], 3, 2) == time_left(
        [100.0] * 5, [Underway(20.0)], 3, 2
    )


def test_what_is_left_of_a_trial_counts_what_is_done_of_its_epoch(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study")
    issue = watched.start()
    watched.epoch(issue, 1, 0.4)  # in 2.5 s
    watched.tell(issue, 2, 4)
    (running,) = watched.progress.follower.overview().running
    training, scoring = 2.0, 0.5
    assert (running.left, running.guessed) == ((epochs_of(issue) - 1) * 2.5 - training / 2, 0.0)
    watched.tell(issue, 2, 8, "scoring", scored=0.25, scoring_seconds=1.0)
    watched.progress.follower._looking = TimeShare(1.0)
    (running,) = watched.progress.follower.overview().running
    assert (running.left, running.guessed) == ((epochs_of(issue) - 2) * (training + scoring) + 3.0, 0.0)


def recipe(**epochs: int) -> TrainConfig:
    """A configuration of these stages."""
    stages = [(name, SimpleNamespace(last_epoch=count)) for name, count in epochs.items()]
    return cast(TrainConfig, SimpleNamespace(running_stages=lambda: stages))


def unscored(stage: str, epoch: int, seconds: float) -> dict[str, Any]:
    return {"stage": stage, "epoch": epoch, "train_seconds": seconds}


def test_a_stage_takes_what_its_own_steps_say_not_what_the_one_before_took() -> None:
    records = [unscored("a", epoch, 10.0) for epoch in (1, 2)]
    inside = Now("b", 1, "training", 5, 10, 60.0, 0.0, 1)
    running = running_trial(0, "", recipe(a=2, b=2), records, 320.0, 300.0, inside)
    assert (running.left, running.guessed) == (
        1.5 * 600.0,
        1.5 * 600.0,
    )  # what scoring takes is still to come


def test_what_is_known_from_another_stage_alone_is_a_guess() -> None:
    running = running_trial(0, "", recipe(a=2, b=1, c=2), [unscored("a", 1, 10.0)], 14.0, 4.0)
    known, unscored_stage, scored_stage = 10.0 - 4.0, 10.0, 2 * 2 * 10.0
    assert running.left == known + unscored_stage + scored_stage
    assert running.guessed == unscored_stage + scored_stage


def test_a_scored_stage_is_guessed_from_scored_epochs_of_other_trials(tmp_path: Path) -> None:
    others = [record_of(1, 0.5, train_seconds=20.0, eval_seconds=30.0)]
    records = [unscored("simcse", 1, 1.0), unscored("qqp_first", 1, 2.0)]
    stages = recipe(simcse=1, qqp_first=1, finetune=3)
    assert running_trial(0, "", stages, records, 3.0, 0.0, None, others).left == 3 * 50.0
    inside = Now("finetune", 1, "training", 5, 10, 4.0, 0.0, 1)
    running = running_trial(0, "", stages, records, 23.0, 20.0, inside, others)
    assert (running.left, running.guessed) == (3 * (40.0 + 30.0) - 20.0, 3 * (40.0 + 30.0) - 20.0)
    watched = Watched(tmp_path / "study", trials=2)
    watched.epoch(watched.start(), 1, 0.5, train_seconds=20.0, eval_seconds=30.0)
    second = watched.start()
    watched.tell(second, 1, 0, step_seconds=5.0)
    left = watched.progress.follower.overview().running[1].left
    assert left == epochs_of(second) * (8 * 5.0 + 30.0)
    with locked(watched.folder):
        for attempt in watched.folder.glob("trials/*/attempts/*"):
            attempt.touch()
        watched.tell(second, 1, 0, step_seconds=5.0)
        assert read_state(watched.folder).overview.running[1].left == left


def test_what_is_done_of_the_first_scoring_tells_how_long_it_takes(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", trials=1)
    issue = watched.start()
    watched.tell(issue, 1, 8, "scoring", scored=0.2, scoring_seconds=6.0)
    shown = watched.progress.follower.overview()
    training, scoring = 8 * 2.0, 30.0
    assert shown.running[0].left == (epochs_of(issue) - 1) * (training + scoring) + 0.8 * scoring
    assert shown.running[0].guessed == shown.running[0].left
    assert shown.left is not None and shown.left.rough
    (plainly,) = as_plain(shown)["running"]
    assert (plainly["doing"], plainly["share"]) == ("scoring", 0.2)


def test_the_bounds_hold_about_as_often_as_they_say_where_other_stages_come_first() -> None:
    random = np.random.default_rng(1)
    held = []
    for _ in range(200):
        first, more = float(random.lognormal(2.0, 1.0)), int(random.integers(4))
        # as measured on several recipes: a scored epoch takes twice one of an earlier stage, a third of that or thrice
        seconds = {"simcse": first, "qqp_first": first * random.lognormal(0.0, 0.5)}
        seconds["finetune"] = first * random.lognormal(0.7, 0.9)
        epochs = {name: int(random.integers(1, 4)) for name in seconds}
        done = int(random.integers(1, epochs["simcse"] + epochs["qqp_first"]))
        order = [(name, epoch) for name, count in epochs.items() for epoch in range(1, count + 1)]
        records = [unscored(name, epoch, seconds[name]) for name, epoch in order[:done]]
        elapsed = sum(record["train_seconds"] for record in records)
        trial = running_trial(0, "", recipe(**epochs), records, elapsed, 0.0)
        said = time_left([], [Underway(elapsed, trial.left, trial.guessed)], more, 1)
        assert said is not None
        whole = sum(seconds[name] for name, _ in order)
        others = whole * random.lognormal(0.0, 0.4, more)
        held.append(said.low <= whole - elapsed + others.sum() <= said.high)
    assert 0.7 <= np.mean(held) <= 0.9  # eight times out of ten; three standard errors are 0.085


def test_many_trials_that_end_in_a_moment_cost_one_look_at_those_that_run_and_one_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guesses: list[int] = []

    def guessing(durations: Any, running: Any, to_start: int, slots: int) -> TimeLeft | None:
        guesses.append(to_start)
        return time_left(durations, running, to_start, slots)

    monkeypatch.setattr(overview, "time_left", guessing)
    watched, looks = Watched(tmp_path / "study", trials=20), TimeShare(0.02, 60.0, clock=lambda: 0.0)
    watched.progress.follower._looking = looks
    watched.progress.follower._tally._guessing = TimeShare(0.02, 60.0, clock=lambda: 0.0)
    running = watched.start()
    for done in range(1, 9):
        issue = watched.start()
        watched.epoch(issue, 1, 0.5)
        watched.end(issue, "complete")
        assert f"{done} of 20 trials done: {done} complete, 1 running" in watched.output.getvalue()
    assert len(guesses) <= 2
    append_json(watched.trial(running) / "history.jsonl", record_of(1, 0.4))
    (shown,) = watched.progress.follower.overview().running
    assert shown.epoch == 0  # it was looked at a moment ago
    watched.report(running, record_of(1, 0.4))
    (shown,) = watched.progress.follower.overview().running
    assert shown.epoch == 1
