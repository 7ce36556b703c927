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

from minbert.command_line import EXIT_FAILED, EXIT_INTERRUPTED, run
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.interrupts import Interrupts
from minbert.run_options import time_limits
from minbert.sources import Sources, resolve
from trainables.chosen_space import Chosen, Wish, choose
from trainables.machines.address import refuse_no_address
from trainables.machines.connection import quieten_ray, start_ray
from trainables.machines.placement import Placement, trial_resources
from trainables.search_options import asked_for, gpus_per_trial, search_parser
from trainables.space_pages.check import further_texts
from trainables.spaces.around import refuse_other_sources
from trainables.spaces.run_checks import coinciding
from trainables.spaces.space import Space
from trainables.studies.first_look import refuse_other_study, refuse_places
from trainables.studies.fork import Fork, Wanted, find_fork, show_fork, take_over
from trainables.studies.kept_models import made_again
from trainables.studies.locks import locked
from trainables.studies.places import refuse_urls, study_place
from trainables.studies.remote_study import RemoteStudy, open_remote
from trainables.studies.study import refuse_another_study
from trainables.watching.events import EventStream, say_finished, take_stdout


def main() -> int:
    """Parse the command line, run or continue the study, print its tables."""
    arguments = search_parser(__doc__).parse_args()
    events = take_stdout() if arguments.json else None
    if arguments.cluster and not arguments.dry_run:
        raise UserError("--cluster: only --dry-run looks at it: add that, or leave this out")
    refuse_no_address(arguments.address)
    console = Console(soft_wrap=True)
    wish = Wish(
        arguments.space,
        arguments.design,
        arguments.around,
        tuple(arguments.set),
        {name: getattr(arguments, name) for name in ("trials", "replicates")},
        arguments.seed,
    )
    place = study_place(arguments.study, os.environ.get("MINBERT_RESULTS", "results"), wish.name)
    if arguments.fork:
        refuse_urls(place, arguments.fork, arguments.stages)
    remote = open_remote(place)
    study = remote.path if remote else Path(place)
    fork = find_fork(study, Path(arguments.fork)) if arguments.fork else None
    described = fork.described if fork else remote.described() if remote else study
    if arguments.only_continue and not ((fork.path if fork else described) / "study.yaml").is_file():
        raise UserError(f"--continue: there is no study in {place}: is its disk mounted, its name right?")
    chosen = choose(wish, described)
    study = fork.path if fork else study
    space = chosen.space
    sources = resolve(
        arguments.data,
        arguments.encoder,
        space.example().tasks,
        os.environ.get("MINBERT_DATA"),
        further_texts(space),
    )
    if chosen.around is not None:
        refuse_other_sources(chosen.around, sources)
    refuse_places(remote or study, arguments.stages, "--fork" if fork else "--study")
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
        from trainables.dry_run.cost import show_cost  # noqa: PLC0415
        from trainables.dry_run.plan import show_plan  # noqa: PLC0415 - slow to import: optuna

        asked = asked_for(arguments, space.example().device)
        check_data(space.representatives, sources)
        wanted = Wanted(space, sources, chosen.seed)
        if not fork:
            refuse_other_study(remote or study, wanted.identity)
        trials = show_plan(console, space, chosen.around)
        if fork:
            show_fork(fork, wanted, console)
        console.print(
            f"data: {sources.corpus.path}\nencoder: {sources.encoder.folder}\nstudy: {fork.path if fork else place}",
            highlight=False,
        )
        show_cost(console, space, sources, trials, asked)
        return 0
    return _search(arguments, console, chosen, sources, study, fork, remote, events)


def _search(
    arguments: argparse.Namespace,
    console: Console,
    chosen: Chosen,
    sources: Sources,
    study: Path,
    fork: Fork | None,
    remote: RemoteStudy | None,
    events: EventStream | None,
) -> int:
    gpus = gpus_per_trial(arguments, chosen.space.example().device)
    command = shlex.join(["python", "-m", "trainables.search", *sys.argv[1:]])
    say = functools.partial(console.print, markup=False, highlight=False)
    interrupts = Interrupts(command, say, console.show_cursor)
    wanted = Wanted(chosen.space, sources, chosen.seed, command, chosen.around, arguments.stages)
    held = remote.held(say) if remote else locked(study, "--fork" if fork else "--study")
    with held, interrupts.watched():
        note = {}
        if fork:
            note = take_over(fork, wanted, console)
        else:
            refuse_another_study(study, wanted.identity)
        quieten_ray()
        from trainables.running.driver import Plan, StudyStopped, run_study  # noqa: PLC0415 - imports Ray
        from trainables.watching.progress import Outlets  # noqa: PLC0415 - slow to import: optuna

        plan = Plan(
            chosen.space,
            sources,
            study,
            chosen.seed,
            command,
            arguments.max_concurrent,
            arguments.time_budget,
            limits=time_limits(arguments),
            checkpoint_every=arguments.checkpoint_every,
            around=chosen.around,
            kept_models=arguments.keep,
            stages=arguments.stages,
            stage_room=arguments.stage_room * 1e9,
            note=note,
            remote=remote,
            outlets=Outlets(events, arguments.tensorboard),
        )
        connect = functools.cache(functools.partial(_connect, arguments, gpus, wanted, console, interrupts))
        try:
            ending = run_study(plan, connect, console, interrupts)
        except StudyStopped as stopped:
            print(f"error: {stopped}", file=sys.stderr)
            say_finished(events, study, "failed", EXIT_FAILED, command)
            return EXIT_FAILED
        if not ending.finished and not ending.stopped_by:
            console.print(f"not finished; continue with: {command}", markup=False, highlight=False)
        if ending.interrupted:  # whoever sent the signal may not wait for a report
            console.print(
                f"report so far: python -m analysis.report {remote.url if remote else study}",
                markup=False,
                highlight=False,
            )
        else:
            print_results(console, study, remote)
    code = EXIT_FAILED if ending.stopped_by else EXIT_INTERRUPTED if ending.interrupted else 0
    if ending.stopped_by:
        console.print(f"stopped: the last trials all failed ({ending.stopped_by})", style="red")
    say_finished(events, study, ending.how, code, command)
    return code


def _connect(
    arguments: argparse.Namespace,
    gpus: float | str | None,
    wanted: Wanted,
    console: Console,
    interrupts: Interrupts,
) -> Placement:
    console.print("starting Ray …")
    room = start_ray(arguments.address)
    interrupts.take_signals()
    if isinstance(gpus, str):
        from trainables.machines.gpu_auto import chosen_share  # noqa: PLC0415 - imports Ray

        gpus = chosen_share(wanted, room, arguments.cpus_per_trial or 1, interrupts)
        console.print(f"--gpus-per-trial auto: {gpus:g}", highlight=False)
    placement = Placement(room, trial_resources(arguments.cpus_per_trial, gpus, room))
    if not placement.slots_now:
        console.print(f"no node is there for a trial yet; up to {placement.slots} trials may run at once")
    return placement


def print_results(console: Console, study: Path, remote: RemoteStudy | None = None) -> None:
    """Print top configurations, main effects, the ensemble, and where the files are."""
    from analysis.ablation_page import show_ablation  # noqa: PLC0415
    from analysis.report import write_report  # noqa: PLC0415 - only at the end
    from analysis.study import load  # noqa: PLC0415
    from analysis.tables import (  # noqa: PLC0415
        compute_tables,
        effects_note,
        effects_unsaid,
        settings_left_out,
        summary_tables,
    )
    from analysis.terminal import print_table  # noqa: PLC0415

    def remark(text: str) -> None:
        # Lines of a file are left whole; a terminal would break them inside words.
        console.print(text, style="dim", highlight=False, markup=False, soft_wrap=not console.is_terminal)

    loaded = load(remote.url if remote else study)
    if not loaded.trials["score"].notna().any():
        console.print("no trial has a score yet")
        return
    tables = compute_tables(loaded)
    if tables.ablation is not None:
        title, note, frame = show_ablation(loaded, tables.ablation)[0]
        print_table(console, title, frame)
        remark(note)
    for title, frame in summary_tables(loaded, tables).items():
        print_table(console, title, frame)
        if "settings" in frame and settings_left_out(frame):
            remark("all settings: in the report, and in config.yaml of each trial")
        if title.startswith("Main effects"):
            remark(effects_note(tables))
    if unsaid := effects_unsaid(tables):
        console.print(f"\n{unsaid} (the report has the table)", highlight=False)
    markdown, page = write_report(loaded, loaded.path)
    trials = str(study / "trials")
    if remote:
        trials = remote.place("trials")
        remote.keep_report(markdown, page)
    for line in loaded.damage:
        print(f"warning: {line}", file=sys.stderr)
    console.print(f"report: {page} and {markdown}", highlight=False)
    if remote:
        console.print(
            f"the same: {remote.place(page.name)} and {remote.place(markdown.name)}", highlight=False
        )
    console.print(f"trials, predictions and kept models: {trials}", highlight=False)
    members = {number for ensemble in tables.ensembles.values() for number in ensemble.members}
    if without := made_again(loaded.path, members, remote.has_model if remote else None):
        console.print(
            f"members of the ensemble whose model was not kept: {without}", highlight=False, markup=False
        )


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


if __name__ == "__main__":
    sys.exit(run(main))
