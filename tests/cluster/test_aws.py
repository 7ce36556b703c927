"""cluster.yaml from `ray up` to `ray down`: a study on a spot machine that comes when it is needed and is taken back, and on one
on demand, as there is no other on spot.

Real are Ray's launcher, its autoscaler on the head, SSH and rsync between hosts with file systems of their own, the head's
and the worker's Ray with its token, the search, and the study in the bucket. moto answers for AWS; machines are hosts in
namespaces (``hosts.py``), which a power switch boots when moto "starts" an instance, and turns off when it is terminated.

The file is the committed one with a bucket's name in place of YOUR-BUCKET, and a minute for idle machines. What else is not as
on AWS:

- AWS_ENDPOINT_URL leads to moto, on the laptop and in the container. Machines have no keys, as on AWS: they ask the address of
  instance metadata, where head and worker get the same ones; moto looks at nobody's rights.
- There is no Docker: ``container.py`` takes its commands, with the file's run options. It makes no limits (--ulimit, --shm-size).
- The container's image and ~/minbert-venv come with this Python's packages; pip does install the project from what was copied, but
  nothing else, as no package index is there: cluster/constraints.txt and versions are not tried. sudo does nothing.
- No machine has a GPU. The worker has that of the file, one, as Ray counts it; the trial's space says device: cpu.
- Hosts share a machine: variables of the image keep Ray from ending trials for its full memory, and let Ray start late.
  Others let it notice a lost host sooner.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.hosts import PYTHON, Host, network
from tests.cluster.instances import ADDRESSES, BUCKET, KEYS, REGION, Cloud, PowerSwitch

pytestmark = pytest.mark.cluster

REPOSITORY = Path(__file__).parents[2]
PROJECT = "/home/researcher/minbert-search"
SPACE = """\
description: A trial on a machine that is taken back
search: {design: listed}
runs: {mean: {}}
device: cpu
precision: fp32
stages: {finetune: {epochs: 20, epoch_examples: 200}}
"""
DATA = "/home/ray/data"
"""Where the file's MINBERT_DATA leads."""
EIGHT_AT_A_TIME = re.compile(r"up to (\x1b\[[0-9;]*m)?8(\x1b\[0m)? trials may run at once")
"""As a trial takes a worker's only GPU, by the file's MINBERT_GPUS_PER_TRIAL; without it, a trial on the CPU takes one of four CPUs."""
HANG = 900


@dataclass(frozen=True)
class Command:
    """What runs on the laptop, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()


@dataclass(frozen=True)
class Account:
    """A cloud, and a laptop with the project and the account's keys; logs lie in ``folder``."""

    cloud: Cloud
    switch: PowerSwitch
    laptop: Host
    folder: Path

    def start(self, words: str) -> Command:
        """Start a command of Ray's launcher."""
        log = self.folder / f"{words.split(maxsplit=1)[0]}.log"
        return Command(self.laptop.start(f"ray {words}", log=log), log)

    def ray(self, words: str) -> None:
        """Run a command of Ray's launcher."""
        self.finish(self.start(words))

    def finish(self, command: Command) -> None:
        """Wait for its end, which is a good one."""
        self.wait_until(lambda: command.process.poll() == 0, "its end", command)

    def wait_until(self, condition: Callable[[], bool], what: str, command: Command) -> None:
        """Wait for what is about to happen, unless a command fails; the bound only catches a hang."""
        deadline = time.monotonic() + HANG
        while not condition():
            self.switch.check()
            assert not command.process.poll(), self.told(command)
            assert time.monotonic() < deadline, f"waited too long for {what}\n{self.told(command)}"
            time.sleep(1)

    def told(self, command: Command) -> str:
        """What a command and the autoscaler said last."""
        head = next(iter(self.switch.hosts.values()), None)
        tail = "tail -n 50 /tmp/ray/session_latest/logs/monitor.out"
        return f"{command.said}\n{head.run(tail, check=False).stdout if head and head.alive else ''}"


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """An account as docs/cluster.md prepares it, without a machine."""
    with network(ADDRESSES) as switched:
        cloud = Cloud(switched)
        try:
            laptop = switched.boot(
                "laptop",
                "172.31.255.2",
                user="researcher",
                shown=(*PYTHON, REPOSITORY),
                prepare=_laptop(cloud.url),
            )
            cloud.prepare_account(laptop.address)
            switch = PowerSwitch(cloud, lambda: _public_key(laptop), lambda *host: _route(laptop, *host))
            try:
                yield Account(cloud, switch, laptop, tmp_path)
            finally:
                switch.end()
        finally:
            cloud.end()


def test_a_study_runs_on_a_spot_machine_and_after_that_was_taken_back_on_one_on_demand_until_nobody_needs_it(
    account: Account,
) -> None:
    head = bring_the_head_up(account)
    search = start_the_search(account)
    first = machine(account, [head], search)
    assert account.cloud.instances()[first]["InstanceLifecycle"] == "spot"
    account.wait_until(lambda: bool(kept(account, "published")), "what the trial keeps", search)
    account.cloud.sell_out()
    account.cloud.terminate(first)
    second = machine(account, [head, first], search)
    assert "InstanceLifecycle" not in account.cloud.instances()[second]
    account.finish(search)
    assert "one on demand is asked for, at the full price" in search.said
    assert EIGHT_AT_A_TIME.search(search.said)
    assert_it_went_on(account, first, second)
    assert [turns_itself_off(account, name) for name in (head, second)] == [False, True]
    account.wait_until(lambda: not account.switch.hosts[second].alive, "the idle machine's end", search)
    bring_all_down(account, [head, first, second])


def bring_the_head_up(account: Account) -> str:
    """The instance's id; no other was started, and nobody else was let in."""
    allowed = account.cloud.security_group()
    account.laptop.run("ray get-auth-token --generate > /dev/null")
    account.laptop.run("python -m trainables.cluster check cluster.yaml")
    account.ray("up --yes cluster.yaml")
    ((head, instance),) = account.cloud.instances().items()
    assert instance["InstanceType"] == "m7i.xlarge"
    assert "InstanceLifecycle" not in instance
    assert instance["IamInstanceProfile"]["Arn"].endswith("/minbert-head")
    assert account.cloud.security_group() == allowed
    return head


def start_the_search(account: Account) -> Command:
    """From the laptop; data, bucket and the share of a GPU are those that the file sets."""
    account.laptop.run(f"cat > ~/taken_back.yaml <<'END'\n{SPACE}END")
    account.ray("rsync-up cluster.yaml ~/taken_back.yaml /home/ray/taken_back.yaml")
    account.ray(f"rsync-up cluster.yaml minbert/bundled/corpus/ {DATA}/")
    account.ray(f"rsync-up cluster.yaml minbert/bundled/encoder/ {DATA}/bert-base-uncased/")
    return account.start("submit cluster.yaml trainables/search.py -- --space '~/taken_back.yaml'")


def machine(account: Account, others: list[str], search: Command) -> str:
    """The id of the instance that the autoscaler asks for beside those that there were: one."""
    account.wait_until(lambda: len(account.cloud.instances()) > len(others), "a worker", search)
    instances = account.cloud.instances()
    (name,) = set(instances) - set(others)
    assert instances[name]["InstanceType"] == "g5.xlarge"
    assert instances[name]["IamInstanceProfile"]["Arn"].endswith("/minbert-worker")
    return name


def kept(account: Account, what: str) -> list[str]:
    """The objects of the trial in the bucket whose names begin so."""
    return account.cloud.names(f"results/taken_back/trials/00000/{what}")


def assert_it_went_on(account: Account, first: str, second: str) -> None:
    """The trial began on the first machine, and ended on the second from what the first had kept."""
    starts = [json.loads(account.cloud.read(name)) for name in kept(account, "attempts/")]
    assert (starts[0]["host"], starts[-1]["host"]) == (first, second)
    assert starts[0]["kept"] == "" != starts[-1]["kept"]  # gone on from a checkpoint, not begun again
    told = account.laptop.run(f"python -m trainables.status s3://{BUCKET}/results/taken_back --json")
    state = json.loads(told.stdout)
    assert (state["complete"], state["failed"]) == (1, 0), state


def turns_itself_off(account: Account, name: str) -> bool:
    """Whether a machine will, once it is left alone: that it waits for it."""
    return "flock" in account.switch.hosts[name].run("ps -A -o comm=").stdout.split()


def bring_all_down(account: Account, names: list[str]) -> None:
    """No instance runs, no process of any, and no further one was ever started."""
    down = account.start("down --yes cluster.yaml")
    account.finish(down)
    hosts = account.switch.hosts.values()
    account.wait_until(lambda: not any(host.alive for host in hosts), "the hosts to go", down)
    instances = account.cloud.instances()
    assert {name: instances[name]["State"]["Name"] for name in instances} == dict.fromkeys(
        names, "terminated"
    )
    assert [host.processes() for host in hosts] == [[], [], []]


def _laptop(cloud: str) -> str:
    """Commands for ``Network.boot``: the project, cluster.yaml with its bucket, and keys as `aws configure` keeps them."""
    keys = "\n".join(f"{name} = {value}" for name, value in KEYS.items())
    clone = f"git -C {REPOSITORY} -c safe.directory=* ls-files --cached --others --exclude-standard -z"
    return f"""
{clone} | rsync --archive --ignore-missing-args --from0 --files-from=- {REPOSITORY} {PROJECT}
grep -q YOUR-BUCKET {PROJECT}/cluster.yaml
grep -q '^idle_timeout_minutes: 10$' {PROJECT}/cluster.yaml
sed -i 's/YOUR-BUCKET/{BUCKET}/; s/^idle_timeout_minutes: 10$/idle_timeout_minutes: 1/' {PROJECT}/cluster.yaml
mkdir $home/.aws
printf '[default]\n%s\n' '{keys}' > $home/.aws/credentials
cat > $home/.profile <<'END'
export PATH={Path(sys.executable).parent}:$PATH AWS_ENDPOINT_URL={cloud} RAY_USAGE_STATS_ENABLED=0
cd {PROJECT}
END
chown -R $user: $home
"""


def _public_key(laptop: Host) -> str:
    """Of the key pair that `ray up` made."""
    return laptop.run(f"ssh-keygen -y -f ~/.ssh/ray-autoscaler_{REGION}.pem").stdout


def _route(laptop: Host, host: Host, public: str) -> None:
    """Lead the laptop to a host's public address."""
    laptop.run(f"ip route replace {public}/32 via {host.address}", user="root")
