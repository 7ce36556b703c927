"""Do the papers' claims hold here: ``python -m analysis.claims STUDY [STUDY …] [--out FILE]``.

Every claim of a listed study's source is a difference between runs. It is measured on all of dev, as the sources
report it, with a 95% interval over examples and, from two replicates on, seeds. A contrast is *supported* when the
whole interval agrees with what is said, *refuted* when none of it does, else *undecided*.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.claim_forms import MARGIN, Claim, Contrast, claims_of
from analysis.claim_measures import COSTS, Measured, NotMeasured, measure
from analysis.claim_pages import claims_page
from analysis.listed import run_table
from analysis.listed_forms import RUN, paper_of
from analysis.paper_setting import chosen_on_dev, other_setting, unchecked_data
from analysis.provenance import lost_journal
from analysis.study import Study, load
from minbert.command_line import Parser, local_path, refuse_unwritable, run
from minbert.errors import UserError
from minbert.files.inside_study import refuse_search_folders
from minbert.files.storage import why_refused

COLUMNS = (
    *("folder", "study", "paper", "claim", "says", "section", "note", "compared", "expected", "metric"),
    *("reported", "size_from", "measured", "low", "high", "replicates", "verdict", "reason"),
    *("claim_verdict", "measured_in", "other_setting", "unchecked", "chosen_on_dev"),
)
SUPPORTED, REFUTED, UNDECIDED, NOT_MEASURED = "supported", "refuted", "undecided", "not measured"


@dataclass(frozen=True)
class Judged:
    """A contrast with its verdict, and why."""

    contrast: Contrast
    verdict: str
    reason: str = ""
    measured: Measured | None = None
    """None when it is not measured."""


def claim_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Judge every claim of the studies' sources, each in its own study or in that of the space it names.

    Returns one row a contrast, or one for a claim without: folder (of its study), study (the space), paper, claim (its
    number), says, section, note (joined lines), compared and expected (in words), metric, reported, size_from, measured,
    low, high (95%; in the metric's own unit, seconds for time, MiB for memory), replicates, verdict and reason of the
    contrast, claim_verdict, measured_in (the folder of the study that has the runs), and of that study other_setting (in
    what it differs from the paper's setting; empty when it does not), unchecked (which tasks' data could not be compared
    with the paper's), chosen_on_dev (whether runs keep the epoch that does best on the dev sets that are scored).

    Raises:
        UserError: a study's claims or predictions are damaged.
    """
    benches = [_Bench(study) for study in studies]
    rows = [
        row
        for bench in benches
        for name, claim in claims_of(bench.study).items()
        for row in _claim_rows(bench, benches, name, claim)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def verdict(region: tuple[float, float], low: float, high: float) -> str:
    """Judge an interval by the open ``region`` of differences for which a claim holds.

    No difference at all, without any spread, is what runs with one answer for everything have: it decides nothing.
    """
    if low == high == 0:
        return UNDECIDED
    if low > region[0] and high < region[1]:
        return SUPPORTED
    return REFUTED if high < region[0] or low > region[1] else UNDECIDED


def claim_verdict(judged: Sequence[Judged]) -> str:
    """Judge a claim that holds when all its contrasts do.

    It is supported when all are, and refuted when one is at its share of 5%: of several contrasts, one more
    easily seems refuted by chance (:data:`analysis.claim_pages.RULES` tells readers so).
    """
    verdicts = [each.verdict for each in judged]
    if all(each == NOT_MEASURED for each in verdicts):
        return NOT_MEASURED
    if all(each == SUPPORTED for each in verdicts):
        return SUPPORTED
    for each in judged:
        if each.verdict == REFUTED and each.measured is not None:
            wider = each.measured.interval(1 - 0.05 / len(judged))
            if verdict(each.contrast.region, *wider) == REFUTED:
                return REFUTED
    return UNDECIDED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = Parser(
        prog="python -m analysis.claims",
        allow_abbrev=False,
        description="Compare what a paper says about its runs with what a study of its space measured: each claim "
        "with the reported and the measured difference, a 95% interval, and a verdict.",
    )
    parser.add_argument(
        "studies",
        metavar="STUDY",
        nargs="+",
        help="study folders of papers' spaces; several allow claims across papers",
    )
    parser.add_argument(
        "--out", metavar="FILE", type=local_path, help="write Markdown there instead of printing it"
    )
    options = parser.parse_args(arguments)
    studies = [load(path) for path in {Path(path).resolve(): path for path in options.studies}.values()]
    silent = [study for study in studies if not claims_of(study)]
    if len(silent) == len(studies):
        raise UserError(
            f"{studies[0].path}: holds no claims: they come with the papers' spaces (papers/…), "
            "and continuing a study with its command adds those of its space"
        )
    if options.out is not None:
        _refuse_unwritable(options.out)
    page = claims_page(claim_table(studies))
    lost = [f"{study.path}: {text}" for study in studies if (text := lost_journal(study))]
    damaged = [line for study in studies for line in study.damage]
    for line in (*(f"{study.path}: holds no claims" for study in silent), *lost, *damaged):
        print(f"warning: {line}", file=sys.stderr)
    if options.out is None:
        print(page, end="")
        return 0
    try:
        options.out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{options.out}: cannot be written: {why_refused(error, options.out)}") from None
    print(options.out)
    return 0


def _refuse_unwritable(file: Path) -> None:
    """Refuse a place for the page before anything is computed.

    Raises:
        UserError: it is a folder, or its folder cannot be written or is the search's own.
    """
    refuse_search_folders(file, str(file))
    if file.is_dir():
        raise UserError(f"{file}: cannot be written: it is a folder")
    if not file.parent.is_dir():
        raise UserError(f"{file}: cannot be written: {file.parent} is not a folder")
    if not file.exists():
        refuse_unwritable(file.parent, str(file))


@dataclass(frozen=True)
class _Bench:
    """A study that contrasts are measured in, and what all of them share."""

    study: Study

    @cached_property
    def setting(self) -> str:
        return "; ".join(other_setting(self.study))

    @cached_property
    def unchecked(self) -> str:
        return unchecked_data(self.study)

    @property
    def told(self) -> dict[str, Any]:
        """What every row says of the study that it was measured in."""
        return {
            "measured_in": str(self.study.path),
            "other_setting": self.setting,
            "unchecked": self.unchecked,
            "chosen_on_dev": self.chosen_on_dev,
        }

    @cached_property
    def chosen_on_dev(self) -> bool:
        return chosen_on_dev(self.study)

    @cached_property
    def collapsed(self) -> frozenset[tuple[str, str]]:
        """Trained runs and tasks with one answer for every example in all that is complete of them."""
        trials = self.study.trials.query("state == 'complete'")[["number", "best_epoch", RUN]]
        epochs = self.study.scored_epochs.reindex(columns=["number", "epoch", "constant"])
        counted = trials.merge(
            epochs, how="left", left_on=["number", "best_epoch"], right_on=["number", "epoch"]
        )
        return frozenset(
            (str(run), task)
            for run, own in counted.groupby(RUN)["constant"]
            for task in self.study.tasks
            if all(isinstance(tasks, list) and task in tasks for tasks in own)
        )

    @cached_property
    def constant(self) -> Mapping[str, list[str]]:
        """By run, the tasks with one answer for every example."""
        table = run_table(self.study)
        return dict(zip(table["run"], table["constant"], strict=True))


def _claim_rows(own: _Bench, benches: Sequence[_Bench], name: str, claim: Claim) -> list[dict[str, Any]]:
    common = {
        "folder": str(own.study.path),
        "study": own.study.name,
        "paper": paper_of(own.study).get("name"),
        "claim": name,
        "says": claim.says,
        "section": claim.section,
        "note": "\n".join(claim.note),
        **own.told,
    }
    if claim.not_measured:
        return [
            common | {"verdict": NOT_MEASURED, "reason": claim.not_measured, "claim_verdict": NOT_MEASURED}
        ]
    placed = [(_bench_of(own, benches, contrast.space), contrast) for contrast in claim.contrasts]
    judged = [_judge(bench, contrast) for bench, contrast in placed]
    common["claim_verdict"] = claim_verdict(judged)
    return [
        common | _row(each) | (bench.told if bench else {})
        for (bench, _), each in zip(placed, judged, strict=True)
    ]


def _bench_of(own: _Bench, benches: Sequence[_Bench], space: str | None) -> _Bench | None:
    if space is None or space == own.study.name:
        return own
    return next((other for other in benches if other.study.name == space), None)


def _judge(bench: _Bench | None, contrast: Contrast) -> Judged:
    if bench is None:
        return Judged(contrast, NOT_MEASURED, f"give a study of {contrast.space} too")
    try:
        measured = measure(bench.study, contrast)
    except NotMeasured as why:
        return Judged(contrast, NOT_MEASURED, str(why))
    own, reason = _verdict_of(contrast, measured, collapsed=measured.runs <= bench.collapsed)
    reasons = filter(None, (reason, measured.left_out, _constant_answers(bench, measured)))
    return Judged(contrast, own, "; ".join(reasons), measured)


def _constant_answers(bench: _Bench, measured: Measured) -> str:
    """The runs that give one answer for every example of a task that is compared."""
    found = []
    for name in sorted({name for name, _ in measured.runs}):
        tasks = [task for task in bench.constant.get(name, ()) if (name, task) in measured.runs]
        found += [f"{name} ({', '.join(tasks)})"] if tasks else []
    return f"constant answers: {', '.join(found)}" if found else ""


def _verdict_of(contrast: Contrast, measured: Measured, collapsed: bool) -> tuple[str, str]:
    """The contrast's verdict and why it is undecided; seeds are unknown with one run each, and runs that
    all ``collapsed`` to one answer for everything are alike for that alone."""
    if measured.replicates < 2:
        return UNDECIDED, "one run each: seed noise unknown"
    if measured.missing:
        return UNDECIDED, measured.missing
    if collapsed:
        return UNDECIDED, "one answer for everything"
    low, high = measured.interval()
    own = verdict(contrast.region, low, high)
    if contrast.metric in COSTS or contrast.error_from is not None:
        return own, ""
    if low == high:
        return UNDECIDED, "no spread over examples and seeds"
    small = low > -MARGIN and high < MARGIN
    return own, f"about the same, within ±{MARGIN:g}" if own == UNDECIDED and small else ""


def _row(judged: Judged) -> dict[str, Any]:
    contrast, measured = judged.contrast, judged.measured
    row: dict[str, Any] = {
        "compared": contrast.compared,
        "expected": contrast.expected,
        "metric": contrast.metric,
        "reported": np.nan if contrast.size is None else contrast.size,
        "size_from": contrast.size_from,
        "verdict": judged.verdict,
        "reason": judged.reason,
    }
    if measured is not None:
        low, high = measured.interval()
        row |= {
            "measured": float(measured.difference.estimate),
            "low": low,
            "high": high,
            "replicates": measured.replicates,
        }
    return row


if __name__ == "__main__":
    sys.exit(run(main))
