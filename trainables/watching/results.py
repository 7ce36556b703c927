"""What a search prints when it ends: top configurations, main effects, the ensemble, and where the files are."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from analysis.ablation_page import show_ablation
from analysis.report import write_report
from analysis.study import Study, load
from analysis.tables import (
    StudyTables,
    compute_tables,
    effects_note,
    effects_unsaid,
    settings_left_out,
    summary_tables,
)
from analysis.terminal import print_table
from trainables.studies.kept_models import made_again
from trainables.studies.remote_study import RemoteStudy


def print_results(console: Console, study: Path, remote: RemoteStudy | None = None) -> None:
    """Write the report and print its main tables.

    Args:
        console: where to.
        study: the study's folder.
        remote: the study in an object store, of which that is the copy here; gets the report, too.
    """
    loaded = load(remote.url if remote else study)
    if not loaded.trials["score"].notna().any():
        console.print("no trial has a score yet")
        return
    tables = compute_tables(loaded)
    _print_tables(console, loaded, tables)
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
    _say_without_model(console, loaded.path, members, remote)


def _print_tables(console: Console, study: Study, tables: StudyTables) -> None:
    def remark(text: str) -> None:
        # Lines of a file are left whole; a terminal would break them inside words.
        console.print(text, style="dim", highlight=False, markup=False, soft_wrap=not console.is_terminal)

    if tables.ablation is not None:
        title, note, frame = show_ablation(study, tables.ablation)[0]
        print_table(console, title, frame)
        remark(note)
    for title, frame in summary_tables(study, tables).items():
        print_table(console, title, frame)
        if "settings" in frame and settings_left_out(frame):
            remark("all settings: in the report, and in config.yaml of each trial")
        if title.startswith("Main effects"):
            remark(effects_note(tables))
    if unsaid := effects_unsaid(tables):
        console.print(f"\n{unsaid} (the report has the table)", highlight=False)


def _say_without_model(
    console: Console, study: Path, members: Iterable[int], remote: RemoteStudy | None
) -> None:
    if without := made_again(study, set(members), remote.has_model if remote else None):
        console.print(
            f"members of the ensemble whose model was not kept: {without}", highlight=False, markup=False
        )
