"""What the stored answers of many runs add to the tasks' metrics, read a block of runs at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.scoring import Floats, Outputs, answers, influence, stack
from analysis.study import Study

NOT_STORED = "no stored predictions"
DAMAGED = "a damaged file"
NOT_USABLE = "no labelled dev example, or outputs that are no numbers"
_BLOCK = 100
"""So many trials' predictions are read at once; all of a large study's would not fit in memory."""

Pulls = Mapping[str, Mapping[int, Floats]]
"""By task and trial number: what each quoted example adds to the task's metric mapped to [0, 1]."""


@dataclass(frozen=True)
class Quoted:
    """What may be quoted of the stored predictions of trials."""

    pulls: Pulls
    left_out: Mapping[int, str] = field(default_factory=dict)
    """By number: why a trial is not in ``pulls`` with every task."""
    constant: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """By task: the trials that give every quoted example the same answer."""


def read_quoted(study: Study, numbers: Iterable[int]) -> Quoted:
    """Read what each example that may be quoted adds to each trial's metrics (``scoring.influence``).

    Trials without predictions, with other examples than most, or with outputs that are no numbers are left out.
    """
    chosen = sorted(int(number) for number in numbers)
    pulls: dict[str, dict[int, Floats]] = {}
    constant: dict[str, frozenset[int]] = {}
    unused: dict[int, str] = {}
    for task in study.tasks:
        pulls[task], constant[task], reasons = _read_task(study, task, chosen)
        missing = [number for number in chosen if number not in pulls[task]]
        unused = {number: reasons.get(number) or _unread(study, task, number) for number in missing} | unused
    return Quoted(pulls, unused, constant)


def left_out(study: Study, task: str, wanted: Iterable[int], outputs: Outputs | None) -> dict[int, str]:
    """Why each of the ``wanted`` trials is not among its task's stacked ``outputs``, by number."""
    kept = set(outputs.numbers) if outputs else set()
    known = outputs.left_out if outputs else {}
    return {
        number: known.get(number) or _unread(study, task, number) for number in wanted if number not in kept
    }


def told(reasons: Mapping[int, str], shown: int = 10) -> str:
    """``3, 7: other examples; 9: a damaged file``, the first trials of each reason."""
    return "; ".join(f"{_listed(own, shown)}: {reason}" for reason, own in _by_reason(reasons).items())


def told_trials(reasons: Mapping[int, str], shown: int = 10) -> str:
    """``trials 3, 7: other examples; trial 9: a damaged file``, see :func:`told`."""
    return "; ".join(
        f"trial{'s' if len(own) > 1 else ''} {_listed(own, shown)}: {reason}"
        for reason, own in _by_reason(reasons).items()
    )


def _by_reason(reasons: Mapping[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, reason in sorted(reasons.items()):
        found.setdefault(reason, []).append(number)
    return found


def _listed(numbers: Sequence[int], shown: int) -> str:
    more = f" and {len(numbers) - shown} more" if len(numbers) > shown else ""
    return f"{', '.join(map(str, numbers[:shown]))}{more}"


def _unread(study: Study, task: str, number: int) -> str:
    file = study.trial_folder(number) / "predictions" / f"{task}.parquet"
    return DAMAGED if file in study.damaged else NOT_USABLE if file.exists() else NOT_STORED


def _read_task(
    study: Study, task: str, numbers: Sequence[int]
) -> tuple[dict[int, Floats], frozenset[int], dict[int, str]]:
    kind, everything = study.tasks[task].kind, study.meta.get("quote") == "dev"
    pulls: dict[int, Floats] = {}
    constant: set[int] = set()
    reasons: dict[int, str] = {}
    reference: list[int] = []  # the trial whose examples all later ones must have
    for start in range(0, len(numbers), _BLOCK):
        own = [*reference, *numbers[start : start + _BLOCK]]
        outputs = stack(study.predictions(task, own), like=reference[0] if reference else None)
        if outputs is None:
            continue
        reasons |= outputs.left_out
        reference = outputs.numbers[:1]
        quoted = np.ones(len(outputs.labels), bool) if everything else outputs.report
        labels, values = outputs.labels[quoted], outputs.values[:, quoted]
        if len(labels) > 1:
            pulls |= zip(outputs.numbers, influence(kind, values, labels), strict=True)
            given = answers(kind, values)
            alike = (given == given[:, :1]).all(axis=1)
            constant |= {number for number, same in zip(outputs.numbers, alike, strict=True) if same}
    return pulls, frozenset(constant), reasons
