"""The command of cluster.yaml by which a worker whose head is lost turns itself off: it runs, with minutes that take no time."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
(COMMAND,) = (
    command
    for command in yaml.safe_load((ROOT / "cluster.yaml").read_text())["initialization_commands"]
    if "shutdown" in command
)
SLEEP = "echo minute >> {folder}/minutes"
PGREP = '[ "$*" = "-x raylet" ] && minute=$(grep -c minute {folder}/minutes) && [ $minute -le {last} ] && ! grep -qx $minute {folder}/without'
SUDO = 'echo "$*" >> {folder}/asked'
_HANG = 60


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A home folder, and programs beside it: minutes that only count, and a raylet that is there up to the fortieth, but for two."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sleep", SLEEP), ("pgrep", PGREP), ("sudo", SUDO)):
        (programs / name).write_text("#!/bin/bash\n" + text.format(folder=tmp_path, last=40) + "\n")
        (programs / name).chmod(0o755)
    (tmp_path / "without").write_text("20\n21\n")
    return tmp_path


def begin(machine: Path, **environment: str) -> None:
    """Run the command as Ray does, which waits for the end of what holds its output."""
    subprocess.run(
        ["bash", "-c", f"({COMMAND})"],
        env={"HOME": str(machine), "PATH": f"{machine}/bin:/usr/bin:/bin", **environment},
        check=True,
        capture_output=True,
        timeout=_HANG,
    )


def asked(machine: Path) -> list[str]:
    """What root was asked to do, once it was."""
    deadline, said = time.monotonic() + _HANG, machine / "asked"
    while not (said.is_file() and said.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return said.read_text().splitlines()


def test_a_worker_without_ray_for_half_an_hour_on_end_turns_itself_off(machine: Path) -> None:
    begin(machine, RAY_HEAD_IP="10.0.0.1")
    assert asked(machine) == ["shutdown -h now"]
    assert (machine / "minutes").read_text().count("minute") == 40 + 30


def test_there_is_one_watch_a_machine_however_often_it_is_set_up(machine: Path) -> None:
    holds = subprocess.Popen(["flock", str(machine / ".alone"), "cat"], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + _HANG
        lock = ["flock", "--nonblock", str(machine / ".alone"), "true"]
        while subprocess.run(lock, check=False).returncode == 0:
            assert time.monotonic() < deadline
        begin(machine, RAY_HEAD_IP="10.0.0.1")
        time.sleep(0.5)
        assert not (machine / "minutes").exists()
    finally:
        holds.communicate()


def test_the_head_has_none(machine: Path) -> None:
    begin(machine)
    time.sleep(0.5)
    assert not (machine / ".alone").exists()
