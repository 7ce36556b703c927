"""Named places at which a test lets the process die, as a power cut would: by SIGKILL, nothing cleaned up.

``MINBERT_FAILPOINTS`` names a folder. A file there that is called like a point arms it: the next
process that comes by takes the file away, kills the processes whose numbers stand in it, and itself. So every point is
hit exactly once, whichever process comes by, and a point whose file is still there was never reached.
Unset, as outside of tests, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

VARIABLE = "MINBERT_FAILPOINTS"
_ARMED = os.environ.get(VARIABLE)


def reach(point: str) -> None:
    """Die here, where the point is armed."""
    if _ARMED is not None:
        _die(Path(_ARMED) / point)


def _die(armed: Path) -> None:
    taken = armed.with_name(f".{armed.name}.{os.getpid()}")
    try:
        armed.rename(taken)  # only one process succeeds
    except FileNotFoundError:
        return
    for number in taken.read_text(encoding="utf-8").split():
        os.kill(int(number), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
