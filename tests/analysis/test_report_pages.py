from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from analysis import ensemble
from analysis.description import Factor
from analysis.ensemble import best_trials
from analysis.number_text import markdown_table
from analysis.provenance import continue_command
from analysis.report import main, summary_tables
from analysis.selection import METHODS
from analysis.settings_text import short_names
from analysis.study import Study, load
from minbert.command_line import run
from tests.analysis.conftest import TASKS

PLAIN = {"tasks.sts.head.kind": "cross", "stages.finetune.sampler.kind": "sequential"}
HEAD_ONLY = [{"path": "tasks.sts.head.kind", "levels": ["cosine", "concat", "cross"]}]


class Page(HTMLParser):
    """Collects what a page loads, its tables and whether its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.rows = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        self.rows += tag == "tr"
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report(path: Path, out: Path) -> tuple[str, Page]:
    assert main([str(path), "--out", str(out)]) == 0
    return (out / "report.md").read_text(), Page((out / "report.html").read_text())


@pytest.fixture(scope="module")
def written(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    """The report of the searched study: its folder, Markdown and page."""
    out = tmp_path_factory.mktemp("report")
    return out, *report(searched, out)


def test_the_first_lines_say_what_was_searched_what_won_and_how_sure(written: tuple[Path, str, Page]) -> None:
    _, markdown, _ = written
    top = markdown.split("## ", maxsplit=1)[0]
    assert "the space small_ablation with 6 factors over the tasks sst, qqp, sts" in top
    assert "33 trials of 40 asked for (30 complete, 1 stopped early, 1 failed, 1 begun)" in top
    assert "The study is not finished." in top
    assert "sts.head=cross" in top
    assert re.search(r"points against the second best \(95% interval [+-]\d", top)
    assert "sts.head cross instead of cosine" in top
    assert "What matters:** after epoch 3 of 3: " in top
    assert "bundled miniature" in top
    assert "not the papers'" in top


def test_the_report_holds_every_section_and_picture(written: tuple[Path, str, Page], searched: Path) -> None:
    out, markdown, page = written
    assert re.findall("^## (.*)", markdown, re.MULTILINE) == [
        "Top configurations",
        "Main effects after epoch 3 of 3",
        "Importance",
        "Interactions",
        "Pareto front of the tasks",
        "Ensemble",
        "Ensemble methods",
        f"Errors of trial {best_trials(load(searched))[0]}",
        "Training",
        "Trials that did not complete",
        "Behind the numbers",
    ]
    pictures = re.findall(r"!\[.*?\]\(report_pictures/(.*?)\.png\)", markdown)
    factors = [f"factor_{place:02d}" for place in range(6)]
    assert pictures == [
        *("scores_by_task", "effects", *factors, "interaction_1", "interaction_2", "pareto", "hypervolume"),
        *("ensemble_growth", "confusion_sst", "learning_curves", "train_against_dev", "tasks_over_training"),
        *("score_against_cost", "timeline"),
    ]
    files = [out / "report_pictures" / f"{name}.png" for name in pictures]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert "Nothing can be said about texts" in markdown
    assert "select half" in markdown
    assert "report half" in markdown
    assert "2 rows without a label skipped" in markdown
    assert "python -m trainables.search --space small_ablation" in markdown
    assert page.rows > 20
    assert page.open == []


def test_the_page_needs_no_network(written: tuple[Path, str, Page]) -> None:
    out, _, page = written
    assert len(page.loads) > 25
    assert all(address.startswith(("data:", "#")) for address in page.loads)
    assert "http" not in re.sub(r"base64,[^\"]*", "", (out / "report.html").read_text())


def test_the_contents_lead_to_every_section(written: tuple[Path, str, Page]) -> None:
    out, markdown, _ = written
    text = (out / "report.html").read_text()
    links = dict(re.findall('<a href="#(.*?)">(.*?)</a>', text))
    headings = dict(re.findall('<h2 id="(.*?)">(.*?)</h2>', text))
    assert links == headings
    assert list(links.values()) == re.findall("^## (.*)", markdown, re.MULTILINE)


def test_what_a_search_suggests_comes_with_the_command_that_tests_it(
    written: tuple[Path, str, Page],
) -> None:
    _, markdown, _ = written
    effects, interactions = (
        markdown.split(f"## {title}")[1].split("\n## ")[0] for title in ("Main effects", "Interactions")
    )
    assert "Put the effect of sts.head to the test" in effects
    assert "--design one_factor --around" in effects
    assert "Put the interaction of" in interactions
    assert "--design grid --replicates 5" in interactions


def test_every_method_of_ensembles_is_compared_on_the_score(written: tuple[Path, str, Page]) -> None:
    _, markdown, _ = written
    rows = markdown.split("## Ensemble methods")[1].split("\n## ")[0]
    assert re.findall(r"^\| (\w+) \|", rows, re.MULTILINE) == ["method", *METHODS]


def test_a_large_space_has_few_pictures_and_all_factors_in_the_table(
    new_study: Callable[..., Any], tmp_path: Path
) -> None:
    names = [f"extra{place}" for place in range(12)]
    writer = new_study(factors=[{"path": name, "levels": [0, 1]} for name in names])
    random = np.random.default_rng(5)
    for place in range(40):
        levels = {name: int(random.integers(2)) for name in names}
        score = 0.5 + 0.1 * levels["extra7"] + 0.01 * float(random.normal())
        metrics = {f"{half}/{name}": score for half in ("select", "report") for name in (*TASKS, "score")}
        writer.journal.add_trial(
            create_trial(
                value=score,
                params=levels,
                distributions=dict.fromkeys(names, CategoricalDistribution([0, 1])),
                user_attrs={"config_id": f"c{place}", "metrics": metrics},
            )
        )
    markdown, _ = report(writer.path, tmp_path / "out")
    assert len(re.findall(r"\(report_pictures/factor_", markdown)) == 8
    assert "factor_07.png" in markdown
    assert all(f"| {name} |" in markdown for name in names)


def test_title_headline_note_and_pictures_name_the_epoch_that_effects_are_taken_at(
    new_study: Callable[..., Any], tmp_path: Path
) -> None:
    writer = new_study(factors=HEAD_ONLY)
    for place in range(12):
        settings = {**PLAIN, "tasks.sts.head.kind": ("cosine", "cross")[place % 2]}
        first = 0.5 + 0.1 * (place % 2) + 0.001 * place
        if place < 4:
            writer.add_curve(TrialState.COMPLETE, settings, [first, first + 0.1])
        else:
            writer.add_curve(TrialState.PRUNED, settings, [first])
    assert list(summary_tables(load(writer.path)))[1] == "Main effects after epoch 1 of 2"
    markdown, _ = report(writer.path, tmp_path / "out")
    assert "What matters:** after epoch 1 of 2: sts.head cross instead of cosine +10.1 points" in markdown
    assert "## Main effects after epoch 1 of 2\n\nScores after epoch 1 of 2 of all 12 trials" in markdown
    assert "at full length the effects may differ" in markdown
    assert "better = sure" in markdown
    assert "worse =" not in markdown
    assert "![report score after epoch 1 of 2 by tasks.sts.head.kind]" in markdown
    assert "only the main effects count them" in markdown


def test_replicates_turn_the_winners_interval_into_one_over_seeds(
    new_study: Callable[..., Any], tmp_path: Path
) -> None:
    writer = new_study(factors=HEAD_ONLY)
    for replicate in range(3):
        for head in ("cosine", "cross"):
            settings = {**PLAIN, "tasks.sts.head.kind": head}
            writer.add(TrialState.COMPLETE, settings, config_id=head, replicate=replicate)
    markdown, _ = report(writer.path, tmp_path / "out")
    assert "trials 1, 3, 5, report score" in markdown
    assert "over examples and seeds): a real difference" in markdown


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([], "no trial has run yet"),
        (
            [TrialState.PRUNED, TrialState.PRUNED],
            "no trial is complete yet|Scores after epoch 1 of 1 of all 2 trials",
        ),
        ([TrialState.RUNNING], "no trial is complete yet|No trial is complete or was stopped early yet."),
        ([TrialState.FAIL, TrialState.FAIL], "every trial failed. Causes: oom (2)"),
        ([TrialState.COMPLETE], "only one configuration is complete"),
        ([TrialState.COMPLETE, TrialState.COMPLETE], "difference of level means"),
    ],
)
def test_unfinished_empty_and_failed_studies_say_so(
    new_study: Callable[..., Any], tmp_path: Path, trials: list[TrialState], said: str
) -> None:
    writer = new_study(factors=HEAD_ONLY)
    for state in trials:
        writer.add(state, PLAIN, **({"cause": "oom"} if state == TrialState.FAIL else {}))
    markdown, page = report(writer.path, tmp_path / "out")
    assert all(sentence in markdown for sentence in said.split("|"))
    assert page.open == []


def test_a_complete_trial_without_stored_files_is_still_reported(
    new_study: Callable[..., Any], tmp_path: Path
) -> None:
    writer = new_study(factors=[])
    for _ in range(2):
        number = writer.add(TrialState.COMPLETE, PLAIN)
        for file in (writer.path / "trials" / f"{number:05d}").rglob("*.*"):
            file.unlink()
    markdown, _ = report(writer.path, tmp_path / "out")
    assert "no interval can be given: trials 0, 1: no stored predictions." in markdown
    assert "No stored predictions to build an ensemble from." in markdown


def test_own_data_and_encoder_carry_no_warning_and_stand_in_the_command(
    new_study: Callable[..., Any],
) -> None:
    source = {"fingerprint": "f", "bundled": False}
    writer = new_study(data={"path": "/my data", **source}, encoder={"path": "/bert", **source}, factors=[])
    study = load(writer.path)
    assert continue_command(study).endswith(
        "--data '/my data' --encoder /bert --trials 30 --replicates 1 --seed 7"
    )
    writer.add(TrialState.COMPLETE, PLAIN)
    main([str(writer.path)])
    assert "bundled" not in (writer.path / "report.md").read_text()


@pytest.mark.parametrize(
    ("source", "argument"),
    [("/installed/search_spaces/small_ablation.yaml", "small_ablation"), ("/my/own.yaml", "/my/own.yaml")],
)
def test_the_command_names_the_space_as_it_was_given(
    new_study: Callable[..., Any], source: str, argument: str
) -> None:
    study = load(new_study(space={"name": "small_ablation", "source": source}).path)
    assert f"trainables.search --space {argument} --study {study.path} " in continue_command(study)


def test_a_stored_command_is_quoted_as_it_is(new_study: Callable[..., Any]) -> None:
    assert continue_command(load(new_study(command="run --set a=1").path)) == "run --set a=1"


def test_text_from_a_study_cannot_break_the_page(new_study: Callable[..., Any], tmp_path: Path) -> None:
    writer = new_study(name="<script>alert(1)</script>")
    writer.add(TrialState.FAIL, PLAIN, cause="a|b <b>")
    markdown, page = report(writer.path, tmp_path / "out")
    assert "a\\|b" in markdown
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text()
    assert page.open == []


def test_a_users_mistake_is_one_line_and_exit_code_2_without_torch_or_ray(tmp_path: Path) -> None:
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print(sorted({'torch', 'ray', 'trainables'} & set(sys.modules))))\n"
        "runpy.run_module('analysis.report', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "nowhere")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stdout == "[]\n"
    assert ran.stderr == f"error: {tmp_path / 'nowhere'}: no such folder\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--out", ""], "--out: it is empty"), (["--ou", "x"], "unrecognized arguments: --ou x")],
)
def test_an_empty_folder_name_and_abbreviations_are_refused(
    new_study: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    path = new_study().path
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([str(path), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "here").iterdir()) and not (path / "report.md").exists()


def test_an_unwritable_folder_is_named(
    new_study: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main([str(new_study().path), "--out", str(blocked / "out")]) == 2
    assert re.fullmatch(r"error: .*file.*cannot be written.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("/dev/null", "/dev/null: not a folder"),
        ("/proc/self", "/proc/self: cannot be written: No such file or directory"),
        ("/proc/new", "/proc/new: cannot be written: No such file or directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(
    new_study: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    out: str,
    said: str,
) -> None:
    def computed(study: Study) -> NoReturn:
        raise AssertionError("something was computed")

    path = str(new_study().path)
    monkeypatch.setattr("analysis.report.compute_tables", computed)
    assert main([path, "--out", out]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"
    monkeypatch.setattr(ensemble, "best_trials", computed)
    if out != "/proc/self":  # it holds something
        assert run(partial(ensemble.main, [path, "--out", out])) == 2
        assert re.fullmatch(r"error: --out /(dev/null|proc/new): [^\n]*\n", capsys.readouterr().err)


def test_summary_tables_are_strings_for_a_terminal(searched: Path) -> None:
    tables = summary_tables(load(searched), top=3)
    assert list(tables) == ["Top configurations", "Main effects after epoch 3 of 3", "Ensemble"]
    assert len(tables["Top configurations"]) == 3
    assert all(isinstance(cell, str) for frame in tables.values() for cell in frame.to_numpy().ravel())
    assert not any("nan" in cell for frame in tables.values() for cell in frame.to_numpy().ravel())


def test_short_names_stay_apart() -> None:
    paths = ["tasks.sts.head.kind", "stages.finetune.dropout", "tasks.a", "stages.a"]
    assert list(short_names([Factor(path=path) for path in paths]).values()) == [
        "sts.head",
        "finetune.dropout",
        "tasks.a",
        "stages.a",
    ]


def test_markdown_cells_are_escaped() -> None:
    assert markdown_table(pd.DataFrame({"a": ["x|y"]})) == "| a |\n| --- |\n| x\\|y |"
