"""A study folder that only one machine of a cluster has is refused before a trial runs there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.trainables.commands import start_search
from trainables.machines.seen_folders import unseen
from trainables.machines.shared_path import tokens_in

_HANG = 300


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head and a worker."""
    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    yield cluster
    cluster.shutdown()


def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    own = Path("/proc/self/cwd/study")  # of every process another one, as a folder of every machine's own is
    process = start_search(tmp_path, "--address", cluster.address, "--study", str(own), "--trials", "1")
    _, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 2
    assert errors.startswith(f"error: --study {own}: node ")
    assert errors.endswith(
        "name one that all nodes mount at the same path, or a URL such as s3://bucket/folder\n"
    )
    assert not (tmp_path / "study").exists()


def test_what_is_there_is_seen(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert unseen([str(tmp_path / "there")], 0) == []
    assert unseen([str(tmp_path / "there"), str(tmp_path / "not")], 0) == [str(tmp_path / "not")]


def test_a_search_leaves_nothing_in_its_folders(tmp_path: Path) -> None:
    with tokens_in({"--study": tmp_path}) as tokens:
        assert [Path(tokens["--study"])] == list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
