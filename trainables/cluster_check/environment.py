"""Checks of what commands on a cluster's head find set: data, results, share of a GPU, and the cluster itself."""

from __future__ import annotations

from collections.abc import Iterator

from minbert.errors import UserError
from trainables.cluster_check.nodes import most_gpus
from trainables.cluster_check.roles import roles
from trainables.cluster_check.settings import Setting, in_vain, lasting
from trainables.machines.cluster_file import AWS, LOCAL, ClusterFile, Finding
from trainables.machines.placement import check_gpus

_ALWAYS = {"MINBERT_GPUS_PER_TRIAL": "1", "RAY_ADDRESS": "auto"}
_EXAMPLES = {
    AWS: {"MINBERT_DATA": "/home/ray/data", "MINBERT_RESULTS": "s3://bucket/results", **_ALWAYS},
    LOCAL: {"MINBERT_DATA": "/mnt/minbert/data", "MINBERT_RESULTS": "/mnt/minbert/results", **_ALWAYS},
}
"""What a plain search on the head finds set."""
_ALONE = ("", "local")
"""Addresses at which Ray joins no cluster."""


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
    if "MINBERT_GPUS_PER_TRIAL" in settings:
        yield from _check_share(file, settings["MINBERT_GPUS_PER_TRIAL"])


def _check_share(file: ClusterFile, setting: Setting) -> Iterator[Finding]:
    said = f"MINBERT_GPUS_PER_TRIAL={setting.value}"
    if setting.value == "auto":
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
            check_gpus(share, "MINBERT_GPUS_PER_TRIAL")
        except UserError as error:
            yield Finding(setting.path, str(error))
