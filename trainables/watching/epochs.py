"""The epochs of a trial as they can be shown while it still writes them, and where it stands inside one."""

from __future__ import annotations

from pathlib import Path

from minbert.files.sealed import unsealed_line
from minbert.history import Record
from minbert.now import Now, read_now
from trainables.studies.attempts import last_number


def read_epochs(file: Path) -> list[Record]:
    """The epochs of a history up to one that is damaged or still being written."""
    records: list[Record] = []
    if not file.is_file():  # a pipe would be waited for
        return records
    try:
        for line in file.read_bytes().split(b"\n")[:-1]:
            record = unsealed_line(line)
            if not _is_whole(record):
                break
            records.append(record)
    except (OSError, ValueError):
        pass
    return records


def read_underway(folder: Path, began: float) -> Now | None:
    """What a trial does just now; None where its folder does not tell.

    Args:
        folder: the trial's.
        began: when it was started, in seconds since 1970; what an earlier start has left is nothing of this one.
    """
    now = read_now(folder)
    try:
        return now if now and now.at >= began and now.attempt == last_number(folder) else None
    except OSError:
        return None


def _is_whole(record: Record) -> bool:
    """Whether a record can be shown: whoever edited a history may have left anything."""
    numbers = [record.get("train_seconds", 0.0), record.get("eval_seconds", 0.0)]
    scores, constant = record.get("select", {}), record.get("constant", [])
    if not isinstance(scores, dict) or not isinstance(constant, list):
        return False
    return (
        isinstance(record.get("stage"), str)
        and isinstance(record.get("epoch"), int)
        and all(isinstance(each, int | float) for each in (*numbers, *scores.values()))
    )
