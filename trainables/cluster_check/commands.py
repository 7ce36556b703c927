"""Checks of what a cluster file runs and copies: how Ray starts, what is set, what is mounted and pinned."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from minbert.errors import UserError
from minbert.files.yaml_dialect import join, shorten
from trainables.cluster_check.nodes import most_gpus
from trainables.machines.cluster_file import AWS, LOCAL, ClusterFile, Finding, Setting
from trainables.machines.placement import check_gpus

_ALWAYS = {"MINBERT_GPUS_PER_TRIAL": "1", "RAY_ADDRESS": "auto"}
_EXAMPLES = {
    AWS: {"MINBERT_DATA": "/home/ray/data", "MINBERT_RESULTS": "s3://bucket/results", **_ALWAYS},
    LOCAL: {"MINBERT_DATA": "/mnt/minbert/data", "MINBERT_RESULTS": "/mnt/minbert/results", **_ALWAYS},
}
"""What a plain search on the head finds set."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROJECT = ("pyproject.toml", "constraints.txt")


def check_starts(file: ClusterFile) -> Iterator[Finding]:
    """Whether the head starts Ray with its autoscaler, without CPUs, and with its dashboard on loopback."""
    starts = [
        (path, text)
        for path, text in file.texts("head_start_ray_commands")
        if "ray start" in text and "--head" in text
    ]
    if not starts:
        yield Finding(
            "head_start_ray_commands", "no `ray start --head`; Ray's own default opens the dashboard to all"
        )
    for path, text in starts:
        host = _option(text, "dashboard-host")
        if host is not None and host not in _LOOPBACK:
            yield Finding(
                path,
                f"--dashboard-host={shorten(host)} is not allowed: 127.0.0.1 is; `ray dashboard` gets there",
            )
        elif "--autoscaling-config" not in text:
            yield Finding(
                path, "--autoscaling-config=~/ray_bootstrap_config.yaml is missing: no worker would come"
            )
        elif _option(text, "num-cpus") != "0":
            yield Finding(path, "--num-cpus=0 is missing: trials would run on the head")
    workers = list(file.texts("worker_start_ray_commands"))
    joins = [text for _, text in workers if "ray start" in text and "RAY_HEAD_IP" in text]
    if not joins:
        yield Finding(
            "worker_start_ray_commands", "no `ray start --address=$RAY_HEAD_IP:6379`: workers would not join"
        )


def check_environment(file: ClusterFile) -> Iterator[Finding]:
    """Whether a plain search on the head finds the cluster and what it gives each trial."""
    settings = file.environment("head")
    for name, example in _EXAMPLES[file.kind].items():
        if name not in settings:
            place = "head_setup_commands" if name == "RAY_ADDRESS" else "setup_commands"
            if file.in_container:
                place = "docker.head_run_options" if name == "RAY_ADDRESS" else "docker.run_options"
            yield Finding(place, f"{name} is not set for commands on the head: {name}={example}")
    if "MINBERT_GPUS_PER_TRIAL" in settings:
        yield from _check_share(file, settings["MINBERT_GPUS_PER_TRIAL"])


def check_mounts(file: ClusterFile) -> Iterator[Finding]:
    """Whether what is copied is there, the project among it, and installed as constraints.txt says."""
    folders: list[str] = []
    mounts = file.mapping("file_mounts")
    for target, source in mounts.items():
        path = join("file_mounts", target)
        if not isinstance(source, str):
            yield Finding(path, f"{shorten(source)} is not allowed: it must be a path here")
            continue
        folders.append(os.path.expanduser(source))
        if not os.path.exists(folders[-1]):
            yield Finding(path, f"{shorten(source)}: there is no such file or folder here")
        elif not target.startswith(("/", "~/")):
            yield Finding(path, f"the place on the machines must begin with / or ~/, not {shorten(target)}")
        elif (stumbling := _unreadable(folders[-1])) is not None:
            text = f"{shorten(stumbling)} cannot be read as a file, and Ray reads all of a mount: remove it"
            yield Finding(path, text)
    all_there = len(folders) == len(mounts) and all(os.path.exists(folder) for folder in folders)
    if all_there and not any(_is_project(folder) for folder in folders):
        yield Finding(
            "file_mounts", f"nothing brings the project: mount the folder with {' and '.join(_PROJECT)}"
        )
    installs = [text for _, text in file.texts("setup_commands") if re.search(r"\bpip\b.*\binstall\b", text)]
    if not any("constraints.txt" in text for text in installs):
        yield Finding(
            "setup_commands", "nothing is installed as constraints.txt says: pip install --constraint …"
        )
    for path, text in file.texts("setup_commands"):
        if text in installs and not re.search(r"constraints?\.txt|--requirement|==", text):
            yield Finding(path, "installs unpinned versions: add --constraint constraints.txt")


def _option(text: str, name: str) -> str | None:
    found = re.search(rf"--{name}[= ]\s*['\"]?([^\s'\"]+)", text)
    return found[1] if found else None


def _is_project(folder: str) -> bool:
    return all(os.path.isfile(os.path.join(folder, name)) for name in _PROJECT)


def _unreadable(source: str) -> str | None:
    """The first thing there that is a socket, a pipe, a link to nowhere, or not for us to read."""
    if not os.path.isdir(source):
        return None if _is_readable(source) else source
    below = (
        os.path.normpath(os.path.join(folder, name))
        for folder, _, names in os.walk(source)
        for name in sorted(names)
    )
    return next((path for path in below if not _is_readable(path)), None)


def _is_readable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _check_share(file: ClusterFile, setting: Setting) -> Iterator[Finding]:
    said = f"MINBERT_GPUS_PER_TRIAL={setting.value}"
    if setting.value == "auto":
        return
    try:
        share = float(setting.value)
    except ValueError:
        share = -1.0
    if not (0 <= share <= 1 or (share > 1 and share.is_integer())):
        yield Finding(setting.path, f"{said} is not allowed: a share of at most 1 or a whole number is")
    elif file.kind == AWS and file.node_types and share > most_gpus(file):
        yield Finding(setting.path, f"{said} is not allowed: the largest worker has {most_gpus(file)} GPUs")
    else:
        try:
            check_gpus(share, "MINBERT_GPUS_PER_TRIAL")
        except UserError as error:
            yield Finding(setting.path, str(error))
