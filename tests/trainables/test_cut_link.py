"""A node whose cable is pulled: three nodes of a real Ray in network namespaces, joined by a bridge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.needing_root import cannot_run
from tests.trainables.commands import start_search
from tests.trainables.studies import attempts, folder_of, wait_until
from tests.trainables.test_lost_workers import OPTIONS, SPACE, assert_ends_as_if_undisturbed, two_epochs_done

NOTICED_WITHIN_SECONDS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
}
NETWORK, PORT = "10.231.77", 6399


def call(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Host:
    """A network namespace with one address."""

    name: str
    number: int

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    def within(self) -> list[str]:
        """What runs a command here."""
        return ["ip", "netns", "exec", self.name]

    def connect(self, switch: str) -> bool:
        """Make it, with a cable to a switch."""
        port = f"port{self.number}"
        inside, outside = ["ip", "-n", self.name], ["ip", "-n", switch]
        return all(
            call(*step)
            for step in (
                ["ip", "netns", "add", self.name],
                [*inside, "link", "set", "lo", "up"],
                [*inside, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch],
                [*outside, "link", "set", port, "master", "br0", "up"],
                [*inside, "addr", "add", f"{self.address}/24", "dev", "eth0"],
                [*inside, "link", "set", "eth0", "up"],
            )
        )

    def pull_the_cable(self) -> None:
        subprocess.run(["ip", "-n", self.name, "link", "set", "eth0", "down"], check=True)

    def start_ray(self, *options: str) -> None:
        """Start a node agent that ends with the namespace's processes."""
        common = [f"--node-ip-address={self.address}", "--object-store-memory=80000000"]
        command = [*self.within(), str(Path(sys.executable).with_name("ray")), "start", *common, *options]
        nobody_else_is_here = {
            "RAY_AUTH_MODE": "disabled"
        }  # a head would ask for a token where the user has one
        subprocess.run(command, check=True, capture_output=True, env=os.environ | nobody_else_is_here)

    def end(self) -> None:
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        for pid in pids.stdout.split():
            if psutil.pid_exists(int(pid)):
                os.kill(int(pid), signal.SIGKILL)
        call("ip", "netns", "del", self.name)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """A head that runs no trials and two nodes for one trial each."""
    switch = f"switch-{os.getpid()}"
    made = [Host(f"host{number}-{os.getpid()}", number) for number in (1, 2, 3)]
    if not shutil.which("ip") or os.geteuid() or not call("ip", "netns", "add", switch):
        cannot_run("network namespaces need root and iproute2")
    try:
        bridge = ["ip", "-n", switch, "link", "add", "br0", "type", "bridge"]
        up = ["ip", "-n", switch, "link", "set", "br0", "up"]
        if not (call(*bridge) and call(*up) and all(host.connect(switch) for host in made)):
            cannot_run("no bridge between network namespaces can be made here")
        system = f"--system-config={json.dumps(NOTICED_WITHIN_SECONDS)}"
        made[0].start_ray(
            "--head",
            "--disable-usage-stats",
            f"--port={PORT}",
            "--num-cpus=0",
            "--include-dashboard=false",
            system,
        )
        for host in made[1:]:
            host.start_ray(f"--address={made[0].address}:{PORT}", "--num-cpus=1")
        yield made
    finally:
        for host in made:
            host.end()
        call("ip", "netns", "del", switch)


@pytest.mark.chaos
def test_a_trial_behind_a_cut_link_goes_on_on_another_node_and_its_old_worker_ends(
    tmp_path: Path, hosts: list[Host]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    head, *nodes = hosts
    options = (
        *OPTIONS,
        "--address",
        f"{head.address}:{PORT}",
        "--set",
        "stages.finetune.epoch_examples=500",
    )
    process = start_search(tmp_path, *options, space=space, within=head.within())
    trial = folder_of(tmp_path / "results" / "space", 0)
    wait_until(lambda: two_epochs_done(trial), process)
    ghost = psutil.Process(attempts(trial)[0]["process"])
    cut = next(node for node in nodes if str(ghost.pid) in pids_in(node))
    cut.pull_the_cable()
    wait_until(lambda: len(attempts(trial)) == 2, process)
    _, alive = psutil.wait_procs([ghost], timeout=30)
    assert not alive
    assert str(attempts(trial)[1]["process"]) not in pids_in(cut)
    assert_ends_as_if_undisturbed(process, trial, tmp_path)


def pids_in(host: Host) -> list[str]:
    listed = subprocess.run(["ip", "netns", "pids", host.name], check=True, capture_output=True, text=True)
    return listed.stdout.split()
