"""Files of a Hugging Face hub: their checksums, and downloads that go on where they were cut off.

huggingface_hub asks the server and knows HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and proxies. Its own download begins
anew in every process (its temporary file has a name of its own each time), so the bytes are streamed here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

# The base of the errors of the HTTP library that huggingface_hub uses: httpx in older versions, httpx2 in newer ones.
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, logging  # type: ignore[attr-defined]

from minbert.errors import UserError
from minbert.hub.catalogue import HubFile

_PAUSES = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each further attempt after one that brought nothing."""
_MEGABYTE = 1e6


class HubError(Exception):
    """The hub does not give what it should; one line for the user, whose mistake it may not be."""

    def __init__(self, message: str) -> None:
        without_passwords = re.sub(r"://[^/\s@]*@", "://", message)
        super().__init__(" ".join(without_passwords.split()))


class Unreachable(HubError):
    """There is no way to the hub at all: no connection, or something that stands between."""


@dataclass(frozen=True)
class Remote:
    """What a hub says of a file.

    Attributes:
        size: in bytes; None where it does not tell.
        checksum: SHA-256 (64 hex digits, large files) or git's SHA-1 of a blob (40).
    """

    url: str
    size: int | None
    checksum: str


class Hub:
    """A hub or a mirror of it.

    Args:
        endpoint: its address; by default that of HF_ENDPOINT, or the public hub.

    Raises:
        UserError: what the environment says of proxies, certificates or a token cannot be used.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._unreachable: Unreachable | None = None
        logging.set_verbosity_error()  # what it warns of is told here, in one line
        send_no_more_than_needed()
        try:
            self._session = get_session()
            token = build_hf_headers().get("authorization", "")
        except Exception as error:  # of many kinds; the environment is all that can be wrong here
            raise UserError(f"HTTPS_PROXY or SSL_CERT_FILE cannot be used: {_reason(error)}") from None
        if not (token.isascii() and token.isprintable()):
            raise UserError("HF_TOKEN holds characters that no token has")

    def describe(self, file: HubFile) -> Remote:
        """Ask for a file's size and checksum.

        Raises:
            Unreachable: there is no connection, now or when it was last tried.
            HubError: the hub has no such file, refuses it, or is no hub.
        """
        if self._unreachable is not None:
            raise self._unreachable
        url = address(file, self.endpoint)
        try:
            told = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT, endpoint=self.endpoint)
        except HfHubHTTPError as error:
            raise _refusal(url, error) from None
        except (HTTPError, OfflineModeIsEnabled) as error:
            self._unreachable = Unreachable(
                f"{self.endpoint} cannot be reached{_proxies()}: {_reason(error)}"
            )
            raise self._unreachable from None
        checksum = (told.etag or "").strip('"').lower()
        if told.commit_hash is None or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", checksum):
            raise Unreachable(
                f"{url}: the answer is no file of a Hugging Face hub (it carries no checksum); "
                "does a proxy want a log-in, or does HF_ENDPOINT name something else?"
            )
        return Remote(url, told.size, checksum)

    def download(self, remote: Remote, part: Path, advance: Callable[[int], None]) -> None:
        """Bring a file to its end; what an earlier attempt, also of another process, left in ``part`` is kept.

        Args:
            remote: what :meth:`describe` gave.
            part: the file to write.
            advance: told how many bytes came; a negative number takes back what has to come again.

        Raises:
            HubError: the connection broke again and again, or the hub gives something else; ``part`` stays.
            OSError: the file cannot be written.
        """
        failures = 0
        while True:
            before = _size(part)
            if before == remote.size:
                return
            try:
                self._stream(remote, part, before, advance)
                if remote.size is None or _size(part) >= remote.size:
                    return
                reason = "the connection ended early"
            except HfHubHTTPError as error:
                if error.response.status_code != 429 and error.response.status_code < 500:
                    raise _refusal(remote.url, error) from None
                reason = f"the hub answers {error.response.status_code}"
            except HTTPError as error:
                reason = _reason(error)
            failures = 0 if _size(part) > before else failures + 1
            if failures >= len(_PAUSES):
                raise HubError(
                    f"{remote.url}: broke off after {_size(part) / _MEGABYTE:.1f} MB, which are kept ({reason}); "
                    "the same command goes on from there"
                )
            time.sleep(_PAUSES[failures])

    def _stream(self, remote: Remote, part: Path, have: int, advance: Callable[[int], None]) -> None:
        """One attempt: append what comes after the bytes that are there."""
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with self._session.stream(
            "GET", remote.url, headers=headers, timeout=timeout, follow_redirects=True
        ) as response:
            if response.status_code == 416:  # more is there than there should be
                advance(-have)
                part.unlink()
                return
            hf_raise_for_status(response)
            _refuse_page(remote.url, response)
            goes_on = response.status_code == 206 and _begins_at(response) == have
            if have and not goes_on:
                advance(-have)
            with part.open("ab" if goes_on else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    file.flush()  # so that it counts, however this process ends
                    advance(len(chunk))


def address(file: HubFile, endpoint: str) -> str:
    """The address of a file on a hub."""
    repository = file.repository
    return hf_hub_url(
        repository.name,
        file.path,
        repo_type=repository.kind,
        revision=repository.revision,
        endpoint=endpoint,
    )


def send_no_more_than_needed() -> None:
    """Let huggingface_hub ask for files alone: it would fetch a list to find out which program uses it, and say so.

    The variable of that name is read when it is imported, which may have been long ago.
    """
    constants.HF_HUB_DISABLE_TELEMETRY = True


def fits(path: Path, checksum: str) -> bool:
    """Whether a file has a checksum: SHA-256, or git's SHA-1 of a blob."""
    digest: Any = hashlib.sha256()
    if len(checksum) == 40:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return bool(digest.hexdigest() == checksum)


def refuse_without_room(folder: Path, needed: int) -> None:
    """Refuse a download that the disk has no room for, before it begins.

    Raises:
        HubError: there is too little.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HubError(
            f"{folder}: {free / _MEGABYTE:,.0f} MB are free, and {needed / _MEGABYTE:,.0f} MB are still to come; "
            "make room, or name another folder with --to"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _begins_at(response: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _refuse_page(url: str, response: Any) -> None:
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise Unreachable(f"{url}: a web page came instead of the file; does a proxy want a log-in?")


def _refusal(url: str, error: HfHubHTTPError) -> HubError:
    status = error.response.status_code
    if status == 407:
        return Unreachable(f"{url}: the proxy{_proxies()} wants a name and a password (407)")
    told = {
        401: "refused (401): set HF_TOKEN to a token that may read it there",
        403: "refused (403): the token in HF_TOKEN may not read it",
        404: "not found (404): it was moved or removed, or the mirror in HF_ENDPOINT does not have it",
        429: "too many requests (429): wait some minutes and give the same command again",
    }
    default = "the hub is in trouble" if status >= 500 else "the hub refuses it"
    return HubError(f"{url}: {told.get(status, f'{default} ({status}); give the same command again later')}")


def _proxies() -> str:
    """The proxies that are set, without their passwords."""
    set_ = {address for kind, address in getproxies().items() if kind != "no"}
    shown = sorted(re.sub(r"^.*://", "", address).rpartition("@")[2].rstrip("/") for address in set_)
    return f" through the proxy {', '.join(shown)}" if shown else ""


def _reason(error: BaseException) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it where there is a connection"
    return str(error)[:200] or type(error).__name__
