"""Checks of who can reach a cluster: open ports, keys, Ray's token, secrets in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from minbert.files.yaml_dialect import join, shorten
from trainables.machines.cluster_file import AWS, ClusterFile, Finding, as_mapping

_SSH = 22
_TOKEN = "~/.ray/auth_token"
_SECRET = re.compile(r"\b(AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|HF_TOKEN)=")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")


def check_ports(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with an AWS provider: where, which doors are open, what stays behind."""
    provider = file.mapping("provider")
    if file.kind != AWS:
        return
    if "aws_credentials" in provider:
        text = "secrets do not belong in this file, which is copied to the head; use `aws configure`"
        yield Finding("provider.aws_credentials", text)
    region = provider.get("region")
    if not isinstance(region, str) or not _REGION.fullmatch(region):
        yield Finding("provider.region", f"{shorten(region)} is no region; for example us-west-2")
    elif isinstance(zones := provider.get("availability_zone"), str):
        for zone in (each.strip() for each in zones.split(",")):
            if not re.fullmatch(re.escape(region) + "[a-z]", zone):
                text = f"{shorten(zone)} is no zone of the region {region}, as {region}a is"
                yield Finding("provider.availability_zone", text)
    if provider.get("cache_stopped_nodes") is not False:
        text = "must be false: machines would only be stopped, and their disks go on costing"
        yield Finding("provider.cache_stopped_nodes", text)
    rules = as_mapping(provider.get("security_group")).get("IpPermissions")
    for at, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not _only_ssh(as_mapping(rule)):
            ports = f"{as_mapping(rule).get('FromPort')} to {as_mapping(rule).get('ToPort')}"
            text = f"opens the ports {shorten(ports)} to others: only 22 (SSH) is allowed, which Ray opens itself"
            yield Finding(f"provider.security_group.IpPermissions.{at}", text)


def _only_ssh(rule: dict[str, Any]) -> bool:
    sources = ("IpRanges", "Ipv6Ranges", "PrefixListIds")
    from_outside = any(rule.get(source) for source in sources) or not rule
    return not from_outside or (rule.get("FromPort"), rule.get("ToPort")) == (_SSH, _SSH)


def check_access(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with the user and the key of SSH."""
    auth = file.mapping("auth")
    if not auth.get("ssh_user"):
        yield Finding("auth.ssh_user", "is missing: for example ubuntu")
    key = auth.get("ssh_private_key")
    if key is None:
        if file.kind != AWS:
            yield Finding("auth.ssh_private_key", "is missing: the key that opens the machines")
        return
    if isinstance(key, str) and (reason := _key_refusal(Path(os.path.expanduser(key)))):
        yield Finding("auth.ssh_private_key", f"{shorten(key)}: {reason}")
    for name, node in file.node_types.items():
        config = as_mapping(node.get("node_config"))
        if not {"KeyName", "UserData"} & set(config):
            text = "is missing: the name that auth.ssh_private_key has at AWS"
            yield Finding(f"available_node_types.{name}.node_config.KeyName", text)


def _key_refusal(key: Path) -> str | None:
    try:
        mode = key.stat().st_mode
    except (OSError, ValueError):
        return "there is no such file here"
    if not key.is_file():
        return "is no file"
    if mode & 0o077:
        return f"others may read it, so SSH will not take it: chmod 600 {shorten(str(key))}"
    return None


def check_token(file: ClusterFile) -> Iterator[Finding]:
    """Whether everything that Ray starts asks for the token, and has it."""
    open_to_all = [role for role in ("head", "worker") if "RAY_AUTH_MODE" not in file.environment(role)]
    if open_to_all:
        roles = " and the ".join(open_to_all)
        text = f"RAY_AUTH_MODE=token is missing for the {roles}: whoever reaches a port of Ray's runs programs there"
        yield Finding(file.settings_place, text)
    for role in ("head", "worker"):
        settings = file.environment(role)
        mode = settings.get("RAY_AUTH_MODE")
        if mode is not None and mode.value != "token":
            yield Finding(mode.path, f"RAY_AUTH_MODE={mode.value} is not allowed: token is")
        if (token := settings.get("RAY_AUTH_TOKEN")) is not None:
            text = "RAY_AUTH_TOKEN: secrets do not belong in this file; mount the token's file"
            yield Finding(token.path, text)
        place = settings.get("RAY_AUTH_TOKEN_PATH")
        path = PurePosixPath(place.value if place else _TOKEN)
        if not any(path.is_relative_to(PurePosixPath(target)) for target in file.mapping("file_mounts")):
            yield Finding("file_mounts", f"nothing brings the token: mount {path.parent} on {path.parent}")
    yield from _check_token_here(file)


def check_secrets(file: ClusterFile) -> Iterator[Finding]:
    """Whether keys of other services stand in commands and options."""
    roles = [f"{role}_{kind}_commands" for role in ("head", "worker") for kind in ("setup", "start_ray")]
    options = [f"docker.{role}run_options" for role in ("", "head_", "worker_")]
    for path, text in file.texts(*options, "initialization_commands", "setup_commands", *roles):
        if found := _SECRET.search(text):
            instead = "; the machines' role does without" if found[1].startswith("AWS") else ""
            yield Finding(path, f"{found[1]}: secrets do not belong in this file{instead}")


def _check_token_here(file: ClusterFile) -> Iterator[Finding]:
    """The token's file is mounted from a folder here, where it must be."""
    for target, source in file.mapping("file_mounts").items():
        folder = os.path.expanduser(source) if isinstance(source, str) else ""
        token = os.path.join(folder, "auth_token")
        if target == "~/.ray" and os.path.isdir(folder) and not os.path.isfile(token):
            text = f"{shorten(source)} holds no auth_token: ray get-auth-token --generate makes it"
            yield Finding(join("file_mounts", target), text)
