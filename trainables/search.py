"""Search a space: ``python -m trainables.search --space full_ablation``.

The same command again continues the study where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

from minbert.command_line import EXIT_FAILED, EXIT_INTERRUPTED, Parser, number, run, whole_number
from minbert.corpora.texts import Role, texts_needed
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.sources import Sources, resolve
from minbert.time_limits import TimeLimits
from trainables.around import refuse_other_sources
from trainables.chosen_space import DESIGNS, Chosen, Wish, choose
from trainables.interrupts import Interrupts
from trainables.locks import locked
from trainables.resources import TrialResources, quieten_ray, start_ray, trial_resources
from trainables.run_checks import coinciding
from trainables.spaces import Space, available_spaces

STEP_SECONDS, EPOCH_SECONDS = 30 * 60, 24 * 3600
"""What no healthy step or epoch takes: trials that hang are to end, slow ones are not."""


def main() -> int:
    """Parse the command line, run or continue the study, print its tables."""
    arguments = _parser().parse_args()
    console = Console(soft_wrap=True)
    wish = Wish(
        arguments.space,
        arguments.design,
        arguments.around,
        tuple(arguments.set),
        {name: getattr(arguments, name) for name in ("trials", "replicates")},
        arguments.seed,
    )
    study = Path(arguments.study or Path(os.environ.get("MINBERT_RESULTS", "results")) / wish.name)
    chosen = choose(wish, study)
    space = chosen.space
    sources = resolve(
        arguments.data,
        arguments.encoder,
        space.example().tasks,
        os.environ.get("MINBERT_DATA"),
        _texts(space),
    )
    if chosen.around is not None:
        refuse_other_sources(chosen.around, sources)
    _say_sources(console, sources, arguments.data)
    _say_coinciding(console, space)
    for setting, reason, runs in _by_reason(chosen):
        console.print(
            f"{setting}: not for {runs}: {reason}",
            markup=False,
            highlight=False,
        )
    for factor, level, reason in chosen.left_out:
        console.print(f"left out: {factor} {level}: {reason}", markup=False, highlight=False)
    if arguments.dry_run:
        from trainables.plan import show_plan  # noqa: PLC0415 - slow to import: optuna

        check_data(space.representatives, sources)
        show_plan(console, space, chosen.around)
        console.print(
            f"data: {sources.corpus.path}\nencoder: {sources.encoder.folder}\nstudy: {study}", highlight=False
        )
        return 0
    return _search(arguments, console, chosen, sources, study)


def _search(
    arguments: argparse.Namespace, console: Console, chosen: Chosen, sources: Sources, study: Path
) -> int:
    from trainables.study import identity, refuse_another_study  # noqa: PLC0415 - slow to import: optuna

    gpus = _gpus_per_trial(arguments)
    command = shlex.join(["python", "-m", "trainables.search", *sys.argv[1:]])
    interrupts = Interrupts(console, command)
    with locked(study), interrupts.watched():
        refuse_another_study(study, identity(chosen.space, sources, chosen.seed))
        quieten_ray()
        from trainables.driver import Plan, StudyStopped, run_study  # noqa: PLC0415 - imports Ray

        @functools.cache
        def connect() -> TrialResources:
            console.print("starting Ray …")
            cluster = start_ray(arguments.address)
            interrupts.take_signals()
            return trial_resources(arguments.cpus_per_trial, gpus, cluster)

        plan = Plan(
            chosen.space,
            sources,
            study,
            chosen.seed,
            command,
            arguments.max_concurrent,
            arguments.time_budget,
            TimeLimits(arguments.step_timeout or None, arguments.epoch_timeout or None),
            chosen.around,
        )
        try:
            ending = run_study(plan, connect, console, interrupts)
        except StudyStopped as stopped:
            print(f"error: {stopped}", file=sys.stderr)
            return EXIT_FAILED
        if not ending.finished and not ending.stopped_by:
            console.print(f"not finished; continue with: {command}", markup=False, highlight=False)
        if ending.interrupted:  # whoever sent the signal may not wait for a report
            console.print(f"report so far: python -m analysis.report {study}", markup=False, highlight=False)
        else:
            print_results(console, study)
    if ending.stopped_by:
        console.print(f"stopped: the last trials all failed ({ending.stopped_by})", style="red")
        return EXIT_FAILED
    return EXIT_INTERRUPTED if ending.interrupted else 0


def print_results(console: Console, study: Path) -> None:
    """Print top configurations, main effects, the ensemble, and where the files are."""
    from analysis.ablation_page import show_ablation  # noqa: PLC0415
    from analysis.report import write_report  # noqa: PLC0415 - only at the end
    from analysis.study import load  # noqa: PLC0415
    from analysis.tables import compute_tables, effects_note, summary_tables  # noqa: PLC0415
    from analysis.terminal import print_table  # noqa: PLC0415

    loaded = load(study)
    if not loaded.trials["score"].notna().any():
        console.print("no trial has a score yet")
        return
    tables = compute_tables(loaded)
    if tables.ablation is not None:
        title, note, frame = show_ablation(loaded, tables.ablation)[0]
        print_table(console, title, frame)
        console.print(note, style="dim", highlight=False, markup=False)
    for title, frame in summary_tables(loaded, tables).items():
        print_table(console, title, frame)
        if title.startswith("Main effects"):
            console.print(effects_note(tables), style="dim", highlight=False, markup=False)
    markdown, page = write_report(loaded, study)
    console.print(f"report: {page} and {markdown}", highlight=False)
    console.print(f"trials, predictions and the best models: {study / 'trials'}", highlight=False)


def _texts(space: Space) -> dict[str, Role]:
    """Further text files that configurations of the space read."""
    texts: dict[str, Role] = {}
    for config in space.representatives:
        for name, role in texts_needed(config).items():
            if texts.setdefault(name, role) != role:
                raise UserError(
                    f"{space.source}: {name!r} is read as {role} and as {texts[name]}: a file is one of them"
                )
    return texts


def _say_coinciding(console: Console, space: Space) -> None:
    """Settings of the command line may make runs the same that the file keeps apart."""
    others = coinciding(space) if space.runs.rows else {}
    same = [f"{name} as {other}" for name, other in others.items() if space.runs.rows[name].same_as is None]
    if same:
        console.print(
            f"--set makes runs the same, which run once: {', '.join(same)}", highlight=False, markup=False
        )


def _by_reason(chosen: Chosen) -> list[tuple[str, str, str]]:
    """Settings that runs do not go with: the setting, why, and the runs."""
    runs: dict[tuple[str, str], list[str]] = {}
    for setting, name, reason in chosen.passed_over:
        runs.setdefault((setting, reason), []).append(repr(name))
    return [(*said, ", ".join(names)) for said, names in runs.items()]


def _say_sources(console: Console, sources: Sources, data: str) -> None:
    if sources.data_bundled and data == "auto":
        console.print(sources.notice())
    for note in sources.corpus.notes:
        console.print(f"data: {note}", markup=False, highlight=False)
    shared = [
        f"{task} {split} {count}"
        for task, splits in sources.corpus.overlap.items()
        for split, count in splits.items()
        if count
    ]
    if shared:
        console.print("data: examples whose text also stands in train: " + ", ".join(shared))


def _gpus_per_trial(arguments: argparse.Namespace) -> float | None:
    text = os.environ.get("MINBERT_GPUS_PER_TRIAL")
    if arguments.gpus_per_trial is not None or text is None:
        return arguments.gpus_per_trial  # type: ignore[no-any-return]
    try:
        return float(text)
    except ValueError:
        raise UserError(f"MINBERT_GPUS_PER_TRIAL {text!r}: a number is needed, such as 0.25 or 1") from None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m trainables.search", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--space",
        required=True,
        help="name of a packaged space or path of a .yaml; " + ", ".join(available_spaces()),
    )
    add(
        "--design",
        choices=DESIGNS,
        help="how to search the space, if not as its file says: its search section is then left out",
    )
    add(
        "--around",
        metavar="STUDY",
        help="change one factor at a time from the best configuration of a study (--design one_factor)",
    )
    add(
        "--study", help="study folder (default: results/<space>; with --design or --around a name of its own)"
    )
    add("--data", default="auto", help="data folder (default: $MINBERT_DATA, ./data, or the bundled corpus)")
    add(
        "--encoder",
        default="auto",
        help="checkpoint folder or hub id (default: bundled, or bert-base-uncased)",
    )
    add("--trials", type=whole_number(1), help="runs in all, replicates counted (default: the space's)")
    add(
        "--replicates",
        type=whole_number(1),
        help="runs of each configuration with other seeds (default: the space's)",
    )
    add(
        "--max-concurrent",
        type=whole_number(1),
        metavar="N",
        help="trials at a time (default: as many as fit)",
    )
    add("--cpus-per-trial", type=whole_number(1), metavar="N", help="default: 1")
    add(
        "--gpus-per-trial",
        type=number(0, allowed=True),
        metavar="SHARE",
        help="0.25, 1, 2 …; default: 1 where there is a GPU",
    )
    add(
        "--time-budget",
        type=number(0, allowed=False),
        metavar="SECONDS",
        help="end this start after so long; continue later",
    )
    add(
        "--step-timeout",
        type=number(0, allowed=True),
        default=STEP_SECONDS,
        metavar="SECONDS",
        help=f"a trial fails where a step takes longer; 0: no limit (default: {STEP_SECONDS})",
    )
    add(
        "--epoch-timeout",
        type=number(0, allowed=True),
        default=EPOCH_SECONDS,
        metavar="SECONDS",
        help=f"the same for an epoch with its evaluation (default: {EPOCH_SECONDS})",
    )
    add(
        "--seed",
        type=whole_number(0),
        help="of the study; every replicate's seed comes from it (default: 0; with --around another than STUDY's)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="set a leaf for all trials; repeatable",
    )
    add("--address", help="of a running Ray cluster (default: $RAY_ADDRESS, or a private local one)")
    add("--dry-run", action="store_true", help="check everything and show what would run; write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
