"""The address of a running Ray cluster, as it is written; nobody is asked there."""

from __future__ import annotations

import os
import re

from minbert.errors import UserError, cut

_FOUND_BY_RAY = ("auto", "local")
_PLACE = re.compile(r"(ray://)?([\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_LAST_PORT = 65535


def refuse_no_address(given: str | None) -> None:
    """Refuse what cannot be the address of a cluster, before anything is made for it.

    Args:
        given: by ``--address``; None: RAY_ADDRESS, if that is set, is looked at.

    Raises:
        UserError: it cannot.
    """
    if given == "":
        raise UserError("--address: it is empty: is a variable of the shell not set?")
    name, address = ("--address", given) if given else ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS"))
    if not address or address in _FOUND_BY_RAY:
        return
    found = _PLACE.fullmatch(address)
    if not found or not 0 < int(found["port"]) <= _LAST_PORT:
        raise UserError(
            f"{name} {cut(address)}: is no address of a Ray cluster: host:port, ray://host:port or auto is needed, "
            f"with a port from 1 to {_LAST_PORT}"
        )
