"""Write a study's report: ``python -m analysis.report STUDY [--out DIR]``.

report.md (with its pictures in report_pictures/) and report.html, one file that needs no network.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import jinja2

from analysis.headline import headline
from analysis.listed import is_listed
from analysis.listed_forms import paper_of
from analysis.number_text import markdown_table
from analysis.paper_setting import OTHER, UNCHECKED, other_setting, unchecked_data
from analysis.provenance import bundled_warning, refuse_lost_journal
from analysis.sections import report_sections
from analysis.study import Study, load
from analysis.tables import compute_tables, summary_tables
from minbert.command_line import EXIT_USER, Parser, local_path, nameable, refuse_unwritable, run
from minbert.errors import UserError
from minbert.files.durable import publish_folder, settle_folder, write_text
from minbert.files.inside_study import refuse_search_folders
from minbert.files.leftovers import clear_abandoned_of
from minbert.files.storage import why_refused
from minbert.files.strangers import refuse_link_out

__all__ = ["main", "place_report", "summary_tables", "write_report"]

PICTURES = "report_pictures"
_TEXTS = ("report.md", "report.html")
DAMAGED_SHOWN = 10


def write_report(study: Study, out: Path) -> tuple[Path, Path]:
    """Write report.md and report.html into ``out`` and return their paths.

    Raises:
        UserError: the study is damaged, its journal is lost, or ``out`` cannot be written.
    """
    refuse_lost_journal(study)
    refuse_unwritable(out, str(out))
    for name in (*_TEXTS, PICTURES):
        refuse_link_out(out / name, out)
    tables = compute_tables(study)
    sections = report_sections(study, tables)
    context = {
        "title": study.name,
        "lines": headline(study, tables),
        "warnings": [*_warnings(study), *_damage(study)],
        "sections": sections,
        "pictures_folder": PICTURES,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "markdown_table": markdown_table,
    }
    texts = {
        "report.md": _template("report.md.j2", autoescape=False).render(context),
        "report.html": _template("report.html.j2", autoescape=True).render(context),
    }
    place_report(out, texts, {f"{each.name}.png": each.data for one in sections for each in one.pictures})
    markdown, page = (out / name for name in texts)
    return markdown, page


def place_report(out: Path, texts: Mapping[str, str], pictures: Mapping[str, bytes]) -> None:
    """Put the files of a report in place of an earlier one's, and clear what a killed command left of them.

    Raises:
        UserError: ``out`` cannot be written.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        settle_folder(out / PICTURES)
        with publish_folder(out / PICTURES, sealed=False) as folder:
            for name, data in pictures.items():
                (folder / name).write_bytes(data)
        for name, text in texts.items():
            clear_abandoned_of(out / name)
            write_text(out / name, text)
    except OSError as error:
        if made:
            _leave_no_trace(out, made)
        raise UserError(f"{error.filename or out}: cannot be written: {why_refused(error, out)}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = Parser(
        prog="python -m analysis.report",
        allow_abbrev=False,
        description="Write report.md and a self-contained report.html for a study folder. Works on finished, "
        "running and empty studies, and never changes the study's own files.",
    )
    parser.add_argument(
        "study", type=nameable, metavar="STUDY", help="the study folder, such as results/full_ablation"
    )
    parser.add_argument(
        "--out", type=local_path, metavar="DIR", help="where to write (default: the study folder)"
    )
    try:
        options = parser.parse_args(arguments)
        if options.out is not None:
            refuse_search_folders(options.out, f"--out {options.out}")
        study = load(options.study)
        for path in write_report(study, options.out or study.path):
            print(path)
        for line in study.damage:
            print(f"warning: {line}", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    return 0


def _leave_no_trace(out: Path, made: list[Path]) -> None:
    """Remove a report that was not finished, and the folders that were made for it (innermost first)."""
    with suppress(OSError):  # somebody else has put something there; or its storage is away
        shutil.rmtree(out / PICTURES, ignore_errors=True)
        for name in _TEXTS:
            (out / name).unlink(missing_ok=True)
        for folder in made:
            if folder.exists():
                folder.rmdir()


def _warnings(study: Study) -> list[str]:
    """What a reader must know before the first number, a sentence each."""
    if is_listed(study) and paper_of(study):
        differs, unchecked = "; ".join(other_setting(study)), unchecked_data(study)
        found = (
            [f"{OTHER.capitalize()}: {differs}. The paper's numbers cannot be compared with these."]
            if differs
            else []
        )
        found += [f"{UNCHECKED.capitalize()}: {unchecked}."] if unchecked and not differs else []
    else:
        found = [bundled_warning(study)]
    return [text for text in found if text]


def _damage(study: Study) -> list[str]:
    """A line for each of the first damaged files; the command that writes the report names them all."""
    lines = study.damage
    more = len(lines) - DAMAGED_SHOWN
    return [
        *lines[:DAMAGED_SHOWN],
        *([f"and {more} more damaged file{'s' * (more > 1)}"] if more > 0 else []),
    ]


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


if __name__ == "__main__":
    sys.exit(run(main))
