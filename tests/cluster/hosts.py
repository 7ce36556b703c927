"""Hosts on one machine: each with an address, a cable, a file system, processes and an SSH server of its own.

A host is a network, mount, pid, uts and ipc namespace whose root is an overlay: it sees the machine's programs, and what it
writes is seen by nobody else and gone when it dies. The bridge between the hosts is in a namespace of its own, so nothing
reaches the machine's network, or is reached from there. Hosts die with the process that made them, however that ends;
names that it left behind are removed by whoever makes hosts next. Needs root, iproute2, util-linux and openssh-server.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

BASE = Path("/run/minbert-hosts")
INIT = Path(__file__).with_name("host_init.sh")
PROGRAMS = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync", "useradd")
PYTHON = tuple(path for path in (Path(sys.base_prefix), Path(sys.prefix)) if path != Path("/usr"))
"""What hosts must see, at the same path, to run this Python with its packages; /usr they see, and may write to their own."""
_BOOT_SECONDS = 300
_TOLD = 5000
"""Characters of what a failed command printed."""


def why_not() -> str | None:
    """What this machine lacks for hosts; None: nothing."""
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid():
        return "hosts need root"
    overlay = (
        "mount -t tmpfs tmpfs /tmp && cd /tmp && mkdir u w r && mount -t proc proc /proc && "
        "mount -t overlay overlay -o lowerdir=/,upperdir=u,workdir=w r && "
        "ip link add name v0 type veth peer name v1 && ip link add name br0 type bridge"
    )
    tried = subprocess.run(
        ["unshare", "-mnpuif", "sh", "-c", overlay], capture_output=True, text=True, check=False
    )
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode else None


@dataclass
class Host:
    """A machine on a network; made by ``Network.boot``.

    Attributes:
        name: also its host name.
        address: its only one beside loopback.
        user: whom the network's key lets in.
        network: that it hangs on.
    """

    name: str
    address: str
    user: str
    network: Network = field(repr=False)
    number: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def key(self) -> Path:
        """The private key that opens it."""
        return self.network.key

    @property
    def root(self) -> Path:
        """Its file system, while it lives."""
        return Path(f"/proc/{self._init}/root")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def within(self, user: str | None = None) -> list[str]:
        """What runs a command here in a login shell, whether the cable is in or not; the command comes as one word."""
        enter = ["nsenter", "--target", str(self._init), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        return [*enter, "runuser", "--login", user or self.user, "--command"]

    def run(
        self, command: str, *, user: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of a shell here, as the host's user or another, and wait for its end."""
        done = subprocess.run(
            [*self.within(user), command],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=timeout,
        )  # fmt: skip
        assert not check or done.returncode == 0, (
            f"{self.name}: {command}: {done.returncode}\n{(done.stdout + done.stderr)[-_TOLD:]}"
        )
        return done

    def start(self, command: str, *, user: str | None = None, log: Path) -> subprocess.Popen[bytes]:
        """Start a command of a shell here; what it prints goes to a file of the machine."""
        with log.open("wb") as out:
            return subprocess.Popen(
                [*self.within(user), command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def cut(self) -> None:
        """Pull the cable: nothing is heard from here, and nothing is answered."""
        _call("ip", "-n", self.network.switch, "link", "set", self._port, "down")

    def mend(self) -> None:
        """Put the cable back in."""
        _call("ip", "-n", self.network.switch, "link", "set", self._port, "up")

    def kill(self) -> None:
        """Lose power: silence on the cable, no process left, and no file that was not shared. For good."""
        if not self.alive:
            return
        self.cut()
        psutil.Process(self._init).kill()
        self.process.wait()
        assert not self.processes()
        _call("ip", "netns", "del", self._space)

    def processes(self) -> list[psutil.Process]:
        """All that run here, the SSH server's among them."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self._space], capture_output=True, text=True, check=False
        )
        found = []
        for pid in listed.stdout.split():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int(pid))
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    @property
    def _space(self) -> str:
        return f"{self.network.name}-h{self.number}"

    @property
    def _port(self) -> str:
        return f"port{self.number}"

    @property
    def _init(self) -> int:
        """The host's first process, whose end is that of all others."""
        (child,) = psutil.Process(self.process.pid).children()
        return child.pid


class Network:
    """A switch for hosts, and a place for programs beside them: the namespace ``switch``, at ``address``."""

    def __init__(self, folder: Path, addresses: str) -> None:
        self.folder, self.name = folder, folder.name
        self.addresses = ipaddress.ip_network(addresses)
        self.switch = f"{self.name}-sw"
        self.address = str(self.addresses[1])
        self.key = folder / "id_ed25519"
        self.booted: list[Host] = []
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f", str(self.key))
        _call("ip", "netns", "add", self.switch)
        inside = ("ip", "-n", self.switch)
        _call(*inside, "link", "set", "lo", "up")
        _call(*inside, "link", "add", "br0", "type", "bridge")
        _call(*inside, "addr", "add", f"{self.address}/{self.addresses.prefixlen}", "dev", "br0")
        _call(*inside, "link", "set", "br0", "up")

    def within(self) -> list[str]:
        """What runs a command with the machine's files and processes, beside the hosts on this network alone."""
        return ["ip", "netns", "exec", self.switch]

    def boot(
        self,
        name: str | None = None,
        address: str | None = None,
        *,
        user: str = "minbert",
        public_key: str | None = None,
        shared: Mapping[str, Path] | None = None,
        shown: Sequence[Path] = PYTHON,
        hidden: Sequence[Path] = (),
        prepare: str = "",
        cpus: int | None = None,
    ) -> Host:
        """Start a host, and wait until it listens for SSH.

        Args:
            name: unset: ``host1``, ``host2`` ...
            address: one of the network's; unset: the tenth, the eleventh ...
            user: made anew there, with an empty home folder.
            public_key: that lets the user in, beside the network's own.
            shared: folders of the machine by their path there, where all hosts write the same files; given to the user.
            shown: folders of the machine that are read there at the same path.
            hidden: folders of the machine that are empty there; before ``shown``, which may be within.
            prepare: commands of a shell that root runs there before SSH is up, with ``$user`` and ``$home``.
            cpus: that programs count there, Ray among them; unset: the machine's.
        """
        number = len(self.booted) + 1
        name = name or f"host{number}"
        address = address or str(self.addresses[9 + number])
        space, port = f"{self.name}-h{number}", f"port{number}"
        inside, outside = ("ip", "-n", space), ("ip", "-n", self.switch)
        hardware = "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)
        _call("ip", "netns", "add", space)
        _call(*inside, "link", "set", "lo", "up")
        veth = ("type", "veth", "peer", "name", port, "netns", self.switch)
        _call(*inside, "link", "add", "eth0", "address", hardware, *veth)
        _call(*outside, "link", "set", port, "master", "br0", "up")
        _call(*inside, "addr", "add", f"{address}/{self.addresses.prefixlen}", "dev", "eth0")
        _call(*inside, "link", "set", "eth0", "up")
        keys = self.key.with_suffix(".pub").read_text() + (public_key or "")
        plan = {
            "base": str(self.folder), "name": name, "address": address, "user": user, "keys": keys,
            "hidden": _listed(hidden), "shown": _listed(shown), "prepare": prepare,
            "cpus": str(cpus or ""),
            "shared": "".join(f"{path} {place}\n" for place, path in (shared or {}).items()),
        }  # fmt: skip
        process = self._start(space, plan, self.folder / f"{name}.log")
        self.booted.append(host := Host(name, address, user, self, number, process))
        return host

    def log(self, host: Host) -> str:
        """What a host's SSH server said."""
        return (self.folder / f"{host.name}.log").read_text()

    def end(self) -> None:
        """Leave nothing behind."""
        for host in self.booted:
            if host.alive:
                host.kill()
        _clear(self.folder)

    @staticmethod
    def _start(space: str, plan: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """The host ends when its standard input does, which is when this process does, at the latest."""
        namespaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", space, *namespaces, "bash", str(INIT)],
                env={"PATH": os.environ["PATH"], **plan}, start_new_session=True,
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        late = time.monotonic() + _BOOT_SECONDS
        while b"Server listening" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < late, f"{space}: {log.read_text()}"
            time.sleep(0.05)
        return process


@contextmanager
def network(addresses: str = "10.231.78.0/24") -> Iterator[Network]:
    """A network without hosts; at the end none of them is left."""
    folder, lock = _claim()
    try:
        made = Network(folder, addresses)
        try:
            yield made
        finally:
            made.end()
    finally:
        _clear(folder)
        lock.close()


@contextmanager
def hosts(
    count: int, addresses: str = "10.231.78.0/24", *, shared: Mapping[str, Path] | None = None
) -> Iterator[list[Host]]:
    """So many hosts on a network of their own, as ``Network.boot`` makes them."""
    with network(addresses) as made:
        yield [made.boot(shared=shared) for _ in range(count)]


class _Lock:
    """A file that is held until the process ends."""

    def __init__(self, path: Path, block: bool = True) -> None:
        self._handle = path.open("w")
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
        except BlockingIOError:
            self._handle.close()
            raise

    def close(self) -> None:
        self._handle.close()


def _claim() -> tuple[Path, _Lock]:
    """A folder of this process for a network, after what dead ones left is cleared."""
    BASE.mkdir(mode=0o755, exist_ok=True)
    everybody = _Lock(BASE / ".lock")
    try:
        for left in BASE.glob("mb*"):
            with suppress(BlockingIOError):
                dead = _Lock(left / "lock", block=False)
                _clear(left)
                dead.close()
        folder = Path(tempfile.mkdtemp(prefix="mb", dir=BASE))
        folder.chmod(0o755)
        return folder, _Lock(folder / "lock")
    finally:
        everybody.close()


def _clear(folder: Path) -> None:
    """Remove a network's namespaces with what runs there, and its folder."""
    for space in Path("/run/netns").glob(f"{folder.name}-*"):
        pids = subprocess.run(
            ["ip", "netns", "pids", space.name], capture_output=True, text=True, check=False
        )
        for pid in pids.stdout.split():
            with suppress(psutil.NoSuchProcess):
                psutil.Process(int(pid)).kill()
        subprocess.run(["ip", "netns", "del", space.name], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"


def _listed(paths: Sequence[Path]) -> str:
    return "".join(f"{path}\n" for path in paths)
