"""Ctrl-C outside of a command's own work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minbert.loading import interrupts_raised, load_interruptibly
from tests.trainables.studies import wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["minbert.train", "trainables.search", "analysis.report"])
def test_ctrl_c_while_libraries_load_ends_at_once_and_says_nothing(module: str, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("import time\nopen('loading', 'x').close()\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--help"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "loading").exists, process)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_only_a_command_that_starts_takes_ctrl_c_so_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        load_interruptibly()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "imported, as in a notebook"
        monkeypatch.setattr(sys, "argv", ["-m"])
        monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "analyst.go"])
        load_interruptibly()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "another program's own package"
        monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "analysis.report", "-m"])
        load_interruptibly()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        with pytest.raises(KeyboardInterrupt), interrupts_raised():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_that_ignores_ctrl_c_goes_on_to_ignore_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell starts commands in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        monkeypatch.setattr(sys, "argv", ["-m"])
        monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "minbert.train"])
        load_interruptibly()
        with interrupts_raised():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
