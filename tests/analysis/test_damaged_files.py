"""Files that are whole for their format and hold something else than a trial's: each is named, none gives a traceback."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState

from analysis import ablation_page, ensemble, errors, report
from analysis.common_epoch import at_common_epoch
from analysis.ensemble import best_trials
from analysis.errors import constant_predictors, forgetting
from analysis.growth import greedy_growth
from analysis.sections.ensembles import ensemble_sections
from analysis.sections.mistakes import error_sections
from analysis.sections.searched import searched_sections
from analysis.study import Study, load
from analysis.tables import compute_tables, summary_tables
from minbert.command_line import EXIT_FAILED, EXIT_USER, STORAGE_ADVICE, run
from minbert.errors import UserError
from minbert.files.sealed import seal_folder, sealed_line
from minbert.yaml_reader import sealed_yaml
from tests.analysis.conftest import StudyWriter
from tests.no_room import no_room

EXAMPLE = Path(__file__).parents[2] / "analysis" / "notebooks" / "example_study"
HEAD = "tasks.sts.head.kind"
BROKEN = 1
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def written(new_study: Callable[..., StudyWriter]) -> Path:
    """Three complete trials and one that was stopped early."""
    writer = new_study(examples=40, factors=[{"path": HEAD, "levels": ["cosine", "cross"]}])
    for place in range(4):
        state = TrialState.PRUNED if place == 3 else TrialState.COMPLETE
        writer.add(state, {HEAD: ("cosine", "cross")[place % 2]})
    return writer.path


def read_everything(study: Study) -> None:
    """What the report's tables and sections compute."""
    tables = compute_tables(study)
    summary_tables(study, tables)
    at_common_epoch(study)
    constant_predictors(study.scored_epochs)
    forgetting(study.history, list(study.tasks))
    greedy_growth({task: study.predictions(task) for task in study.tasks}, study.tasks)
    ensemble_sections(study, tables)
    error_sections(study)


def change_history(path: Path, numbers: range, change: Change) -> list[Path]:
    files = [path / "trials" / f"{number:05d}" / "history.jsonl" for number in numbers]
    for file in files:
        records = [json.loads(line) for line in file.read_text().splitlines()]
        for record in records:
            change(record)
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return files


HISTORIES: dict[str, tuple[Change, str]] = {
    "no stage": (lambda record: record.pop("stage"), "an epoch does not name its stage"),
    "no epoch": (lambda record: record.pop("epoch"), "an epoch has no number"),
    "a text as a score": (
        lambda record: record.update(select={"sst": "good", "score": 0.5}),
        "'select/sst' of an epoch is not a number",
    ),
    "a text as constant": (
        lambda record: record.update(constant="sst"),
        "'constant' of an epoch is not a list",
    ),
}


@pytest.mark.parametrize("numbers", [range(BROKEN, BROKEN + 1), range(4)])
@pytest.mark.parametrize("damage", HISTORIES)
def test_epochs_that_are_none_are_left_out_and_their_file_named(
    written: Path, damage: str, numbers: range
) -> None:
    change, reason = HISTORIES[damage]
    files = change_history(written, numbers, change)
    study = load(written)
    if len(numbers) > 1:
        read_everything(study)
    assert set(study.history["number"]) == set(range(4)) - set(numbers)
    assert [line.partition(": ")[0] for line in study.damage] == list(map(str, files))
    assert all(reason in line for line in study.damage)


@pytest.mark.parametrize("missing", ["select", "final_stage", "constant"])
def test_histories_without_scores_or_their_last_stage_are_read(written: Path, missing: str) -> None:
    change_history(written, range(4), lambda record: record.setdefault("constant", []))
    change_history(written, range(4), lambda record: record.pop(missing, None))
    study = load(written)
    read_everything(study)
    assert study.damage == []
    assert study.scored_epochs.empty == (missing == "select")
    assert constant_predictors(study.scored_epochs).empty


def test_without_scored_epochs_the_report_says_why_there_are_no_effects(written: Path) -> None:
    change_history(written, range(4), lambda record: record.pop("select", None))
    study = load(written)
    tables = compute_tables(study)
    effects, *others = searched_sections(study, tables)
    assert effects.note == "Histories lack scored epochs, so effects cannot be computed."
    assert (effects.title, others) == ("Main effects, not adjusted for other factors", [])


def test_an_epoch_or_a_file_that_changed_after_it_was_sealed_is_left_out(written: Path) -> None:
    study = load(written)
    history, outputs = study.trial_folder(0) / "history.jsonl", study.predictions_file(0, "sst")
    lines = [sealed_line(json.loads(line)) for line in history.read_text().splitlines()]
    history.write_bytes(b"\n".join([lines[0], lines[1].replace(b"1.3", b"1.2"), *lines[2:], b""]))
    seal_folder(outputs.parent)
    assert set(study.predictions("sst")["number"]) == {0, 1, 2}
    pd.read_parquet(outputs).iloc[::-1].to_parquet(outputs)
    assert set(study.predictions("sst")["number"]) == {1, 2}
    assert (study.history["number"] == 0).sum() == len(lines) - 1
    assert sorted(study.damaged) == [history, outputs]
    assert study.damaged[history] == "an epoch is not what was written"
    assert f"{outputs}: is not what was written (its checksum differs); left out" in study.damage


CONFIGS: dict[str, Callable[[str], str]] = {
    "cut": lambda text: text[:-10],
    "cut in its first line": lambda text: text[:40],
    "cut in its first word": lambda text: text[:4],
    "empty": lambda text: "",
    "a changed digit": lambda text: text.replace("seed: 7", "seed: 8"),
}


@pytest.mark.parametrize("damage", CONFIGS)
def test_a_trials_damaged_configuration_is_named_and_its_figures_stay(
    written: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = sealed_yaml({"seed": 7, "pooling": "mean"})
    files = [written / "trials" / f"{number:05d}" / "config.yaml" for number in range(4)]
    for file in files:
        file.write_text(whole)
    assert report.main([str(written)]) == 0
    assert capsys.readouterr().err == ""
    scores = load(written).trials["score"].tolist()
    files[0].write_text("seed: 7\n")  # the user's own
    files[2].write_text(CONFIGS[damage](whole))
    assert report.main([str(written)]) == 0
    line = (
        f"{files[2]}: is not what was written (its checksum differs); bring it back from a copy before the trial is "
        "trained again"
    )
    assert capsys.readouterr().err == f"warning: {line}\n"
    assert line in (written / "report.md").read_text()
    assert load(written).trials["score"].tolist() == scores


@pytest.mark.parametrize("text", ["seed: [", "poling: cls\n"])
def test_a_configuration_without_a_checksum_is_named_where_it_is_read(
    written: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written / "trials" / f"{best_trials(load(written))[0]:05d}" / "config.yaml"
    file.write_text(text)
    assert report.main([str(written)]) == 0
    said = f"{file}: is no configuration; bring it back from a copy before the trial is trained again"
    assert capsys.readouterr().err == f"warning: {said}\n"
    assert run(partial(errors.main, [str(written)])) == EXIT_USER
    assert capsys.readouterr().err.startswith(f"error: {file}:1: ")


def test_the_copy_of_a_study_yaml_that_was_cut_is_refused_by_every_reader(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written / "study.yaml"
    file.write_text(sealed_yaml(yaml.safe_load(file.read_text())))
    assert report.main([str(written)]) == 0
    capsys.readouterr()
    file.write_text(file.read_text()[:-20])
    for command in (report, ablation_page, errors):
        assert run(partial(command.main, [str(written)])) == EXIT_USER
        said = capsys.readouterr().err
        assert said.startswith(f"error: {file}: damaged: its first line says another content; ")


OUTPUTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "text as an output": ("sst", {"output_0": "0.5"}, "output_0 is of type large_string"),
    "text as a label": ("sts", {"label": "1"}, "label is of type large_string"),
    "numbers as ids": ("qqp", {"id": range(50)}, "id is of type int64"),
    "a class too high": ("sst", {"label": 5.0}, "a label is none of the 5 classes"),
    "half a class": ("sst", {"label": 0.5}, "a label is none of the 5 classes"),
    "no yes or no": ("qqp", {"label": 2.0}, "a label is none of the 2 classes"),
    "a class below": ("qqp", {"label": -1.0}, "a label is none of the 2 classes"),
    "an endless label": ("sts", {"label": float("inf")}, "a label is not a number"),
    "another output": ("sts", {"output_1": 0.5}, "has 2 output columns where regression has 1"),
}


def change_outputs(study: Study, number: int, damage: str) -> Path:
    task, columns, _ = OUTPUTS[damage]
    file = study.predictions_file(number, task)
    pd.read_parquet(file).assign(**columns).to_parquet(file)
    return file


@pytest.mark.parametrize("damage", OUTPUTS)
def test_predictions_that_are_none_count_as_not_stored_and_are_named(written: Path, damage: str) -> None:
    study = load(written)
    file = change_outputs(study, BROKEN, damage)
    task, _, reason = OUTPUTS[damage]
    assert set(study.predictions(task)["number"]) == {0, 2}
    assert study.damage == [f"{file}: {reason}; left out"]


def test_commands_do_without_predictions_that_are_none(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load(written)
    damages = ["text as an output", "no yes or no", "another output"]
    files = [change_outputs(study, number, damage) for number, damage in enumerate(damages)]
    read_everything(study)
    assert set(study.damaged) == set(files)
    assert ensemble.main([str(written), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for number, damage in enumerate(damages):
        task, _, reason = OUTPUTS[damage]
        assert f"{task}: left out, as they have a damaged file: {number}\n" in said
        assert f"warning: {files[number]}: {reason}" in said


def test_a_study_that_says_other_classes_than_its_files_have_names_them(written: Path) -> None:
    meta = yaml.safe_load((written / "study.yaml").read_text())
    meta["tasks"]["sst"]["classes"] = 3
    (written / "study.yaml").write_text(yaml.safe_dump(meta))
    study = load(written)
    compute_tables(study)
    assert len(study.damage) == 3  # of a trial that was stopped early nothing is asked for
    assert "has 5 output columns where classification has 3" in study.damage[0]


def test_a_report_begins_with_the_first_damaged_files_and_counts_the_others(
    new_study: Callable[..., StudyWriter], capsys: pytest.CaptureFixture[str]
) -> None:
    writer = new_study(examples=40, factors=[{"path": HEAD, "levels": ["cosine", "cross"]}])
    for place in range(12):
        writer.add(TrialState.COMPLETE, {HEAD: ("cosine", "cross")[place % 2]})
    files = [load(writer.path).predictions_file(number, "sst") for number in range(12)]
    for file in files:
        file.write_bytes(b"PAR1")
    assert report.main([str(writer.path)]) == 0
    said = capsys.readouterr().err
    assert all(f"warning: {file}: " in said for file in files)
    bold = [line for line in (writer.path / "report.md").read_text().splitlines() if line.startswith("> **")]
    named = [line for line in bold if "sst.parquet" in line]
    assert [str(file) in line for file, line in zip(files, named, strict=False)] == [True] * 10
    assert len(named) == 10 and bold[-1] == "> **and 2 more damaged files**"
    files[0].unlink()
    files[1].unlink()
    report.main([str(writer.path)])
    assert "more damaged file" not in (writer.path / "report.md").read_text()


def test_a_digit_that_changed_in_a_sealed_journal_record_is_refused_by_its_line(written: Path) -> None:
    file = written / "journal.log"
    lines = [sealed_line(json.loads(line)) for line in file.read_text().splitlines()]
    file.write_bytes(b"\n".join([*lines, b""]))
    scores = load(written).trials["score"]
    place = len(lines) - 2
    digit = re.search(rb'"select/score": 0\.(\d)', lines[place])
    assert digit is not None
    changed = lines[place].replace(digit[0], digit[0][:-1] + b"%d" % (9 - int(digit[1])))
    assert changed != lines[place]
    file.write_bytes(b"\n".join([*lines[:-2], changed, lines[-1], b""]))
    with pytest.raises(UserError, match=rf"journal\.log:{place + 1}: damaged \(the checksum does not fit\)"):
        _ = load(written).trials
    file.write_bytes(b"\n".join([*lines[:-1], b""]))
    assert load(written).trials["score"].tolist() == scores.tolist()[:-1]


def test_trials_that_the_journal_does_not_know_are_named_in_one_line_and_left_out(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written / "journal.log"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-2]))
    shutil.copytree(written / "trials" / "00000", written / "trials" / "00010")
    known = load(written).trials["number"].tolist()
    assert report.main([str(written)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    lost = ", ".join(f"{number:05d}" for number in (*range(len(known), 4), 10))
    assert known == [0, 1] and line == (
        f"warning: {written / 'trials'}: {lost}: not in journal.log, which lost its end; left out"
    )
    assert line.removeprefix("warning: ") in (written / "report.md").read_text()


@pytest.mark.parametrize("content", [None, b""])
def test_commands_say_that_the_journal_is_lost(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    assert report.main([str(written)]) == 0
    before = {file: (written / file).read_bytes() for file in ("report.md", "report.html")}
    capsys.readouterr()
    (written / "journal.log").unlink()
    if content is not None:
        (written / "journal.log").write_bytes(content)
    state = "is gone" if content is None else "is empty"
    way_out = "it is the only account of them: bring it back from a copy"
    one_factor = tmp_path / "one_factor"
    shutil.copytree(written, one_factor)
    meta = yaml.safe_load((one_factor / "study.yaml").read_text())
    (one_factor / "study.yaml").write_text(yaml.safe_dump({**meta, "design": "one_factor"}))
    for path, command in (
        (written, partial(ablation_page.main, [str(written)])),
        (one_factor, partial(ablation_page.main, [str(one_factor)])),
        (written, partial(ensemble.main, [str(written), "--out", str(tmp_path / "out")])),
        (written, partial(errors.main, [str(written)])),
        (written, partial(errors.main, [str(written), "--trial", "0"])),
        (written, partial(report.main, [str(written)])),
    ):
        assert run(command) == EXIT_USER
        told = capsys.readouterr()
        assert (told.out, told.err) == (
            "",
            f"error: {path}: 4 trial folders are there, but journal.log {state}; {way_out}\n",
        )
    assert {file: (written / file).read_bytes() for file in before} == before


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [("data", {"notes": 3}, "data.notes"), ("space", 3, "space"), ("data", 3, "data")],
)
def test_a_study_yaml_of_which_a_part_is_of_another_kind_is_named(
    written: Path, capsys: pytest.CaptureFixture[str], key: str, value: Any, where: str
) -> None:
    file = written / "study.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), key: value}))
    assert report.main([str(written)]) == EXIT_USER
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}: damaged at {where}: ") and said.count("\n") == 1


def change_journal(path: Path, key: str, change: Change) -> int:
    """Change the last record that has a key; returns its line."""
    file = path / "journal.log"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    place = max(place for place, record in enumerate(records) if key in record)
    change(records[place])
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return place + 1


@pytest.mark.parametrize("key", ["study_id", "study_name", "op_code", "distributions"])
def test_a_journal_record_that_lacks_something_is_named_by_its_line(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    line = change_journal(written, key, lambda record: record.pop(key))
    # What is then missing may show only where the record is used.
    journal = written / "journal.log"
    journal.write_text(journal.read_text() + journal.read_text().splitlines()[-1] + "\n")
    assert run(partial(ensemble.main, [str(written), "--out", str(tmp_path / "out")])) == EXIT_USER
    said = capsys.readouterr().err
    assert said.startswith(f"error: {journal}:{line}: damaged (")
    assert said.count("\n") == 1


def test_attributes_of_a_trial_that_are_no_numbers_are_damage(written: Path) -> None:
    change_journal(
        written, "user_attrs", lambda record: record["user_attrs"]["metrics"].update({"dev/sst": "good"})
    )
    with pytest.raises(UserError, match=r"journal\.log: damaged: of trial \d+: its metrics is "):
        _ = load(written).trials


def as_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("text")


GONE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "all trials": (lambda path: shutil.rmtree(path / "trials"), "trials", "is gone"),
    "a file for the trials": (lambda path: as_file(path / "trials"), "trials", "is no folder"),
    "a trial": (lambda path: shutil.rmtree(path / "trials" / "00001"), "trials/00001", "is gone"),
    "a history": (
        lambda path: (path / "trials" / "00001" / "history.jsonl").unlink(),
        "trials/00001/history.jsonl",
        "is gone",
    ),
    "a configuration": (
        lambda path: (path / "trials" / "00001" / "config.yaml").unlink(),
        "trials/00001/config.yaml",
        "is gone; bring it back from a copy",
    ),
}


@pytest.mark.parametrize("gone", GONE)
def test_a_report_names_what_is_gone(written: Path, capsys: pytest.CaptureFixture[str], gone: str) -> None:
    remove, what, reason = GONE[gone]
    remove(written)
    assert report.main([str(written)]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {written / what}: {reason}")
    page = (written / "report.md").read_text()
    assert f"> **{written / what}: {reason}" in page
    assert "The data are not where they were" not in page


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_report_names_an_epoch_that_is_missing_from_a_history(
    written: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    file = written / "trials" / "00001" / "history.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:place] + lines[place + 1 :]))
    assert report.main([str(written)]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning == f"warning: {file}: line {place + 1} is missing; left out"


def test_nothing_is_gone_of_a_trial_that_has_not_ended(written: Path) -> None:
    change_journal(written, "state", lambda record: record.update(state=TrialState.FAIL.value, values=None))
    number = int(load(written).trials.query("state == 'failed'")["number"].item())
    shutil.rmtree(written / "trials" / f"{number:05d}")
    study = load(written)
    assert len(study.history) and study.damage == []


def deep(path: Path) -> None:
    path.write_text("[" * 100_000 + "\n")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HISTORIES_THAT_ARE_NONE: dict[str, tuple[Callable[[Path], object], str]] = {
    "nested without end": (deep, "an epoch is not what was written"),
    "a folder": (folder, "is not a file"),
    "an epoch of 400 digits": (
        lambda path: path.write_text('{"stage": "finetune", "epoch": ' + "9" * 400 + "}\n"),
        "an epoch has no number",
    ),
    "a score of 400 digits": (
        lambda path: path.write_text(
            '{"stage": "finetune", "epoch": 1, "select": {"score": ' + "9" * 400 + "}}\n"
        ),
        "'select/score' of an epoch is not a number",
    ),
}


@pytest.mark.parametrize("kind", HISTORIES_THAT_ARE_NONE)
def test_a_history_that_is_none_is_left_out_and_named(written: Path, kind: str) -> None:
    spoil, reason = HISTORIES_THAT_ARE_NONE[kind]
    file = written / "trials" / f"{BROKEN:05d}" / "history.jsonl"
    spoil(file)
    study = load(written)
    assert set(study.history["number"]) == {0, 2, 3}
    assert study.damage == [f"{file}: {reason}; left out"]


STUDIES_THAT_ARE_NONE = {
    "a number of thousands of digits": ("extra: " + 5000 * "9", "extra: '99"),
    "nested without end": ("extra: " + 3000 * "[", "nested too deeply"),
    "aliases that multiply": (
        "a0: &a0 [x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 4)}]\n" for i in range(1, 14)),
        "values, aliases counted where they are used",
    ),
}


@pytest.mark.parametrize("kind", STUDIES_THAT_ARE_NONE)
def test_a_study_yaml_that_is_none_is_named_by_its_line(
    written: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    text, reason = STUDIES_THAT_ARE_NONE[kind]
    with (written / "study.yaml").open("a") as file:
        file.write(text + "\n")
    assert report.main([str(written)]) == EXIT_USER
    said = capsys.readouterr().err
    assert said.startswith(f"error: {written / 'study.yaml'}: damaged at line ") and said.count("\n") == 1
    assert reason in said and len(said) < 700


def test_a_day_that_no_calendar_has_is_a_text(written: Path) -> None:
    with (written / "study.yaml").open("a") as file:
        file.write("made: 2026-99-99\n")
    assert load(written).meta["made"] == "2026-99-99"


def test_a_journal_nested_without_end_is_named_by_its_line(written: Path) -> None:
    file = written / "journal.log"
    file.write_text("[" * 100_000 + "\n" + file.read_text())
    with pytest.raises(UserError, match=r"journal\.log:1: damaged"):
        _ = load(written).trials


def test_a_report_that_has_no_room_leaves_nothing(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(written)]) == 0
    before = (written / "report.html").read_bytes()
    (tmp_path / "small").write_bytes(bytes(30_000))
    for out in (tmp_path / "new" / "out", written):
        capsys.readouterr()
        with no_room(tmp_path / "small"):
            assert run(partial(report.main, [str(written), "--out", str(out)])) == EXIT_FAILED
        said = capsys.readouterr().err
        assert said.startswith(f"error: {out}") and said.count("\n") == 1
        assert said.endswith(f"File too large; {STORAGE_ADVICE}\n")
    assert not (tmp_path / "new").exists() and (written / "report.html").read_bytes() == before


def test_an_ensemble_that_has_no_room_is_storage_that_failed_and_leaves_nothing(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small").write_bytes(bytes(100))
    with no_room(tmp_path / "small"):
        code = run(partial(ensemble.main, [str(written), "--out", str(tmp_path / "new")]))
    assert code == EXIT_FAILED
    assert capsys.readouterr().err == f"error: {tmp_path / 'new'}: File too large; {STORAGE_ADVICE}\n"
    assert not (tmp_path / "new").exists()


def test_a_study_yaml_of_another_study_is_named_in_one_line_by_every_command(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = yaml.safe_load((written / "study.yaml").read_text())
    other = {"factors": [{"path": "pooling", "levels": ["mean", "cls"]}]}
    (written / "study.yaml").write_text(yaml.safe_dump({**meta, **other}))
    said = (
        f"warning: {written / 'study.yaml'}: is another study's than journal.log: trial 0 has a value of "
        f"{HEAD}, which is none of its factors; bring the one back that was made with it\n"
    )
    for command in (
        partial(report.main, [str(written)]),
        partial(ablation_page.main, [str(written)]),
        partial(ensemble.main, [str(written), "--out", str(tmp_path / "out")]),
    ):
        assert run(command) == 0
        told = capsys.readouterr()
        assert (told.out + told.err).count(said) == 1
    assert said.removeprefix("warning: ").strip() in (written / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"factors": [{"path": HEAD, "levels": ["cosine"]}]},
            f"journal.log: trial 1 has {HEAD} 'cross', which",
        ),
        ({"baseline": "other"}, "journal.log: no trial is of its base or of a level beside it; "),
        ({"baseline": "other", "comparisons": [{"factor": HEAD, "level": "cross", "config_id": "c1"}]}, ""),
        (
            {"data": {"fingerprint": "other"}},
            "data.fingerprint is other in the one and ebb31fe2a154dec7 in the",
        ),
        (
            {"encoder": {"fingerprint": "o" * 40}},
            "trials/00000/config.yaml: encoder.fingerprint is oooooooooooooooo",
        ),
        ({"data": {}}, ""),
        ({"factors": []}, ""),
        ({}, ""),
    ],
)
def test_what_no_search_changes_tells_a_study_yaml_of_another_study(
    new_study: Callable[..., Any], change: dict[str, Any], said: str
) -> None:
    factors = [{"path": HEAD, "levels": ["cosine", "cross"]}]
    config = yaml.safe_load((EXAMPLE / "trials" / "00000" / "config.yaml").read_text())
    writer = new_study(**{"factors": factors, "data": config["data"], "encoder": config["encoder"]})
    for head in ("cosine", "cross"):
        number = writer.add(TrialState.COMPLETE, {HEAD: head})
        (writer.path / "trials" / f"{number:05d}" / "config.yaml").write_text(yaml.safe_dump(config))
    (writer.path / "study.yaml").write_text(yaml.safe_dump({**writer.meta, **change}))
    damage = load(writer.path).damage
    assert len(damage) == bool(said) and said in "".join(damage)
    assert load(EXAMPLE).damage == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space_fingerprint": "o" * 9}, f"space is '{'o' * 9}' in the one and '{'s' * 9}' in the other"),
        ({"seed": 8}, "seed is 8 in the one and 7 in the other"),
        ({"encoder": {"fingerprint": "other"}}, "encoder is 'other' in the one and 'eeee"),
        ({"precision": "bf16"}, "precision is 'bf16' in the one and 'fp32' in the other"),
        ({"factors": []}, ""),
        ({"baseline": "none that is there"}, ""),
        ({}, ""),
    ],
)
def test_a_journal_that_says_which_study_it_is_of_is_believed(
    new_study: Callable[..., StudyWriter], change: dict[str, Any], said: str
) -> None:
    writer = new_study(space_fingerprint="s" * 9)
    of = {"precision": "fp32", "space": "s" * 9, "seed": 7, "data": "d" * 40, "encoder": "e" * 40}
    writer.journal.set_user_attr("of", of)
    writer.add(TrialState.COMPLETE, {HEAD: "cosine"})
    (writer.path / "study.yaml").write_text(yaml.safe_dump({**writer.meta, **change}))
    damage = load(writer.path).damage
    assert len(damage) == bool(said) and said in "".join(damage)
