"""How much memory a stretch of training needed at its peak."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"


def reset_peak(device: torch.device) -> None:
    """Begin a new stretch: what :func:`peak_bytes` tells starts from what is held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # without such a counter the peak is that of the whole process
        _CLEAR.write_text(_RESET_PEAK)


def peak_bytes(device: torch.device) -> int:
    """The most memory held at once since the last :func:`reset_peak`.

    On a GPU what tensors held there; otherwise the resident memory of the whole process, libraries and data included.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
