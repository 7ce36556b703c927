"""A search opens no port to the network: what its processes listen on is read from the kernel."""

from __future__ import annotations

import ipaddress
import os
import signal
from pathlib import Path

import psutil

from tests.trainables.commands import SMALL, start_search
from tests.trainables.studies import processes_in, wait_until, wait_until_all_end


def listeners(folder: Path) -> dict[str, set[str]]:
    """Addresses that the processes of a search listen on, by process."""
    found: dict[str, set[str]] = {}
    for process in processes_in(folder):
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        addresses = {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
        found.setdefault(process.name(), set()).update(addresses)
    return found


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def test_all_processes_of_a_search_listen_on_loopback_only(tmp_path: Path) -> None:
    process = start_search(tmp_path, *SMALL, "--set", "search.early_stopping=null")
    try:
        wait_until(lambda: any(tmp_path.glob("results/*/trials/*/history.jsonl")), process)
        found = listeners(tmp_path)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert {"gcs_server", "raylet"} <= {name for name, addresses in found.items() if addresses}
    assert any(name.startswith("ray::") and addresses for name, addresses in found.items())  # a worker
    beyond = {address for addresses in found.values() for address in addresses if not is_loopback(address)}
    assert not beyond
    wait_until_all_end(tmp_path)
