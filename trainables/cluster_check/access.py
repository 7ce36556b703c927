"""Checks of who can reach a cluster: keys, Ray's token, secrets in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from minbert.files.yaml_dialect import join, shorten
from trainables.cluster_check.roles import Role, roles
from trainables.cluster_check.settings import Setting, in_vain, lasting, starting
from trainables.machines.cluster_file import AWS, ClusterFile, Finding, as_mapping

_TOKEN = "~/.ray/auth_token"
_MODE = "RAY_AUTH_MODE"
_VALUE = r"[\"']?[^\s\"'$`;&|<>()]"
"""How one begins that is neither empty nor taken from elsewhere (``$NAME``, ``$(command)``)."""
_SECRET = re.compile(
    rf"\b(?:(\w*(?:API_KEY|SECRET|TOKEN|PASSWORD)|AWS_SECRET_ACCESS_KEY)={_VALUE}"
    rf"|(aws_secret_access_key|aws_session_token)(?:\s*=\s*|\s+(?!-)){_VALUE})"
)
_INSTEAD = {"AWS": "; the machines' role does without", "RAY": "; mount the token's file"}


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
    open_to_all = [role for role in roles(file) if _MODE not in _modes(role)]
    if open_to_all:
        names = " and the ".join(role.name for role in open_to_all)
        text = (
            f"{_MODE}=token is missing for the {names}: whoever reaches a port of Ray's runs programs there"
        )
        yield Finding(file.settings_place, text + in_vain(open_to_all[0], _MODE))
    for role in roles(file):
        for settings in (lasting(role), starting(role)):
            if (mode := settings.get(_MODE)) is not None and mode.value != "token":
                yield Finding(mode.path, f"{_MODE}={mode.value} is not allowed: token is")
        place = starting(role).get("RAY_AUTH_TOKEN_PATH")
        path = PurePosixPath(place.value if place else _TOKEN)
        if not any(path.is_relative_to(PurePosixPath(target)) for target in file.mapping("file_mounts")):
            yield Finding("file_mounts", f"nothing brings the token: mount {path.parent} on {path.parent}")
    yield from _check_token_here(file)


def _modes(role: Role) -> dict[str, Setting]:
    """On the head, commands need it as well as what Ray starts."""
    return lasting(role) if role.is_head else starting(role)


def check_secrets(file: ClusterFile) -> Iterator[Finding]:
    """Whether keys of this service and of others stand in commands and options."""
    texts = [each for role in roles(file) for each in (*role.options, *role.setups, *role.starts)]
    for path, text in (*texts, *file.texts("initialization_commands")):
        if found := _SECRET.search(text):
            name = found[1] or found[2]
            instead = _INSTEAD.get(name[:3].upper(), "")
            yield Finding(path, f"{name}: secrets do not belong in this file{instead}")


def _check_token_here(file: ClusterFile) -> Iterator[Finding]:
    """The token's file is mounted from a folder here, where it must be."""
    for target, source in file.mapping("file_mounts").items():
        folder = os.path.expanduser(source) if isinstance(source, str) else ""
        token = os.path.join(folder, "auth_token")
        if target == "~/.ray" and os.path.isdir(folder) and not os.path.isfile(token):
            text = f"{shorten(source)} holds no auth_token: ray get-auth-token --generate makes it"
            yield Finding(join("file_mounts", target), text)
