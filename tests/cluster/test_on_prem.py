"""cluster/on_prem.yaml, step by step as docs/cluster.md tells it, on four hosts with file systems of their own.

What differs from a cluster of real machines:

- of the file only the addresses are changed; the user, the key's place and /mnt/minbert are those it comes with;
- the machines share /mnt/minbert by a bind mount, not by NFS, so that a cut link does not take it away;
- ``~/minbert-venv`` is there before, which the file's ``test -x`` keeps, and finds the packages of the running test; the
  file's two ``pip install`` thus check every pinned version and install the project, and download nothing;
- no machine has a GPU: the search as the file has it is refused, and the next one asks for none; each shows one CPU, so a worker
  holds one trial.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.cluster.hosts import PYTHON, Host, Network
from tests.cluster.software import REPOSITORY, prepared
from tests.trainables.studies import attempts, folder_of, outcome, state_names

FILE = "cluster/on_prem.yaml"
TRIALS = 4
PLAIN = (
    "python -m trainables.search --space heads --set device=cpu --set precision=fp32 "
    f"--trials {TRIALS} --set stages.finetune.epochs=12 --set stages.finetune.epoch_examples=320"
)
SEARCH = f"{PLAIN} --gpus-per-trial 0"
DATA = "/mnt/minbert/data"
"""Where the file's MINBERT_DATA leads."""
REFUSED = "error: --gpus-per-trial 1: no node of the cluster has more than 0 GPUs"
PLACEHOLDERS = ("192.0.2.10", "192.0.2.11", "192.0.2.12")
OF_LAPTOP = """
    echo 'PATH=$HOME/minbert-venv/bin:$PATH' > $home/.profile
    install -d -m 700 $home/.ssh
    install -m 600 /dev/null $home/.ssh/id_ed25519
    chown -R $user: $home
"""
LEFT = {"unshare", "bash", "sshd"}
"""What runs on a host that runs nothing."""
_START_SECONDS = 1200
_LOSS_SECONDS = 600
_END_SECONDS = 900


@dataclass(frozen=True)
class Machines:
    """A laptop with a copy of the project, a head, and two workers that share a folder with it.

    Attributes:
        shared, project: where these two folders are here.
    """

    laptop: Host
    head: Host
    workers: tuple[Host, Host]
    shared: Path
    project: Path

    @property
    def study(self) -> Path:
        return self.shared / "results" / "heads"

    def ask(self, command: str, seconds: float = 300) -> str:
        """What a command prints in the project's folder on the laptop; it must end well."""
        return self.laptop.run(f"cd project && {command}", timeout=seconds).stdout

    def nodes(self) -> int:
        """Nodes that are up, as the documented command shows it, which costs seconds; 0 while it does not answer."""
        time.sleep(3)
        listed = self.laptop.run(f"cd project && ray exec {FILE} 'ray status'", check=False, timeout=300)
        active = re.search(r"Active:\s+(?:(\d+) local\.cluster\.node)?", listed.stdout)
        return int(active[1] or 0) if active else 0

    def runs(self, attempt: dict[str, str]) -> Host:
        return next(host for host in self.workers if host.name == attempt["host"])


@pytest.fixture
def machines(switch: Network, extras: Path, tmp_path: Path) -> Machines:
    shared = tmp_path / "nfs"
    shared.mkdir()
    shown = (*PYTHON, extras)
    head, one, two = (
        switch.boot(
            name,
            shared={"/mnt/minbert": shared},
            shown=shown,
            hidden=[REPOSITORY],
            prepare=prepared(extras),
            cpus=1,
        )
        for name in ("head", "one", "two")
    )
    project = tmp_path / "project"
    write_project(project, [head.address, one.address, two.address])
    laptop = switch.boot(
        "laptop",
        shared={"/home/minbert/project": project},
        shown=shown,
        hidden=[REPOSITORY],
        prepare=prepared(extras) + OF_LAPTOP,
    )
    (laptop.root / "home/minbert/.ssh/id_ed25519").write_text(laptop.key.read_text())
    return Machines(laptop, head, (one, two), shared, project)


def write_project(folder: Path, addresses: list[str]) -> None:
    """Copy the project, as the launcher does, and fill in the file's placeholders."""
    text = (REPOSITORY / FILE).read_text()
    left_out = [f"--exclude={each}" for each in yaml.safe_load(text)["rsync_exclude"]]
    subprocess.run(["rsync", "-a", *left_out, f"{REPOSITORY}/", str(folder)], check=True)
    for placeholder, address in zip(PLACEHOLDERS, addresses, strict=True):
        assert text.count(placeholder) == 1
        text = text.replace(placeholder, address)
    (folder / FILE).write_text(text)


def wait(
    condition: Callable[[], bool], seconds: float, search: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait for what is about to happen, while a search runs; the bound only catches a hang."""
    late = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < late, "waited too long"
        assert search is None or search.poll() is None, "the search has ended"
        time.sleep(1)


def epochs(trial: Path) -> int:
    history = trial / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.is_file() else 0


@pytest.mark.cluster
def test_a_study_on_listed_machines_survives_a_dead_one_and_a_cut_link_and_ends_as_on_one_machine(
    machines: Machines, tmp_path: Path
) -> None:
    machines.ask("ray get-auth-token --generate > /dev/null")
    assert ": good: " in machines.ask(f"python -m trainables.cluster check {FILE}")
    machines.ask(f"ray up --yes {FILE}", _START_SECONDS)
    wait(lambda: machines.nodes() == 3, _START_SECONDS)
    bring_data(machines)
    refused = machines.laptop.run(f"cd project && ray exec {FILE} '{PLAIN}'", check=False, timeout=300)
    assert (
        REFUSED in refused.stdout + refused.stderr
    )  # by MINBERT_GPUS_PER_TRIAL=1: without it, a trial on the CPU takes none
    log, alone = tmp_path / "search.log", tmp_path / "alone.log"
    search = machines.laptop.start(f"cd project && ray exec {FILE} '{SEARCH}'", log=log)
    first, second = (folder_of(machines.study, number) for number in (0, 1))
    try:
        wait(lambda: epochs(first) >= 2 and epochs(second) >= 2, _LOSS_SECONDS, search)
        here = machines.laptop.start(f"cd project && {SEARCH}", log=alone)
        lost = lose_power(machines, first, search)
        cut_and_mend(machines, lost, search)
        assert search.wait(_END_SECONDS) == 0
        assert here.wait(_END_SECONDS) == 0, alone.read_text()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from error
    assert state_names(machines.study) == ["COMPLETE"] * TRIALS
    machines.ask(f"ray rsync-down {FILE} /mnt/minbert/results/ fetched/")
    assert outcome(machines.project / "fetched/heads") == outcome(machines.project / "results/heads")
    machines.ask(f"ray down --yes {FILE}")
    for worker in machines.workers:
        if worker.alive:
            machines.ask(f"ssh -o StrictHostKeyChecking=accept-new {worker.address} 'bash -ic \"ray stop\"'")
    for host in (machines.laptop, machines.head, *machines.workers):
        wait(lambda host=host: {process.name() for process in host.processes()} <= LEFT, _LOSS_SECONDS)  # type: ignore[misc]


def bring_data(machines: Machines) -> None:
    """Put the bundled corpus where a plain search on the head looks, and its encoder where `minbert.fetch` has the standard one."""
    for folder, place in (("corpus", ""), ("encoder", "bert-base-uncased/")):
        machines.ask(f"ray rsync-up {FILE} minbert/bundled/{folder}/ {DATA}/{place}")


def lose_power(machines: Machines, trial: Path, search: subprocess.Popen[bytes]) -> Host:
    """Kill the host that a trial runs on, and see it go on from its checkpoint on the other."""
    lost = machines.runs(attempts(trial)[-1])
    lost.kill()
    wait(lambda: len(attempts(trial)) == 2, _LOSS_SECONDS, search)
    successor = attempts(trial)[1]
    assert machines.runs(successor) is not lost
    assert successor["epochs"] >= 2
    return lost


def cut_and_mend(machines: Machines, lost: Host, search: subprocess.Popen[bytes]) -> None:
    """Cut the last worker's link until it is given up, mend it, and see it back at work without anybody's doing."""
    left = next(host for host in machines.workers if host is not lost)
    left.cut()
    wait(lambda: machines.nodes() == 1, _LOSS_SECONDS, search)
    before = starts(machines)
    left.mend()
    wait(lambda: starts(machines) > before, _LOSS_SECONDS, search)


def starts(machines: Machines) -> int:
    return sum(len(attempts(folder_of(machines.study, number))) for number in range(TRIALS))
