"""What a dry run says of hours and cost."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from minbert import devices
from minbert.bundled import CORPUS, ENCODER
from minbert.checkpoint import open_encoder
from minbert.config import TrainConfig, build_config
from minbert.corpora.reader import Corpus, read_corpus
from minbert.errors import UserError
from minbert.sources import resolve
from tests.trainables.commands import CommandLine
from trainables.cluster_check.instance_types import INSTANCE_TYPES
from trainables.dry_run import cost, estimate
from trainables.dry_run.cost import show_cost
from trainables.dry_run.estimate import StepTimer, Timing, TrialTime
from trainables.dry_run.plan import show_plan
from trainables.dry_run.timing_corpus import timing_corpus
from trainables.machines.placement import Asked, TrialResources
from trainables.spaces.space import load_space

LISTED = """\
search: {design: listed}
runs: {mean: {}}
stages: {finetune: {epochs: 2, epoch_examples: 96, batch_size: 16, sampler: {kind: random}}}
precision: fp32
"""
CLUSTER = """\
provider: {type: aws, region: us-west-2}
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0, node_config: {InstanceType: m7i.large}}
  worker: {resources: {CPU: 2}, max_workers: 3, node_config: {InstanceType: m7i.large}}
"""
ON_GPUS = CLUSTER.replace(
    "{CPU: 2}, max_workers: 3, node_config: {InstanceType: m7i.large}",
    "{CPU: 4, GPU: 1}, max_workers: 3, node_config: {InstanceType: g5.xlarge}",
)
HALF_A_GPU = "docker: {image: ray, run_options: [--env MINBERT_GPUS_PER_TRIAL=0.5]}\n"


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(CORPUS, TrainConfig().tasks)


def configured(**stage: object) -> TrainConfig:
    settings = {"epochs": 2, "epoch_examples": 96, "batch_size": 16, "sampler": {"kind": "random"}, **stage}
    return build_config({"stages": {"finetune": settings}, "precision": "fp32"})


def test_steps_are_those_of_the_whole_trial(corpus: Corpus) -> None:
    config = configured()
    timing = StepTimer(corpus, open_encoder(ENCODER), config, 1).time([config])
    (trial,) = timing.trials
    assert (trial.steps, trial.examples) == (2 * 6, 2 * 96)
    assert trial.seconds > 0


def test_a_step_that_takes_long_is_timed_on_smaller_batches(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured()
    timer = StepTimer(corpus, open_encoder(ENCODER), config, 1)
    whole = timer.time([config]).trials[0]
    monkeypatch.setattr(estimate, "_LONG_STEP", 0.0)
    small = timer.time([config]).trials[0]
    assert (small.steps, small.examples) == (whole.steps, whole.examples)


def test_no_further_configuration_is_timed_when_the_time_is_up(corpus: Corpus) -> None:
    configs = [configured(epoch_examples=96 + 16 * number) for number in range(3)]
    timer = StepTimer(corpus, open_encoder(ENCODER), configs[0], 1)
    assert len(timer.time(configs, seconds=0).trials) == 1
    assert len(timer.time(configs, seconds=1000).trials) == 3


def test_a_step_is_timed_with_no_more_threads_than_there_are_cores(corpus: Corpus) -> None:
    cores = len(os.sched_getaffinity(0))
    for config, asked in ((configured(), 1024), (configured().model_copy(update={"threads": 1024}), 1)):
        assert StepTimer(corpus, open_encoder(ENCODER), config, asked).time([config]).threads == cores


def test_hours_are_those_of_full_rounds_of_slots() -> None:
    timing = Timing((TrialTime(1800, 1, 1), TrialTime(5400, 1, 1)), "cpu", "fp32", 1)
    assert timing.hours(trials=5, slots=2) == 3


def test_the_corpus_to_time_on_has_the_real_sizes_and_labels(corpus: Corpus) -> None:
    made = timing_corpus(corpus, TrainConfig().tasks, open_encoder(ENCODER))
    for task, splits in corpus.splits.items():
        train = made.splits[task]["train"]
        assert len(train) == len(splits["train"]) == len(train.columns[0])
        assert splits["train"].labels is not None and train.labels is not None
        assert np.array_equal(train.labels, splits["train"].labels.astype(np.float32))
        words = open_encoder(ENCODER).config.vocab_size
        assert 0 <= train.columns[0].flat.min() <= train.columns[0].flat.max() < words


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a dry run prints in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(asked: Asked, listed: str = LISTED) -> str:
        (tmp_path / "space.yaml").write_text(listed)
        space = load_space(str(tmp_path / "space.yaml"))
        sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
        console = Console(file=io.StringIO(), width=1000)
        show_cost(console, space, sources, 7, asked)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    return call


def test_a_dry_run_tells_which_precision_it_measured_and_that_the_search_measures_again(
    told: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "bf16_speed", lambda *_: 1.11)
    line = "precision: fp32 (bf16 is 1.11 times as fast as fp32 here); the search measures it again\n"
    assert line in told(Asked(most=1), LISTED.replace("precision: fp32", "device: cpu"))
    assert "precision: " not in told(Asked(most=1))


def test_this_machine_and_a_cluster_of_cpus_get_hours_and_a_price(
    told: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)  # beside, not named
    text = told(Asked(most=1))
    assert re.search(r"time: about \S+ s a trial on this machine \(cpu, fp32, 1 thread\)", text)
    assert "12 steps, 192 examples a trial" in text
    assert re.search(r"study: about \d+ min for 7 trials, 1 at a time, on this machine$", text, re.MULTILINE)
    assert (
        "cluster.yaml: 1 trial at a time, each with 1 CPU; about 0.20 dollars an hour with its head (list prices"
        in text
    )
    assert "on demand of us-west-2, July 2025; disks, addresses and traffic come on top)" in text
    assert re.search(
        r"cluster.yaml: about \d+ min and 0\.\d\d dollars, if its cores are as fast as this machine's; 15 min of each machine's",
        text,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: {finetune: {batch_size: {choice: [8, 16]}}}\n", ""),
        (
            "stages: {simcse: {epochs: 1}, finetune: {batch_size: {choice: [8, 16]}}}\n",
            "; shared stages make it less",
        ),
        ("stages: {simcse: {epochs: 1, batch_size: {choice: [8, 16]}}}\n", ""),
        (
            "search: {design: optuna, trials: 4, early_stopping: {grace_epochs: 1, reduction: 3}}\n"
            "stages: {finetune: {epochs: 3, batch_size: {choice: [8, 16]}}}\n",
            "; early stopping makes it less",
        ),
    ],
)
def test_what_makes_a_study_shorter_is_named_where_the_space_has_it(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "space.yaml").write_text(text if "search" in text else "search: {design: grid}\n" + text)
    assert cost._less(load_space(str(tmp_path / "space.yaml"))) == said


def test_trials_of_minutes_are_told_in_minutes_and_one_step_is_one() -> None:
    def told(seconds: float) -> str:
        timing = Timing((TrialTime(seconds, 1, 1),), "cpu", "fp32", 1)
        return next(iter(cost._here(timing, 1, Asked(), less="")))

    assert "about 2 s a trial" in told(2) and "1 step, 1 example a trial" in told(2)
    assert "about 2 min a trial" in told(120)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("{log_uniform: [1.0e-5, 1.0e-4]}", "1e-05 to 0.0001, logarithmic"),
        ("{uniform: [1.0e-5, 3.0e-5], step: 1.0e-5}", "1e-05 to 3e-05 by 1e-05"),
        ("{choice: [1.0e-5, 1.0e-4]}", "1e-05, 0.0001"),
    ],
)
def test_a_range_is_shown_as_one_and_conditions_as_levels_are(
    tmp_path: Path, written: str, shown: str
) -> None:
    (tmp_path / "space.yaml").write_text(
        "search: {design: optuna, trials: 3}\nstages: {finetune: {pcgrad: {choice: [false, true]}, "
        f"learning_rate: {written[:-1]}, when: {{stages.finetune.pcgrad: false}}}}}}}}\n"
    )
    console = Console(file=io.StringIO(), width=200)
    show_plan(console, load_space(str(tmp_path / "space.yaml")))
    assert isinstance(console.file, io.StringIO)
    (line,) = [each for each in console.file.getvalue().splitlines() if "learning_rate" in each]
    assert line.split(maxsplit=1)[1].startswith(f"{shown} ")
    assert line.rstrip().endswith("stages.finetune.pcgrad is false")


def test_hours_on_gpus_are_not_made_up(told: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "gpus.yaml").write_text(ON_GPUS)
    text = told(Asked(gpus=None, cluster=tmp_path / "gpus.yaml"))
    assert "3 trials at a time, each with 1 CPU and 1 GPU" in text
    assert "hours and cost are not known, as this machine has no GPU to time" in text
    assert "dollars, if" not in text


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (CLUSTER.replace("m7i.large", "m99.huge"), r":5: .*InstanceType: 'm99.huge' is not one"),
        (CLUSTER.replace("{CPU: 2}", "{CPU: two}"), r":6: .*resources.CPU: 'two' is not allowed"),
        (CLUSTER.replace("{CPU: 2}", "{CPU: 0}"), r":6: .*resources.CPU: 0 is not allowed"),
        (
            CLUSTER.replace("{CPU: 2}", "{CPU: 4}"),
            r":6: .*resources.CPU: 4 is not allowed: a m7i.large has 2",
        ),
        (
            CLUSTER.replace("\nmax_workers: 3", "\nmax_workers: 0"),
            r"max_workers: 3 is not allowed: max_workers of the",
        ),
        (
            CLUSTER.replace("\nmax_workers: 3", "\nmax_workers: eight"),
            r":2: max_workers: 'eight' is not allowed",
        ),
        (
            CLUSTER.replace("head_node_type: head", "head_node_type: haed"),
            r":3: head_node_type: 'haed' is not allowed",
        ),
        ("idle_timeout_minutes: -60\n" + CLUSTER, r":1: idle_timeout_minutes: -60 is not allowed"),
        ("idle_timeout_minutes: .nan\n" + CLUSTER, r":1: idle_timeout_minutes: nan is not allowed"),
        ("a: [", "cluster.yaml"),
    ],
)
def test_a_cluster_that_cannot_be_reckoned_with_is_refused_when_named_and_told_of_when_beside(
    told: Callable[..., str], tmp_path: Path, content: str, named: str
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=named):
        told(Asked(cluster=path))


def test_a_bad_cluster_file_beside_stops_nothing(told: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("a: [")
    text = told(Asked())
    assert "study: about" in text
    assert "cluster.yaml" in text


def test_a_cluster_is_for_a_dry_run_alone(search_command: CommandLine) -> None:
    code, errors = search_command("--space", "essentials", "--cluster", "cluster.yaml")
    assert (code, errors) == (
        2,
        "error: --cluster: only --dry-run looks at it: add that, or leave this out\n",
    )


def test_prices_of_another_region_are_said_to_be_such(told: Callable[[Asked], str], tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER.replace("us-west-2", "eu-central-1"))
    assert "list prices on demand of us-west-2, not those of eu-central-1, July 2025" in told(Asked())


def test_dollars_have_the_start_and_the_idle_end_of_machines() -> None:
    hour = Timing((TrialTime(3600, 1, 1),), "cpu", "fp32", 1)
    offer = cost.Offer(Path("cluster.yaml"), 2, TrialResources(1, 0), 3.0, 0.5, "us-west-2", False)
    _, line = cost._there(offer, hour, trials=4)
    assert line.startswith("cluster.yaml: about 2.0 h and 7.50 dollars, if its cores are as fast")
    assert line.endswith("; 30 min of each machine's start and idle end are in the dollars")


@pytest.mark.parametrize(
    ("cpus", "most", "trials", "fewest", "workers"),
    [
        (1, None, 50, 0, 3),
        (1, None, 3, 0, 2),  # two on each
        (2, None, 2, 0, 2),
        (1, 1, 50, 0, 1),
        (1, None, 1, 0, 1),
        (1, None, 1, 2, 2),  # there in any case
    ],
)
def test_no_more_workers_are_paid_for_than_the_trials_can_use(
    tmp_path: Path, cpus: int, most: int | None, trials: int, fewest: int, workers: int
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("max_workers: 3,", f"min_workers: {fewest}, max_workers: 3,"))
    offer = cost._offer(Asked(cpus=cpus, most=most, cluster=path), trials)
    assert isinstance(offer, cost.Offer)
    assert offer.usd == pytest.approx((1 + workers) * INSTANCE_TYPES["m7i.large"].usd_per_hour)


@pytest.mark.parametrize(
    ("cpus", "trials", "slots", "workers"),
    [(2, 1, 3, 1), (1, 50, 6, 3)],
    ids=["that hold no trial", "that no slot is counted for"],
)
def test_dear_workers_are_not_paid_for(
    tmp_path: Path, cpus: int, trials: int, slots: int, workers: int
) -> None:
    path = tmp_path / "cluster.yaml"
    dear = "  dear: {resources: {CPU: 1}, max_workers: 3, node_config: {InstanceType: m7i.2xlarge}}\n"
    path.write_text(CLUSTER + dear)
    offer = cost._offer(Asked(cpus=cpus, cluster=path), trials)
    assert isinstance(offer, cost.Offer)
    assert offer.slots == slots
    assert offer.usd == pytest.approx((1 + workers) * INSTANCE_TYPES["m7i.large"].usd_per_hour)


def test_auto_is_counted_as_a_whole_gpu_and_says_that_it_may_be_less(
    told: Callable[[Asked], str], tmp_path: Path
) -> None:
    (tmp_path / "gpus.yaml").write_text(ON_GPUS)
    text = told(Asked(gpus="auto", cluster=tmp_path / "gpus.yaml", seconds=60))
    assert "3 trials at a time, each with 1 CPU and 1 GPU (auto may let several share one); about" in text


def test_hours_on_gpus_follow_from_what_a_trial_there_took(
    told: Callable[[Asked], str], tmp_path: Path
) -> None:
    (tmp_path / "gpus.yaml").write_text(ON_GPUS.replace("provider:", "idle_timeout_minutes: 10\nprovider:"))
    text = told(Asked(gpus=None, cluster=tmp_path / "gpus.yaml", seconds=1200))
    assert re.search(r"gpus.yaml: about 1.0 h and 4.1\d dollars, if a trial takes 1200 s there; 20 min", text)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (None, "6 trials at a time, each with 1 CPU and 0.5 GPU"),
        (1.0, "3 trials at a time, each with 1 CPU and 1 GPU"),
        (0.0, "12 trials at a time, each with 1 CPU;"),
    ],
)
def test_a_trial_gets_what_the_cluster_sets_for_its_searches_unless_asked_otherwise(
    told: Callable[[Asked], str], tmp_path: Path, asked: float | None, said: str
) -> None:
    (tmp_path / "gpus.yaml").write_text(ON_GPUS + HALF_A_GPU)
    assert said in told(Asked(gpus=asked, cluster=tmp_path / "gpus.yaml", seconds=60))


def test_a_share_that_the_check_refuses_is_refused_with_its_line(
    told: Callable[[Asked], str], tmp_path: Path
) -> None:
    (tmp_path / "gpus.yaml").write_text(ON_GPUS + HALF_A_GPU.replace("0.5", "half"))
    with pytest.raises(UserError, match=r"gpus.yaml:7: .*MINBERT_GPUS_PER_TRIAL=half is not allowed"):
        told(Asked(cluster=tmp_path / "gpus.yaml"))


def test_seconds_of_a_trial_are_for_a_dry_run_alone(search_command: CommandLine) -> None:
    code, errors = search_command("--space", "essentials", "--seconds-per-trial", "60")
    assert code == 2
    assert errors.startswith("error: --seconds-per-trial: only --dry-run looks at it")
