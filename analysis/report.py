"""Write a study's report: ``python -m analysis.report STUDY [--out DIR]``.

report.md (with its pictures in report_pictures/) and report.html, one file that needs no network.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from analysis import plots
from analysis.ablation_page import show_ablation
from analysis.further_measures import further_measures
from analysis.headline import headline
from analysis.listed import is_listed, show_readings, show_runs
from analysis.one_factor import is_one_factor
from analysis.provenance import bundled_warning, continue_command, facts
from analysis.study import Study, load
from analysis.tables import (
    StudyTables,
    compute_tables,
    effects_note,
    effects_title,
    leaders_title,
    markdown_table,
    short_names,
    show_effects,
    show_ensemble,
    show_leaders,
    summary_tables,
)
from minbert.command_line import EXIT_USER, Parser
from minbert.errors import UserError

__all__ = ["main", "summary_tables", "write_report"]

PICTURES = "report_pictures"


@dataclass(frozen=True)
class Picture:
    """A drawn picture and what it shows in words."""

    name: str
    caption: str
    data: bytes

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")


@dataclass(frozen=True)
class Section:
    """A part of the report: a paragraph, a table, pictures and facts, each optional."""

    title: str
    note: str = ""
    table: pd.DataFrame | None = None
    pictures: list[Picture] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    command: str = ""


def write_report(study: Study, out: Path) -> tuple[Path, Path]:
    """Write report.md and report.html into ``out`` and return their paths.

    Raises:
        UserError: the study is damaged or ``out`` cannot be written.
    """
    tables = compute_tables(study)
    sections = _sections(study, tables)
    context = {
        "title": study.name,
        "lines": headline(study, tables),
        "warning": bundled_warning(study),
        "sections": sections,
        "pictures_folder": PICTURES,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "markdown_table": markdown_table,
    }
    markdown, page = out / "report.md", out / "report.html"
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for picture in (picture for section in sections for picture in section.pictures):
            (out / PICTURES / f"{picture.name}.png").write_bytes(picture.data)
        markdown.write_text(_template("report.md.j2", autoescape=False).render(context), encoding="utf-8")
        page.write_text(_template("report.html.j2", autoescape=True).render(context), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{error.filename or out}: cannot be written: {error.strerror}") from None
    return markdown, page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = Parser(
        prog="python -m analysis.report",
        description="Write report.md and a self-contained report.html for a study folder. Works on finished, "
        "running and empty studies, and never changes the study's own files.",
    )
    parser.add_argument("study", metavar="STUDY", help="the study folder, such as results/full_ablation")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: the study folder)")
    try:
        options = parser.parse_args(arguments)
        study = load(options.study)
        for path in write_report(study, options.out or study.path):
            print(path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    return 0


def _template(name: str, autoescape: bool) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def _sections(study: Study, tables: StudyTables) -> list[Section]:
    leaders = show_leaders(tables.leaders, study)
    effects = show_effects(tables.effects, study.factors)
    ensemble = show_ensemble(tables.ensemble, tables.members)
    none_complete = "No trial is complete yet."
    none_compared = "No trial is complete or was stopped early yet."
    return [
        *_runs(study),
        *(Section(*section) for section in (show_ablation(study) if is_one_factor(study) else [])),
        Section(
            leaders_title(study),
            _leaders_note(study) if len(leaders) else none_complete,
            leaders if len(leaders) else None,
        ),
        *(
            []
            if is_listed(study) or is_one_factor(study)
            else [
                Section(
                    effects_title(tables),
                    effects_note(tables) if len(tables.compared.trials) else none_compared,
                    effects if len(tables.compared.trials) and len(effects) else None,
                    _factor_pictures(study, tables),
                )
            ]
        ),
        Section("Ensemble", _ensemble_note(tables), ensemble if len(ensemble) else None),
        *_further(study),
        Section("Training", "", None, _training_pictures(study, tables)),
        Section("Trials that did not complete", *_unfinished(study, tables)),
        Section("Behind the numbers", "", facts=facts(study, tables.metric), command=continue_command(study)),
    ]


def _runs(study: Study) -> list[Section]:
    """A listed study's runs beside what their source reports."""
    if not is_listed(study):
        return []
    title, table = show_runs(study)
    sections = [Section(title, "A dash: not reported, or not measured (yet).", table)]
    readings = show_readings(study)
    if len(readings):
        explained = "Readings that were taken where the source is open, and where it contradicts itself."
        sections.append(Section("How the runs were read", explained, readings))
    return sections


def _further(study: Study) -> list[Section]:
    table = further_measures(study)
    if table.empty:
        return []
    note = (
        "Of the best complete trial, on all of dev; plain is the mean of the tasks' metrics as they are, never to be "
        "mixed with the score. Alignment: mean squared distance of the vectors of similar pairs; uniformity: log of "
        "the mean of exp(−2 distance²) over all pairs of vectors; lower is better in both."
    )
    return [
        Section("Further measures", note, table.assign(value=[f"{value:.3f}" for value in table["value"]]))
    ]


def _leaders_note(study: Study) -> str:
    sources = {
        "dev_half": "chosen by the select half of dev and quoted on the other half, the report half",
        "train_holdout": "chosen by a tenth of train that was held out and quoted on all of dev",
        "dev": "chosen and quoted on the same dev set, as the papers did: optimistic",
    }
    source = sources.get(
        str(study.meta.get("selection")), "chosen on the select half, quoted on the report half"
    )
    return (
        f"Configurations are {source}. Ranked by mean select score over replicates (± sd over them); optimism "
        "is select minus report in points; the score is the mean over tasks of the metric mapped to [0, 1]; "
        "full dev contains the examples that chose, and is for comparing with others' numbers only."
    )


def _ensemble_note(tables: StudyTables) -> str:
    if not tables.ensembles:
        return "No stored predictions to build an ensemble from."
    halves = (
        "chosen on the select half, quoted on the report half"
        if all(one.halves_differ for one in tables.ensembles.values())
        else "chosen and quoted on the same examples: optimistic"
    )
    return (
        f"Greedy forward selection with replacement (Caruana 2004) for each task, from stored predictions: {halves}. "
        "Gain: points over the trial that is best on the select half; its interval covers examples, not seeds."
    )


def _unfinished(study: Study, tables: StudyTables) -> tuple[str, pd.DataFrame | None]:
    trials = study.trials[study.trials["state"] != "complete"]
    if trials.empty:
        return "None." if len(study.trials) else "No trial has started.", None
    causes = trials["cause"].where(trials["cause"].notna(), "–")
    counts = trials.groupby([trials["state"], causes.rename("cause")], sort=True)["number"]
    table = pd.DataFrame(
        {
            "state": [state for (state, _), _ in counts],
            "cause": [str(cause) for (_, cause), _ in counts],
            "trials": [str(len(numbers)) for _, numbers in counts],
            "numbers": [_listed(numbers.tolist()) for _, numbers in counts],
        }
    )
    counted = "only the main effects count them" if tables.compared.when else "no table above counts them"
    return f"Pruned trials were stopped early because they were behind; {counted}.", table


def _factor_pictures(study: Study, tables: StudyTables) -> list[Picture]:
    names = short_names(study.factors)
    when = f" {tables.compared.when}" if tables.compared.when else ""
    drawn = [
        (f"factor_{place:02d}", f"{tables.metric}{when} by {factor.path}", figure)
        for place, factor in enumerate(study.factors)
        if (figure := plots.score_by_level(tables.compared.trials, factor, tables.metric, names[factor.path]))
    ]
    return [_picture(*one) for one in drawn]


def _training_pictures(study: Study, tables: StudyTables) -> list[Picture]:
    curves = plots.learning_curves(study.scored_epochs, study.trials)
    cost = plots.score_against_cost(study.trials, tables.metric)
    drawn = [
        ("learning_curves", "Select score by epoch, one line a trial", curves),
        ("score_against_cost", f"{tables.metric} against the cost of each complete trial", cost),
    ]
    return [_picture(name, caption, figure) for name, caption, figure in drawn if figure is not None]


def _picture(name: str, caption: str, figure: Figure) -> Picture:
    return Picture(name, caption.replace("/", " "), plots.png(figure))


def _listed(numbers: list[int], most: int = 20) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more


if __name__ == "__main__":
    sys.exit(main())
