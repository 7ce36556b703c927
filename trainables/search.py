"""Search a space: ``python -m trainables.search --space full_ablation``.

The same command again continues the study where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from minbert.command_line import EXIT_FAILED, EXIT_INTERRUPTED, run
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.interrupts import Interrupts
from minbert.run_options import time_limits
from minbert.sources import Sources, resolve
from minbert.terminal import PlainConsole, outlast_readers
from trainables.chosen_space import Chosen, Wish, choose
from trainables.machines.address import refuse_no_address
from trainables.machines.awaited_machines import watch_machines
from trainables.machines.connection import RayFailed, launchers_file, quieten_ray, start_ray
from trainables.machines.placement import MONITOR_LOGS, Placement, trial_resources
from trainables.remarks import say_what_is_searched
from trainables.search_options import asked_for, gpus_per_trial, search_parser
from trainables.space_pages.check import further_texts, naming_the_line
from trainables.spaces.around import refuse_other_sources
from trainables.studies.first_look import refuse_other_study, refuse_places
from trainables.studies.fork import Fork, Wanted, find_fork, show_fork, take_over
from trainables.studies.locks import locked
from trainables.studies.places import refuse_urls, study_place
from trainables.studies.remote_study import RemoteStudy, open_remote
from trainables.studies.study import refuse_another_study
from trainables.watching.events import EventStream, say_finished, take_stdout

if TYPE_CHECKING:  # imports Ray
    from trainables.running.driver import Plan


@dataclass(frozen=True)
class Search:
    """What a command line asks for, as far as it is known without a look at the machines.

    Attributes:
        arguments: of the command line.
        command: the command line.
        place: the study's folder or URL, as the user has it.
        study: its folder on this machine.
        remote: the study in an object store, if it is in one.
        fork: what a new study takes over from another one, if it does.
        chosen: the space.
        sources: data and encoder.
    """

    arguments: argparse.Namespace
    command: str
    place: str
    study: Path
    remote: RemoteStudy | None
    fork: Fork | None
    chosen: Chosen
    sources: Sources

    @property
    def wanted(self) -> Wanted:
        """What the study is to be."""
        chosen = self.chosen
        return Wanted(
            chosen.space, self.sources, chosen.seed, self.kept_command, chosen.around, self.arguments.stages
        )

    @property
    def kept_command(self) -> str:
        """The command line as study.yaml keeps it: with the study's place, which is another one elsewhere."""
        named = self.arguments.study or self.arguments.fork
        return self.command if named else f"{self.command} --study {shlex.quote(self.place)}"

    @property
    def device(self) -> str:
        return self.chosen.space.example().device


def main() -> int:
    """Parse the command line, run or continue the study, print its tables."""
    arguments = search_parser(__doc__).parse_args()
    events = take_stdout() if arguments.json else None
    if not arguments.dry_run:
        outlast_readers("the search goes on")
    for option in ("cluster", "seconds_per_trial"):
        if getattr(arguments, option) and not arguments.dry_run:
            told = f"--{option.replace('_', '-')}"
            raise UserError(f"{told}: only --dry-run looks at it: add that, or leave this out")
    refuse_no_address(arguments.address)
    search = _look(arguments)
    console = PlainConsole(soft_wrap=True)
    say_what_is_searched(console, search.chosen, search.sources, arguments.data)
    if arguments.dry_run:
        _show(search, console)
        return 0
    return _run(search, console, events)


def _look(arguments: argparse.Namespace) -> Search:
    """Find the space, the data and the study of a command line."""
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
    tasks, texts = chosen.space.example().tasks, further_texts(chosen.space)
    with naming_the_line(chosen.space):
        sources = resolve(arguments.data, arguments.encoder, tasks, os.environ.get("MINBERT_DATA"), texts)
    if chosen.around is not None:
        refuse_other_sources(chosen.around, sources)
    study = fork.path if fork else study
    refuse_places(remote or study, arguments.stages, "--fork" if fork else "--study")
    command = shlex.join(["python", "-m", "trainables.search", *sys.argv[1:]])
    return Search(arguments, command, place, study, remote, fork, chosen, sources)


def _show(search: Search, console: Console) -> None:
    """Show what would run, and about how long it takes."""
    from trainables.dry_run.cost import show_cost  # noqa: PLC0415
    from trainables.dry_run.plan import show_plan  # noqa: PLC0415 - slow to import: optuna

    space, sources, fork = search.chosen.space, search.sources, search.fork
    asked = asked_for(search.arguments, search.device)
    check_data(space.representatives, sources)
    if not fork:
        refuse_other_study(search.remote or search.study, search.wanted.identity)
    trials = show_plan(console, space, search.chosen.around)
    if fork:
        show_fork(fork, search.wanted, console)
    console.print(
        f"data: {sources.corpus.path}\nencoder: {sources.encoder.folder}\nstudy: {fork.path if fork else search.place}",
        highlight=False,
    )
    show_cost(console, space, sources, trials, asked)


def _run(search: Search, console: Console, events: EventStream | None) -> int:
    """Run or continue the study; returns the exit code."""
    gpus = gpus_per_trial(search.arguments, search.device)
    say = functools.partial(console.print, markup=False, highlight=False)
    interrupts = Interrupts(search.command, say, console.show_cursor)
    study, remote, fork, wanted = search.study, search.remote, search.fork, search.wanted
    held = remote.held(say) if remote else locked(study, "--fork" if fork else "--study")
    with held, interrupts.watched():
        note = {}
        if fork:
            note = take_over(fork, wanted, console)
        else:
            refuse_another_study(study, wanted.identity)
        quieten_ray()
        from trainables.running.driver import StudyStopped, run_study  # noqa: PLC0415 - imports Ray

        def give_up(reason: str) -> None:
            told = functools.partial(say_finished, events, study, "failed", EXIT_FAILED, search.command)
            interrupts.give_up(reason, told)

        connect = functools.cache(functools.partial(_connect, search, gpus, console, interrupts, give_up))
        try:
            ending = run_study(_plan(search, note, events), connect, console, interrupts)
        except (StudyStopped, RayFailed) as stopped:
            print(f"error: {stopped}", file=sys.stderr)
            say_finished(events, study, "failed", EXIT_FAILED, search.command)
            return EXIT_FAILED
        if not ending.finished and not ending.stopped_by:
            say(f"not finished; continue with: {search.command}")
        if ending.interrupted:  # whoever sent the signal may not wait for a report
            say(
                f"report so far: python -m analysis.report {shlex.quote(remote.url if remote else str(study))}"
            )
        else:
            from trainables.watching.results import print_results  # noqa: PLC0415 - only at the end

            print_results(console, study, remote)
    code = EXIT_FAILED if ending.stopped_by else EXIT_INTERRUPTED if ending.interrupted else 0
    if ending.stopped_by:
        console.print(f"stopped: the last trials all failed ({ending.stopped_by})", style="red")
    say_finished(events, study, ending.how, code, search.command)
    return code


def _plan(search: Search, note: dict[str, Any], events: EventStream | None) -> Plan:
    """What the driver needs to know."""
    from trainables.running.driver import Plan  # noqa: PLC0415 - imports Ray
    from trainables.watching.progress import Outlets  # noqa: PLC0415 - slow to import: optuna

    arguments, chosen = search.arguments, search.chosen
    return Plan(
        chosen.space,
        search.sources,
        search.study,
        chosen.seed,
        search.kept_command,
        arguments.max_concurrent,
        arguments.time_budget,
        limits=time_limits(arguments),
        checkpoint_every=arguments.checkpoint_every,
        around=chosen.around,
        kept_models=arguments.keep,
        stages=arguments.stages,
        stage_room=arguments.stage_room * 1e9,
        note=note,
        remote=search.remote,
        outlets=Outlets(events, arguments.tensorboard),
    )


def _connect(
    search: Search,
    gpus: float | str | None,
    console: Console,
    interrupts: Interrupts,
    give_up: Callable[[str], object],
) -> Placement:
    """Start Ray, or find it, and see what trials get there; ``give_up`` ends the search where no machine is to be had."""
    arguments = search.arguments
    console.print("starting Ray …")
    room = start_ray(arguments.address)
    interrupts.take_signals()
    if room.kinds and (launcher := launchers_file()):
        watch_machines(launcher, functools.partial(console.print, markup=False, highlight=False), give_up)
    if isinstance(gpus, str):
        from trainables.machines.gpu_auto import chosen_share  # noqa: PLC0415 - imports Ray

        if room.cpus_a_gpu and not any(node.gpus for node in room.there):
            console.print("--gpus-per-trial auto: waits for the first node with a GPU")
        gpus = chosen_share(search.wanted, room, arguments.cpus_per_trial or 1, interrupts)
        console.print(f"--gpus-per-trial auto: {gpus:g}", highlight=False)
    placement = Placement(room, trial_resources(arguments.cpus_per_trial, gpus, room))
    if room.away:
        console.print(f"{room.away}; trials start on the others once they are there ({MONITOR_LOGS})")
    if not placement.slots_now:
        console.print(f"no node is there for a trial yet; up to {placement.slots} trials may run at once")
    return placement


if __name__ == "__main__":
    sys.exit(run(main))
