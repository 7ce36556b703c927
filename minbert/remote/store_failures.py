"""What the failure of a request to an object store means, and whether asking again is of use."""

from __future__ import annotations

import errno
import re

_REFUSALS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")


class Unreached(TimeoutError):
    """A store that did not answer the very first question: it may never have been there."""

    advice = (
        "check the bucket's name, the region, the endpoint and the network, then give the same command again"
    )


def judged(error: OSError, url: str) -> tuple[OSError, bool]:
    """A failed request as what it is, and whether asking again is of no use."""
    if isinstance(error, TimeoutError):  # the store is away, as somebody found who asked it only once
        return error, False
    if error.errno is not None:  # no such object, or this machine's own disk
        return error, True
    if "AWS Error NO_SUCH_KEY" in str(error):
        return FileNotFoundError(errno.ENOENT, "no such object", url), True
    return told(error, url)


def told(error: OSError, url: str) -> tuple[OSError, bool]:
    """A failure of a store as one of storage, and whether asking again is of no use."""
    text = str(error)
    name = found[1] if (found := re.search(r"AWS Error (\w+)", text)) else ""
    if name in _REFUSALS or "HTTP status 403" in text:
        return OSError(errno.EIO, f"refused ({name or 'HTTP status 403'})", url), True
    reason = re.search(r"Details: ([^()\n]{1,120})", text)
    return OSError(
        errno.ETIMEDOUT, f"cannot be reached ({reason[1].strip() if reason else name or text[:120]})", url
    ), False


def unreached(failed: OSError) -> OSError:
    """The failure of a first question; of a store that is away it tells what to check."""
    if isinstance(failed, TimeoutError):
        return Unreached(failed.errno, failed.strerror, failed.filename)
    return failed


def refusal(failed: OSError, bucket: str) -> str:
    """What to say of a store that refuses, and what to do."""
    if "NO_SUCH_BUCKET" in str(failed):
        return f"there is no bucket {bucket}; make it first, or check its name"
    return (
        f"{failed.strerror}: the bucket is not open to these credentials; set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or give the machine a role"
    )
