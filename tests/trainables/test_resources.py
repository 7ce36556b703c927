"""What a trial may ask of a cluster."""

from __future__ import annotations

import pytest

from minbert.errors import UserError
from trainables.resources import start_ray, trial_resources

LAPTOP = {"CPU": 8.0}
WORKSTATION = {"CPU": 16.0, "GPU": 2.0}


def test_a_trial_gets_one_cpu_and_a_gpu_where_there_is_one() -> None:
    assert trial_resources(None, None, LAPTOP).request() == {"cpu": 1}
    assert trial_resources(None, None, WORKSTATION).request() == {"cpu": 1, "gpu": 1.0}


def test_a_share_of_a_gpu_is_kept() -> None:
    assert trial_resources(2, 0.25, WORKSTATION).request() == {"cpu": 2, "gpu": 0.25}


@pytest.mark.parametrize(
    ("cpus", "gpus", "cluster", "named"),
    [
        (0, None, LAPTOP, "--cpus-per-trial 0"),
        (9, None, LAPTOP, "the cluster has 8 CPUs"),
        (1, 1.5, WORKSTATION, "--gpus-per-trial 1.5"),
        (1, float("nan"), WORKSTATION, "--gpus-per-trial nan"),
        (1, -1, WORKSTATION, "--gpus-per-trial -1"),
        (1, 1, LAPTOP, "the cluster has 0 GPUs"),
        (1, 4, WORKSTATION, "the cluster has 2 GPUs"),
    ],
)
def test_what_cannot_be_placed_is_refused(
    cpus: int, gpus: float | None, cluster: dict[str, float], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        trial_resources(cpus, gpus, cluster)


def test_a_scratch_folder_that_ray_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/proc")
    with pytest.raises(UserError, match=r"RAY_TMPDIR /proc: Ray cannot write there: .*; set RAY_TMPDIR to "):
        start_ray(None)
