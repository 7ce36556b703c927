"""GPUs that are promised: shares that keep to themselves, and nodes that have none."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.cluster_utils import Cluster

from minbert.bundled import CORPUS, ENCODER
from minbert.config import TrainConfig, build_config
from minbert.encoder import EncoderConfig
from minbert.errors import TrainingFailure, UserError
from minbert.sources import resolve
from tests.trainables.commands import SPACE as SMALL_SPACE
from tests.trainables.commands import start_search
from tests.trainables.test_ledger import open_ledger
from trainables.machines import gpu_share
from trainables.machines.elsewhere import (
    AGAIN_SECONDS,
    PATIENCE_SECONDS,
    TRIES,
    UNUSABLE,
    Elsewhere,
    requested,
)
from trainables.machines.gpu_auto import automatic_share, bytes_needed, trials_that_pay
from trainables.machines.gpu_share import CONTEXT_BYTES, NO_CUDA, keep_to_share, memory_fraction
from trainables.machines.placement import TrialResources
from trainables.machines.probe import refuse_other_device
from trainables.machines.seen_folders import UNSHARED
from trainables.running import trainable
from trainables.running.searcher import LedgerSearcher
from trainables.running.trainable import TrialTrainable
from trainables.spaces.space import load_space
from trainables.studies.study import make_folder
from trainables.studies.study_description import described_plan, described_study

GB = 2**30
TINY = EncoderConfig(1000, 128, 3, 2, 512)
MINI = EncoderConfig(30_522, 384, 6, 12, 1536)
BASE = EncoderConfig(30_522, 768, 12, 12, 3072)
SPACE = """\
description: Trials that were promised a GPU
search: {design: listed}
runs: {mean: {}, cls: {set: {pooling: cls}}}
stages: {finetune: {epochs: 1, epoch_examples: 48}}
"""
_HANG = 400


@pytest.mark.parametrize("share", [0.5, 1 / 3, 0.25, 0.125])
def test_trials_that_share_a_gpu_fit_on_it_together_with_what_cuda_takes_for_each(share: float) -> None:
    total = 24 * GB
    tensors = memory_fraction(share, total) * total
    assert round(1 / share) * (tensors + CONTEXT_BYTES) == pytest.approx(total)


def test_a_share_that_cuda_itself_would_use_up_is_too_little_memory() -> None:
    with pytest.raises(
        TrainingFailure, match=r"0\.05 of a GPU with 8\.0 GiB is less than CUDA takes"
    ) as failure:
        memory_fraction(0.05, 8 * GB)
    assert failure.value.cause == "oom"


@pytest.fixture
def worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Callable[[str, float], None], list[Any]]]:
    """Has a worker begin a trial, on a device and with a share of a GPU of 24 GiB; and all that it then does, in order."""
    did: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=24 * GB)
    )
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: did.append(given))
    monkeypatch.setattr(trainable, "_materials", lambda *places: did.append("loads"))

    def begin(device: str, share: float) -> None:
        monkeypatch.setattr(gpu_share, "assigned_gpus", lambda: share)
        keep_to_share.cache_clear()
        trial = TrialTrainable.__new__(TrialTrainable)
        config = build_config({"device": device, "stages": {"finetune": {"epochs": 1}}}).model_dump(
            mode="json"
        )
        places = dict.fromkeys(("corpus", "encoder", "stages"), "none")
        trial.setup(
            {
                **places, "config": config, "folder": str(tmp_path / "trial"), "stage_room": 0.0, "url": None,
                "start": "start", "limits": {}, "checkpoint_every": None, "ending": str(tmp_path / "ending"),
            }
        )  # fmt: skip
        trial.step()  # ends at what it "loads"
        trial.cleanup()

    yield begin, did
    keep_to_share.cache_clear()


def test_a_share_is_a_limit_that_the_worker_sets_before_it_loads_anything(worker: Any) -> None:
    begin, did = worker
    begin("cuda", 0.25)
    ((fraction, gpu), loads) = did
    assert (gpu, loads) == (0, "loads")
    assert fraction == pytest.approx(5.5 / 24)  # a quarter is 6 GiB, of which CUDA itself takes half a GiB


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 1.0), ("cuda", 2.0), ("cpu", 0.25), ("cpu", 0.0)])
def test_whole_gpus_and_cpus_have_no_limit(worker: Any, device: str, gpus: float) -> None:
    begin, did = worker
    begin(device, gpus)
    assert did == ["loads"]


def configured(**stage: Any) -> TrainConfig:
    return build_config({"stages": {"finetune": {"epochs": 1, **stage}}})


def test_large_products_keep_a_gpu_to_themselves_and_small_ones_share_it() -> None:
    large, small = configured(batch_size=64), configured(batch_size=8)
    assert automatic_share([large], BASE, 80 * GB, 16, 1) == 1
    assert automatic_share([small], TINY, 80 * GB, 16, 1) == 1 / 8


def test_memory_and_cpus_bound_how_many_share() -> None:
    small = configured(batch_size=4)
    fit = int(4 * GB // (bytes_needed(small, MINI) + CONTEXT_BYTES))
    assert 1 < fit < trials_that_pay(small, MINI)
    assert automatic_share([small], MINI, 4 * GB, 16, 1) == 1 / fit
    assert automatic_share([small], TINY, 80 * GB, 4, 2) == 1 / 2


def test_the_trial_that_needs_most_decides() -> None:
    small, large = configured(batch_size=8), configured(batch_size=64)
    assert automatic_share([small, large], BASE, 80 * GB, 16, 1) == 1


def nodes(*names: str) -> list[dict[str, Any]]:
    resources = {"CPU": 4.0, "GPU": 1.0}
    return [{"NodeID": name, "Alive": True, "Resources": resources} for name in names]


def test_a_node_without_its_gpu_is_avoided_while_there_are_others() -> None:
    said: list[str] = []
    there = nodes("a", "b")
    elsewhere = Elsewhere(TrialResources(1, 0.5), said.append, lambda: there)
    assert elsewhere.avoided == []
    elsewhere.turned_away(7, "a", NO_CUDA, "none")
    assert elsewhere.avoided == ["a"]
    there[1]["Alive"] = False
    assert elsewhere.avoided == []  # better than to wait for ever
    assert "trial 7: no_cuda on node a: none; it is tried again elsewhere, or here in 30 s" in said


def test_a_trial_is_tried_a_few_times_and_then_ends_the_search() -> None:
    elsewhere = Elsewhere(TrialResources(1, 1), lambda line: None, lambda: nodes("a", "b", "c", "d"))
    for count in range(TRIES):
        assert elsewhere.stopped_by == ""
        elsewhere.turned_away(3, "abcd"[count], NO_CUDA, "none")
        elsewhere.turned_away(count + 10, "abcd"[count], UNSHARED, "none")  # others have their own tries
    assert "trial 3" in elsewhere.stopped_by and f"tried {TRIES} times" in elsewhere.stopped_by


def test_a_node_gets_another_chance_later_and_a_trial_that_trained_its_tries_anew() -> None:
    now = [0.0]
    elsewhere = Elsewhere(TrialResources(1, 1), lambda line: None, lambda: nodes("a", "b"), lambda: now[0])
    for number in (3, 4):
        for _ in range(TRIES - 1):
            elsewhere.turned_away(number, "a", UNSHARED, "not mounted yet")
    now[0] = PATIENCE_SECONDS - 1
    assert elsewhere.avoided == ["a"]
    now[0] = PATIENCE_SECONDS + 1
    assert elsewhere.avoided == []
    elsewhere.trains(3)
    elsewhere.turned_away(3, "a", UNSHARED, "not mounted yet")
    assert (elsewhere.stopped_by, elsewhere.avoided) == ("", ["a"])
    elsewhere.turned_away(4, "a", UNSHARED, "not mounted yet")
    assert elsewhere.stopped_by.startswith(
        "trial 4: unshared on node a: not mounted yet; it was tried 3 times"
    )


def test_a_trial_waits_before_it_is_sent_to_the_same_node_again_and_goes_to_another_one_at_once(
    tmp_path: Path,
) -> None:
    there, now = nodes("a"), [0.0]
    elsewhere = Elsewhere(TrialResources(1, 1), lambda line: None, lambda: there, lambda: now[0])
    searcher = LedgerSearcher(
        open_ledger(tmp_path, load_space(str(SMALL_SPACE))),
        lambda issue: {"n": issue.number, "avoid": elsewhere.keep_away(issue.number)},
        elsewhere=elsewhere,
    )
    turned_away = {"cause": UNUSABLE, "node": "a", "message": "none", "done": True}
    assert searcher.suggest("first") == {"n": 0, "avoid": []}
    searcher.on_trial_complete("first", turned_away)
    assert searcher.suggest("again") is None  # nor is another one sent there
    now[0] = AGAIN_SECONDS
    assert searcher.suggest("again") == {"n": 0, "avoid": []}
    searcher.on_trial_complete("again", turned_away)
    assert searcher.suggest("once more") is None
    there += nodes("b")
    assert searcher.suggest("once more") == {"n": 0, "avoid": ["a"]}


def test_a_trial_that_waits_for_another_node_does_so_no_longer_than_there_is_one_or_may_soon_be() -> None:
    said: list[str] = []
    there, now = nodes("a" * 20, "b"), [0.0]
    elsewhere = Elsewhere(TrialResources(1, 1), said.append, lambda: there, lambda: now[0])

    def ends_after(*seconds: float) -> list[bool]:
        ends = []
        for each in seconds:
            now[0] += each
            ends.append(bool(elsewhere.stopped_by))
        return ends

    elsewhere.turned_away(7, "a" * 20, UNSHARED, "--study /x is another folder there")
    assert elsewhere.keep_away(7) == ["a" * 20]
    assert ends_after(10, 10 * PATIENCE_SECONDS) == [False, False]
    there[1]["Alive"] = False
    assert ends_after(10, PATIENCE_SECONDS - 10) == [False, False]
    assert said[1:] == [
        "trial 7: no node is left but aaaaaaaa (unshared: --study /x is another folder there); it waits for another one, for "
        "300 s at most"
    ]
    there[1]["Alive"] = True  # it came back
    assert ends_after(10) == [False]
    there[1]["Alive"] = False
    assert ends_after(10, PATIENCE_SECONDS - 10, 10) == [False, False, True]
    assert elsewhere.stopped_by == (
        "trial 7: no node is left but aaaaaaaa (unshared: --study /x is another folder there): mend such nodes or bring others, and give the "
        "same command again"
    )


@pytest.mark.parametrize("cause", ["no_cuda", "unshared"])
def test_only_trials_that_have_not_ended_wait_for_a_node(tmp_path: Path, cause: str) -> None:
    there, now = nodes("a", "b"), [0.0]
    elsewhere = Elsewhere(TrialResources(1, 1), lambda line: None, lambda: there, lambda: now[0])
    searcher = LedgerSearcher(
        open_ledger(tmp_path, load_space(str(SMALL_SPACE))),
        lambda issue: {"avoid": elsewhere.keep_away(issue.number)},
        elsewhere=elsewhere,
    )
    turned_away = {"cause": cause, "node": "a", "message": "none", "done": True}
    assert searcher.suggest("first") == {"avoid": []}
    searcher.on_trial_complete("first", turned_away)
    assert searcher.suggest("again") == searcher.suggest("second") == {"avoid": ["a"]}
    there[1]["Alive"] = False
    searcher.on_trial_complete("again", {"cause": "nan", "message": "", "done": True})
    assert searcher.suggest("third") == {"avoid": []}  # tried anywhere: better than to wait
    searcher.on_trial_complete("second", {"cause": "nan", "message": "", "done": True})
    for now[0] in (10, 20 + PATIENCE_SECONDS, 40 + 2 * PATIENCE_SECONDS):
        assert elsewhere.stopped_by == ""


def test_what_ray_is_asked_for_leaves_the_avoided_nodes_out() -> None:
    trial = TrialResources(2, 0.25)
    plain, avoiding = requested(trial, {}), requested(trial, {"avoid": ["a", "b"]})
    assert plain.bundles == avoiding.bundles == [{"CPU": 2.0, "GPU": 0.25}]
    assert plain == requested(trial, {"avoid": []}) != avoiding  # so that workers are used again


def test_a_study_of_gpus_does_not_go_on_without_them() -> None:
    with pytest.raises(UserError, match="device is cuda, but trials get no GPU here"):
        refuse_other_device("cuda", TrialResources(1, 0))
    refuse_other_device("cuda", TrialResources(1, 0.5))
    refuse_other_device("cpu", TrialResources(1, 0))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes that promise a GPU which torch will not find."""
    common = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **common})
    for _ in range(2):
        cluster.add_node(num_cpus=1, num_gpus=1, **common)
    yield cluster
    cluster.shutdown()


def search(tmp_path: Path, cluster: Cluster) -> subprocess.Popen[str]:
    (tmp_path / "space.yaml").write_text(SPACE)
    options = ("--address", cluster.address, "--gpus-per-trial", "1", "--max-concurrent", "1")
    return start_search(tmp_path, *options, space=tmp_path / "space.yaml")


@pytest.mark.chaos
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_new_study_is_refused_where_no_node_has_the_gpu_that_it_promises(
    tmp_path: Path, cluster: Cluster
) -> None:
    process = search(tmp_path, cluster)
    _, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 2
    assert re.fullmatch(
        "error: --gpus-per-trial 1: no_cuda: a GPU was promised, .*--set device=cpu\n", errors
    )
    assert not (tmp_path / "results" / "space" / "study.yaml").exists()


@pytest.mark.chaos
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_trial_without_its_promised_gpu_goes_elsewhere_and_burns_no_others(
    tmp_path: Path, cluster: Cluster
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(str(tmp_path / "space.yaml"))
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    pinned = {"device": "cuda", "precision": "fp32", "threads": 1}  # begun where there were GPUs
    spec = {**described_study(space, sources, 0, ""), **pinned, **described_plan(space, pinned)}
    study = tmp_path / "results" / "space"
    make_folder(study, spec)
    process = search(tmp_path, cluster)
    output, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 3, (output, errors)
    tried = re.findall(r"trial 0: no_cuda on node (\w+): a GPU was promised", output + errors)
    assert len(tried) == TRIES
    assert tried[0] != tried[1]
    assert re.fullmatch(r"error: trial 0: no_cuda .* tried 3 times: .* the same command again\n", errors)
    assert "trial 1 " not in output
    assert not list(study.glob("trials/*/attempts/*"))


PROBE_OF_A_NODE = """
import sys, time
import ray
from minbert.interrupts import Interrupts
from trainables.machines import probe
from trainables.machines.connection import start_ray
from trainables.machines.placement import TrialResources, others

address, node = sys.argv[1:]
probe.PATIENCE_SECONDS = 2.0
start_ray(address)
trial, rest = TrialResources(1, 1), [each["NodeID"] for each in ray.nodes() if each["NodeID"] != node]
on_node = ray.remote(num_cpus=1, num_gpus=1, resources={"here": 1}, max_retries=0)
busy, task = on_node(lambda: time.sleep(1000)), on_node(lambda: "found")
holding = busy.remote()
assert not ray.wait([holding], timeout=5)[0]
print("waiting", flush=True)
print(probe._waited_for(task.remote(), Interrupts(""), lambda: not others(ray.nodes(), rest, trial)))
"""


@pytest.mark.chaos
def test_the_probe_waits_no_longer_for_the_last_other_node_once_that_is_gone(cluster: Cluster) -> None:
    where = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
    node = cluster.add_node(num_cpus=1, num_gpus=1, resources={"here": 2}, **where)
    command = [sys.executable, "-c", PROBE_OF_A_NODE, cluster.address, node.node_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        with pytest.raises(subprocess.TimeoutExpired):  # the node is busy, and may soon be free
            process.wait(timeout=8)
        cluster.remove_node(node)
        assert process.communicate(timeout=_HANG)[0] == "None\n"
