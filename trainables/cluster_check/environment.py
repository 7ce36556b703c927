"""Checks of what commands on a cluster's head find set: data, results, share of a GPU, and the cluster itself."""

from __future__ import annotations

from collections.abc import Iterator

from minbert.errors import UserError
from trainables.cluster_check.nodes import most_gpus
from trainables.cluster_check.roles import roles
from trainables.cluster_check.settings import Setting, in_vain, lasting
from trainables.machines.cluster_file import AWS, LOCAL, ClusterFile, Finding, as_mapping, whole
from trainables.machines.placement import AUTO, check_gpus

_SHARE = "MINBERT_GPUS_PER_TRIAL"
_ALWAYS = {_SHARE: "1", "RAY_ADDRESS": "auto"}
_EXAMPLES = {
    AWS: {"MINBERT_DATA": "/home/ray/data", "MINBERT_RESULTS": "s3://bucket/results", **_ALWAYS},
    LOCAL: {"MINBERT_DATA": "/mnt/minbert/data", "MINBERT_RESULTS": "/mnt/minbert/results", **_ALWAYS},
}
"""What a plain search on the head finds set."""
_ALONE = ("", "local")
"""Addresses at which Ray joins no cluster."""
_MOST_SHARES = 1e6
"""More CPUs than any machine has."""


def check_environment(file: ClusterFile) -> Iterator[Finding]:
    """Whether a plain search on the head finds the cluster and what it gives each trial."""
    head, *_ = roles(file)
    settings = lasting(head)
    for name, example in _EXAMPLES[file.kind].items():
        if name not in settings:
            place = "head_setup_commands" if name == "RAY_ADDRESS" else "setup_commands"
            if file.in_container:
                place = "docker.head_run_options" if name == "RAY_ADDRESS" else "docker.run_options"
            text = f"{name} is not set for commands on the head: {name}={example}{in_vain(head, name)}"
            yield Finding(place, text)
    address = settings.get("RAY_ADDRESS")
    if address is not None and address.value in _ALONE:
        text = f"RAY_ADDRESS={address.value} is not allowed: a search would start a Ray of its own on the head; auto is"
        yield Finding(address.path, text)
    if _SHARE in settings:
        yield from _check_share(file, settings[_SHARE])


def share_on_head(file: ClusterFile) -> float | str | None:
    """GPUs of a trial, or ``auto``, as a plain search on the head finds them set; None: the file does not say.

    Raises:
        UserError: they are not allowed.
    """
    setting = lasting(roles(file)[0]).get(_SHARE)
    if setting is None:
        return None
    for finding in _check_share(file, setting):
        raise UserError(file.line(finding))
    return AUTO if setting.value == AUTO else float(setting.value)


def _check_share(file: ClusterFile, setting: Setting) -> Iterator[Finding]:
    said = f"{_SHARE}={setting.value}"
    if setting.value == AUTO:
        return
    try:
        share = float(setting.value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        yield Finding(
            setting.path, f"{said} is not allowed: 0 to 1 is, as a trial computes on one GPU, or auto"
        )
    elif file.kind == AWS and file.node_types and (most := most_gpus(file)) is not None and share > most:
        yield Finding(setting.path, f"{said} is not allowed: the largest worker has {most} GPUs")
    else:
        try:
            check_gpus(share, _SHARE)
        except UserError as error:
            yield Finding(setting.path, str(error))
        else:
            yield from _check_cpus(file, setting.path, said, share)


def _check_cpus(file: ClusterFile, path: str, said: str, share: float) -> Iterator[Finding]:
    """Each trial takes a CPU and is held to its share of the GPU's memory: with fewer CPUs than shares the rest is nobody's."""
    if file.kind != AWS or not share:
        return
    shares = int(min(1 / share, _MOST_SHARES) + 1e-9)
    for name, node in file.node_types.items():
        has = as_mapping(node.get("resources"))
        cpus, gpus = whole(has.get("CPU", 0)), whole(has.get("GPU", 0))
        if name != file.head_type and cpus and gpus and cpus < gpus * shares:
            fits = f"{gpus / cpus:g} is" if cpus >= gpus else f"give it {gpus} CPUs"
            text = f"{said} is not allowed: {cpus} CPUs of {name} hold {cpus} trials, fewer than its GPUs have shares; {fits}"
            yield Finding(path, text)
            return
