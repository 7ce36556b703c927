"""Command lines in this process, an object store, and a cluster that has no node for trials yet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from minbert import command_line
from tests.bad_input.test_bad_input import at_home
from tests.trainables.commands import CommandLine
from tests.trainables.object_stores import S3
from trainables import cluster, search


@pytest.fixture
def search_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    """Run the command line in this process, in an empty folder; returns exit code and stderr."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["search", *arguments])
        monkeypatch.chdir(tmp_path)
        for name in ("MINBERT_DATA", "MINBERT_RESULTS", "MINBERT_GPUS_PER_TRIAL", "RAY_ADDRESS"):
            monkeypatch.delenv(name, raising=False)
        code = command_line.run(search.main)
        assert not ray.is_initialized()
        return code, capsys.readouterr().err

    return call


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """A server of S3 on loopback."""
    server = S3()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def empty_cluster() -> Iterator[Cluster]:
    """A head that runs no trials."""
    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Check a text as cluster.yaml, in a folder and a home that have what it names: code, output, lines of errors."""
    at_home(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cluster", "check", "cluster.yaml"])

    def check(text: str | bytes) -> tuple[int, str, list[str]]:
        Path("cluster.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        code = command_line.run(cluster.main)
        written = capsys.readouterr()
        return code, written.out, written.err.splitlines()

    return check
