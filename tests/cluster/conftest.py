"""What clusters on one machine are made of; where it cannot be had, the test is skipped and says what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import Network, network, why_not
from tests.cluster.software import install_extras
from tests.needing_root import cannot_run


@pytest.fixture(scope="session", autouse=True)
def possible() -> None:
    """Skip where hosts cannot be made."""
    if reason := why_not():
        cannot_run(reason)


@pytest.fixture(scope="session")
def extras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that machines of a cluster need beside those of this environment."""
    folder = tmp_path_factory.mktemp("extras")
    folder.chmod(0o755)  # the hosts' users read it
    if reason := install_extras(folder):
        cannot_run(reason)
    return folder


@pytest.fixture
def switch() -> Iterator[Network]:
    """A network without hosts."""
    with network() as made:
        yield made
