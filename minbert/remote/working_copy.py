"""Where this machine keeps copies of what lies in object stores."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

CACHE = "MINBERT_CACHE"
"""Environment variable: the folder for copies on this machine."""


def cache_folder() -> Path:
    """The folder for copies, of every process of this machine: ``MINBERT_CACHE``, else minbert in the user's cache."""
    if given := os.environ.get(CACHE):
        return Path(given).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "minbert"


def working_copy(url: str) -> Path:
    """The folder in which searches and trials of this machine work on what a URL names."""
    return cache_folder() / "working" / _name(url)


def trial_copies() -> list[Path]:
    """The folders, one for each study, in which this machine has copies of trials."""
    return sorted((cache_folder() / "working").glob("*/trials"))


def reading_copy(url: str) -> Path:
    """The folder into which commands that only read fetch what a URL names."""
    return cache_folder() / "reading" / _name(url)


def _name(url: str) -> str:
    """A readable name of a URL's own: other options, such as another endpoint, are another place."""
    place = urlsplit(url)
    whole = place._replace(path=place.path.rstrip("/")).geturl()
    last = place.path.rstrip("/").rpartition("/")[2]
    return f"{last[:60]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"
