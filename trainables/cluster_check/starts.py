"""Checks of how a cluster file starts Ray: on the head, and on workers that have to join it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minbert.files.yaml_dialect import shorten
from trainables.cluster_check.settings import ray_start
from trainables.cluster_check.shell import commands_of
from trainables.machines.cluster_file import AWS, ClusterFile, Finding

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RAYS_PORT = "6379"


def check_starts(file: ClusterFile) -> Iterator[Finding]:
    """Whether the head starts Ray so that trials run on workers alone, and workers find it."""
    heads = [start for start in _starts(file, "head") if "--head" in start[1]]
    if not heads:
        text = "no `ray start --head`; Ray's own default opens the dashboard to all"
        yield Finding("head_start_ray_commands", text)
    for path, words in heads:
        yield from _check_head(path, words)
    joins = [start for start in _starts(file, "worker") if "RAY_HEAD_IP" in " ".join(start[1])]
    if not joins:
        text = "no `ray start --address=$RAY_HEAD_IP:6379`: workers would not join"
        yield Finding("worker_start_ray_commands", text)
    port = next((found for _, words in heads if (found := _option(words, "port"))), _RAYS_PORT)
    for path, words in joins:
        yield from _check_worker(file, path, words, port)


def _check_head(path: str, words: Sequence[str]) -> Iterator[Finding]:
    host = _option(words, "dashboard-host")
    if host is not None and host not in _LOOPBACK:
        text = f"--dashboard-host={shorten(host)} is not allowed: 127.0.0.1 is; `ray dashboard` gets there"
        yield Finding(path, text)
    elif _option(words, "autoscaling-config") is None:
        text = "--autoscaling-config=~/ray_bootstrap_config.yaml is missing: no worker would come"
        yield Finding(path, text)
    elif _option(words, "num-cpus") != "0":
        yield Finding(path, "--num-cpus=0 is missing: trials would run on the head")


def _check_worker(file: ClusterFile, path: str, words: Sequence[str], port: str) -> Iterator[Finding]:
    address = _option(words, "address") or ""
    said = address.rpartition(":")[2] if ":" in address else ""
    if said != port:
        text = f"--address={shorten(address)} is not allowed: the head listens at port {port}: $RAY_HEAD_IP:{port}"
        yield Finding(path, text)
    for name in ("num-cpus", "num-gpus", "resources"):
        if (given := _option(words, name)) is None:
            continue
        if file.kind == AWS:
            text = f"--{name}={shorten(given)} is not allowed: the node type's `resources` say it"
            yield Finding(path, text)
        elif name == "num-cpus" and given == "0":
            yield Finding(path, "--num-cpus=0 is not allowed: no trial would fit; at least 1 is")


def _starts(file: ClusterFile, role: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Path and words of every ``ray start``."""
    for path, text in file.texts(f"{role}_start_ray_commands"):
        for command in commands_of(text):
            if (at := ray_start(command)) is not None:
                yield path, command.words[at + 2 :]


def _option(words: Sequence[str], name: str) -> str | None:
    """The value that Ray takes: of one that is given twice, the last."""
    value = None
    for at, word in enumerate(words):
        if word == f"--{name}":
            value = words[at + 1] if at + 1 < len(words) else ""
        elif word.startswith(f"--{name}="):
            value = word.partition("=")[2]
    return value
