"""Ray's quiet start on this machine, or the connection to a cluster."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from minbert.errors import UserError, cut
from minbert.files.storage import has_no_room, is_of_storage
from trainables.machines.cluster_file import ClusterFile
from trainables.machines.placement import Room


class RayFailed(Exception):
    """Ray could not be started for now; the message says why, and what to do."""


def quieten_ray() -> None:
    """Set what keeps Ray quiet; before it is imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def start_ray(address: str | None) -> Room:
    """Connect to a cluster, or start a private one on loopback; returns its nodes.

    Machines that the launcher's file on this head lists by address are given time to join.

    Args:
        address: of a running cluster; None: RAY_ADDRESS if set, else a private local cluster.

    Raises:
        UserError: no cluster answers at the address, or Ray cannot write where it has to.
        RayFailed: a private one cannot be started for now.
    """
    place, address = ("--address", address) if address else ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"))
    if not address:
        return _start()
    silent = f"{place} {cut(address)}: no Ray cluster answers there"
    try:
        _knock(address)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"{silent} ({reason})") from None
    try:
        with _no_errors_shown():
            _init(address=address)
    except ConnectionError as error:
        raise UserError(f"{silent} ({type(error).__name__})") from None
    except Exception as error:  # other versions of Ray or Python, a token that is missing or wrong, …
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{place} {cut(address)}: Ray does not let us in there: {cut(reason, 300)}") from None
    return replace(_room_of(launchers_file()), is_open=address != "local")


def launchers_file() -> ClusterFile | None:
    """What Ray's launcher started this machine from, if it is the head of such a cluster."""
    path = BOOTSTRAP.expanduser()
    return ClusterFile(path) if path.is_file() else None


def _start() -> Room:
    for name, value in _ALONE.items():
        os.environ.setdefault(name, value)
    try:
        _init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            object_store_memory=200 * 2**20,
        )
    except OSError as error:
        _refuse_scratch(error)
        raise
    except Exception as error:  # of no other class, where Ray's processes took too long or ended
        raise RayFailed(f"{_why_not(error)}; nothing was lost, the same command tries again") from None
    return _room_of(None)


def in_one_line(error: BaseException) -> str:
    """What an error of Ray's, or of a worker's, says; its last lines say it."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= _SAID else '…' + text[-_SAID:]}"


def _why_not(error: Exception) -> str:
    """Why Ray did not start, as far as it can be told."""
    scratch = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    if has_no_room(scratch, _SCRATCH_BYTES):
        named = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "Ray's files go to"
        return (
            f"{named} {scratch}: its disk is full: make room there, or set RAY_TMPDIR to a folder with more"
        )
    reason = " ".join(str(error).split()) or type(error).__name__
    if "timed out" in reason.lower():
        return "Ray's processes did not start in time: the machine is very busy, or short of memory"
    return f"Ray did not start ({cut(reason, 200)})"


def _knock(address: str) -> None:
    """See whether somebody listens at an address who may be Ray; for anybody else Ray itself would wait for long.

    Raises:
        OSError, ValueError, OverflowError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():  # else a word such as `auto`, for what Ray finds itself
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
                _greet(connection)


def _greet(connection: socket.socket) -> None:
    """Begin to speak HTTP/2, as all servers of Ray do: the first thing that they say is a frame of settings (RFC 9113, 3.4).

    Raises:
        OSError: whoever listens says something else, or nothing.
    """
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _NO_SETTINGS)
    answer, late = b"", time.monotonic() + _ANSWER_SECONDS
    while len(answer) < len(_NO_SETTINGS):
        connection.settimeout(max(late - time.monotonic(), 0.001))
        try:
            more = connection.recv(len(_NO_SETTINGS) - len(answer))
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "what listens there says nothing") from None
        if not more:
            break
        answer += more
    if answer[3:4] != _NO_SETTINGS[3:4]:
        raise OSError(errno.EPROTO, "what listens there is something else")


@contextmanager
def _no_errors_shown() -> Iterator[None]:
    """Ray's part in C++ writes to the terminal what becomes an exception anyway."""
    sys.stderr.flush()
    shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(nowhere)


def _init(**options: Any) -> None:
    import ray  # noqa: PLC0415 - reads the environment when imported
    from ray._private import worker  # noqa: PLC0415

    worker.print_to_stdstream = lambda *_, **__: (
        None
    )  # what Ray finds wrong with nodes, in dozens of lines; its logs have it
    with _private_processes():
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)


def _room_of(launcher: ClusterFile | None) -> Room:
    """The nodes of the cluster, once all that are listed have joined or had the time to."""
    import ray  # noqa: PLC0415 - reads the environment when imported

    late = time.monotonic() + _JOINING_SECONDS
    while (room := Room.of(ray.nodes(), launcher)).is_joined_by_more and time.monotonic() < late:
        time.sleep(1)
    return room


def _refuse_scratch(error: OSError) -> None:
    """Say of a scratch folder that Ray cannot use that it is so.

    Raises:
        UserError: it is.
    """
    if not is_of_storage(error):
        place = os.environ.get("RAY_TMPDIR")
        named = f"RAY_TMPDIR {place}" if place else str(error.filename)
        reason = error.strerror or str(error)
        raise UserError(
            f"{named}: Ray cannot write there: {reason}; set RAY_TMPDIR to a folder on this machine's disk"
        )


class _Sheltered(subprocess.Popen[Any]):
    """A process of Ray's that leaves signals to the driver, as do all that it starts itself, workers included.

    Ctrl-C and ``timeout`` signal the driver's process group, of which it is none; batch systems, init systems and machines
    that shut down signal every process, and what is blocked here stays so in children.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            super().__init__(*arguments, process_group=0, **options)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def terminate(self) -> None:
        """End it; it would not hear SIGTERM."""
        self.kill()


@contextmanager
def _private_processes() -> Iterator[None]:
    """Three things that Ray offers no option for.

    It replaces a loopback address by the machine's own, and then listens on all interfaces. Signals that are meant for
    the search as a whole end its processes before the driver can end its trials. And its own SIGTERM handler would
    take the place of the driver's.
    """
    from ray._private import services, utils  # noqa: PLC0415

    with (
        _replaced(services, "resolve_ip_for_localhost", lambda host: host),
        _replaced(services, "ConsolePopen", _Sheltered),
        _replaced(utils, "set_sigterm_handler", lambda handler: None),
    ):
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves its file on the head."""
_ANSWER_SECONDS = 5
_SAID = 300  # characters of what Ray says
_SCRATCH_BYTES = 2**24
"""Ray's own files before the first trial take a few megabytes."""
_NO_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # length, type, flags, stream
_JOINING_SECONDS = 90
"""How long machines that are there anyway take to join, at most: about 25 s after ``ray up``."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "1000",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_task_events_report_interval_ms": "0",  # a record of every call, for a dashboard that is not started
}

_ALONE = {
    # Nobody restarts a private cluster's head: agents that waited for it would outlive a killed driver by a minute.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    # Large blocks of memory lie in large pages: a step takes 6 to 9% less, see docs/benchmarks.md. Read when a process starts.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
