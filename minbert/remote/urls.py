"""URLs of places in object stores, and what is wrong with one; nothing is asked of a store."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from minbert.errors import UserError, did_you_mean

_SCHEMES = ("s3", "file")
_BUCKET = re.compile(r"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*", re.ASCII)
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}", re.ASCII)


def is_url(text: str) -> bool:
    """Whether a place is a URL, and no path."""
    return "://" in text


def below(url: str, *names: str) -> str:
    """The URL of what lies below another one, whose options it keeps."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/".join((parts.path.rstrip("/"), *names))))


def is_bucket(name: str) -> bool:
    """Whether S3 takes it for the name of a bucket (Amazon S3 User Guide, general purpose buckets)."""
    return 3 <= len(name) <= 63 and bool(_BUCKET.fullmatch(name)) and not _ADDRESS.fullmatch(name)


def check_url(said: str, url: str) -> None:
    """Refuse what is no URL of a place in an object store.

    Args:
        said: how the message names it.
        url: what it is.

    Raises:
        UserError: it is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UserError(f"{said}: {error}; s3://bucket/folder is possible") from None
    if parts.scheme not in _SCHEMES:
        near = did_you_mean(parts.scheme, _SCHEMES)
        raise UserError(f"{said}: {parts.scheme}:// is not possible; s3://bucket/folder is, or a path{near}")
    if "@" in parts.netloc:
        raise UserError(
            f"{parts.scheme}://…: secrets do not belong in a URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    names = unquote(parts.path).removeprefix("/").removesuffix("/")
    if parts.scheme == "s3" and not (parts.netloc and names):
        raise UserError(f"{said}: a bucket and a folder in it are needed, such as s3://bucket/results/first")
    if set(names.split("/")) & {"", ".", ".."} or parts.fragment or str(PurePosixPath(names)) != names:
        raise UserError(f"{said}: the names in it must not be empty, . or .., and # is not possible")
    if not names.isprintable():
        raise UserError(f"{said}: a character in it cannot be shown")


def check_bucket(said: str, url: str) -> None:
    """Refuse a URL whose bucket no store can have; without a look at the name that reads as a failure of the network.

    Args:
        said: how the message names it.
        url: of a place in an object store.

    Raises:
        UserError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3" and not is_bucket(parts.netloc):
        raise UserError(
            f"{said}: {parts.netloc!r} is no name of a bucket, which has 3 to 63 lower-case letters, digits, dots and hyphens"
        )
