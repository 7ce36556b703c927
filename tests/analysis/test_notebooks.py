"""The committed notebooks: their outputs are those of their code, and fit to be read where nothing runs."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat import NotebookNode
from optuna.trial import TrialState

from analysis.notebooks import open_study, table
from analysis.notebooks.cells import FOLDER
from analysis.notebooks.execute import KERNEL, execute, main, notebooks
from minbert.errors import UserError

NAMES = ("ablation", "ensemble", "errors", "leaderboard")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|var|opt|usr)\b|[A-Z]:\\\\|0x[0-9a-f]{6}")


@pytest.fixture(params=NAMES)
def file(request: pytest.FixtureRequest) -> Path:
    return FOLDER / f"{request.param}.ipynb"


def read(file: Path) -> NotebookNode:
    return nbformat.read(file, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: NotebookNode) -> dict[str, str]:
    """What a cell put out, by output and kind; of a picture only that there is one."""
    texts: dict[str, str] = {}
    for place, output in enumerate(cell.outputs):
        for kind, content in output.get("data", {output.output_type: str(output.get("text"))}).items():
            texts[f"output {place}: {kind}"] = "a picture" if kind.startswith("image/") else content
    return texts


def differences(one: NotebookNode, other: NotebookNode) -> Iterator[str]:
    """Where the outputs of two notebooks differ by more than one in the last place of a number."""
    for place, (mine, its) in enumerate(zip_longest(code(one), code(other)), 1):
        if mine is None or its is None or shown(mine).keys() != shown(its).keys():
            yield f"cell {place}: other outputs"
            continue
        for name, text in shown(mine).items():
            if not close(text, shown(its)[name]):
                yield f"cell {place}, {name}:\n{text}\nnow:\n{shown(its)[name]}"


def close(one: str, other: str) -> bool:
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(
        abs(float(mine) - float(its)) <= (1.001 * 10 ** -len(mine.partition(".")[2]) if "." in mine else 0)
        for mine, its in pairs
    )


def paragraphs(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_what_is_no_study_is_said_once_and_nothing_is_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no such folder"):
        main(["--study", str(tmp_path / "nowhere"), "--out", str(out)])
    study = shutil.copytree(FOLDER / "example_study", tmp_path / "study")
    (study / "journal.log").unlink()
    with pytest.raises(UserError, match=r"journal\.log is gone"):
        main(["--study", str(study), "--out", str(out)])
    assert not out.exists()


def test_there_is_a_notebook_for_each_of_the_four_questions() -> None:
    assert tuple(file.stem for file in notebooks()) == NAMES


def test_run_again_a_notebook_shows_what_was_committed(file: Path) -> None:
    committed, again = read(file), execute(file)
    assert list(differences(committed, again)) == []
    for notebook in (committed, again):
        for cell in code(notebook):
            cell.outputs = []
    assert again == committed


def test_the_comparison_sees_what_changed_but_for_the_last_place_of_a_number() -> None:
    def ran(text: str, kind: str = "text/html", data: str = "iVBOR") -> NotebookNode:
        outputs = [
            nbformat.v4.new_output("display_data", {kind: text}),
            nbformat.v4.new_output("execute_result", {"image/png": data}, execution_count=1),
        ]
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)])

    one = ran("round_robin 5 -0.721 +8.1")
    assert list(differences(one, ran("round_robin 5 -0.722 +8.0"))) == []
    assert list(differences(one, ran("round_robin 5 -0.721 +8.1", data="R0lGO"))) == []
    for text in ("annealed 5 -0.721 +8.1", "round_robin 6 -0.721 +8.1", "round_robin 5 -0.723 +8.1"):
        assert len(list(differences(one, ran(text)))) == 1
    assert len(list(differences(one, ran("round_robin 5 0.721 +8.1")))) == 1
    assert list(differences(one, ran("round_robin 5 -0.721 +8.1", "text/plain"))) == ["cell 1: other outputs"]
    drawn_less = copy.deepcopy(one)
    del drawn_less.cells[0].outputs[1]
    assert list(differences(one, drawn_less)) == ["cell 1: other outputs"]
    assert list(differences(one, nbformat.v4.new_notebook())) == ["cell 1: other outputs"]


def test_every_notebook_is_committed_with_tables_and_pictures_and_no_error(file: Path) -> None:
    cells = code(read(file))
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") >= 1
    assert kinds.count("text/html") >= 2
    assert {output.output_type for output in outputs} <= {"execute_result", "display_data"}
    assert all(cell.outputs for cell in cells[1:])  # the first one names the study
    assert all("None" not in shown(cell).values() for cell in cells)


def test_cells_are_short_and_prose_stands_between(file: Path) -> None:
    notebook = read(file)
    lengths = {cell.source: len(cell.source.splitlines()) for cell in code(notebook)}
    assert [source for source, lines in lengths.items() if lines > 8] == []
    assert notebook.cells[0].cell_type == "markdown"
    assert code(notebook)[0].source == 'STUDY = "example_study"'
    assert "STUDY" in notebook.cells[0].source
    assert re.search("[Nn]ot to be concluded|not a pattern", paragraphs(notebook))


def test_nothing_of_the_machine_or_the_moment_is_kept(file: Path) -> None:
    notebook = read(file)
    assert notebook.metadata == KERNEL
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags"}
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    texts = [text for cell in cells for text in (cell.source, *shown(cell).values())]
    assert [text for text in [*texts, paragraphs(notebook)] if MACHINE.search(text)] == []
    assert file.stat().st_size < 700_000


def test_links_between_notebooks_lead_somewhere(file: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", paragraphs(read(file)))
    assert [link for link in links if not (FOLDER / link).exists()] == []


def test_study_may_be_another_one(new_study: Callable[..., Any], tmp_path: Path) -> None:
    writer = new_study("own", name="a_study_of_my_own")
    for head in ("cosine", "concat", "cross"):
        writer.add(TrialState.COMPLETE, {"tasks.sts.head.kind": head})
    mine = execute(FOLDER / "leaderboard.ipynb", str(writer.path))
    texts = "\n".join(text for cell in code(mine) for text in shown(cell).values())
    assert "a_study_of_my_own" in texts
    assert "essentials" not in texts
    assert "(3 complete), 3 configurations" in texts
    assert 'STUDY = "example_study"' in (FOLDER / "leaderboard.ipynb").read_text().replace('\\"', '"')


def test_a_cell_that_fails_is_told_in_one_line_with_its_notebook(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ipynb"
    cell = nbformat.v4.new_code_cell('raise ValueError("no such column")')
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), broken)
    with pytest.raises(UserError, match=r"^broken\.ipynb: ValueError: no such column$"):
        execute(broken)


def test_another_study_never_overwrites_the_committed_notebooks(tmp_path: Path) -> None:
    for arguments in (["--study", str(tmp_path)], ["--out", str(tmp_path)]):
        with pytest.raises(UserError, match="--study and --out go together"):
            main(arguments)


def test_a_study_is_found_from_here_beside_the_notebooks_and_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("example_study", "analysis/notebooks/example_study", FOLDER / "example_study"):
        assert open_study(path).path.resolve() == FOLDER / "example_study"
    (tmp_path / "example_study").mkdir()
    shutil.copy(FOLDER / "example_study" / "study.yaml", tmp_path / "example_study")
    assert open_study("example_study").path.resolve() == tmp_path / "example_study"
    with pytest.raises(UserError, match=r"^results/none: no such folder$"):
        open_study("results/none")


def test_a_table_shows_whole_texts_escaped_and_a_dash_for_what_is_missing() -> None:
    long = "a < b " * 40
    one = table(pd.DataFrame({"text": [long, "± 0.1"], "value": [0.5, np.nan]}), "sst & qqp")
    html = one._repr_html_()
    assert html.startswith("<p><b>sst &amp; qqp</b></p>")
    assert long.replace("<", "&lt;").strip() in html
    assert "±\N{NO-BREAK SPACE}0.1" in html
    assert "NaN" not in html and "NaN" not in repr(one)
    assert long.strip() in repr(one) and repr(one).startswith("sst & qqp")
