"""The hosts that the tests of clusters stand on: really apart, really gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import BASE, Host, Network, hosts, network
from tests.cluster.software import REPOSITORY

pytestmark = pytest.mark.cluster

OWNER = """\
import time
from tests.cluster.hosts import network
with network("10.231.79.0/24") as made:
    host = made.boot()
    print(made.name, host.process.pid, *(process.pid for process in host.processes()), flush=True)
    time.sleep(600)
"""


def knock(network: Network, host: Host) -> bool:
    """Whether SSH lets us in from beside the hosts."""
    options = (
        "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=3"
    )
    ssh = ["ssh", *options.split(), "-i", str(host.key), f"{host.user}@{host.address}", "true"]
    return subprocess.run([*network.within(), *ssh], capture_output=True, check=False).returncode == 0


def test_hosts_share_only_what_they_are_given(tmp_path: Path) -> None:
    place = f"/var/tmp/{tmp_path.name}"
    with hosts(2, shared={"/mnt/both": tmp_path}) as (one, two):
        for file in (place, "/tmp/own", "~/own", "/mnt/both/shared"):
            one.run(f"echo {one.name} > {file}")
        assert two.run(f"cat {place} /tmp/own ~/own", check=False).stdout == ""
        assert two.run("cat /mnt/both/shared").stdout == "host1\n"
        assert (two.run("hostname").stdout, two.run("id -un").stdout) == ("host2\n", "minbert\n")
        assert "sshd" in two.run("ps -A").stdout
        assert str(os.getpid()) not in two.run("ps -A -o pid=").stdout.split()
        assert two.run(f"{sys.executable} -c 'import torch'").returncode == 0
    assert not Path(place).exists()


def test_a_cut_host_is_silent_until_its_link_is_mended_and_a_killed_one_is_gone(switch: Network) -> None:
    host = switch.boot()
    assert knock(switch, host)
    host.cut()
    assert not knock(switch, host)
    assert host.run("pgrep sshd").stdout
    host.mend()
    assert any(knock(switch, host) for _ in range(10))
    left = [*host.processes(), psutil.Process(switch.boot(address=str(switch.addresses[99])).process.pid)]
    host.kill()
    assert [process.is_running() for process in left] == [False] * (len(left) - 1) + [True]
    assert not knock(switch, host)
    assert knock(switch, switch.boot(address=host.address))


def test_hosts_end_with_their_owner_however_that_dies_and_what_it_left_is_cleared_by_the_next() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name, *pids = owner.stdout.readline().split()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    late = time.monotonic() + 60
    while any(psutil.pid_exists(int(pid)) for pid in pids):
        assert time.monotonic() < late, "hosts outlive their owner"
        time.sleep(0.1)
    assert name in left_names()
    with network():
        assert name not in left_names()


def left_names() -> str:
    """Names of namespaces and folders of all networks."""
    return " ".join(path.name for folder in (BASE, Path("/run/netns")) for path in folder.glob("mb*"))
