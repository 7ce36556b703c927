"""No publishing step is left out: a process is killed at each, here, in the chaos studies, or in a test named here.

The steps are read from the source. So a new one, or a new use of the functions that publish, turns a test red until it
is killed somewhere.
"""

from __future__ import annotations

import ast
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest

import analysis
import minbert
import trainables
from analysis.report import PICTURES, place_report
from minbert.files import failpoints
from minbert.files.durable import append_json, publish_folder, read_json_lines, settle_folder, write_text
from minbert.files.leftovers import beside, clear_abandoned, clear_abandoned_of
from minbert.files.sealed import is_intact
from tests.trainables.test_chaos import IN_THE_DRIVER, ON_DAMAGE, ON_WORKERS
from tests.trainables.test_lost_workers import REUSED
from tests.trainables.test_remote_chaos import SENT_BY_A_STUDY, SENT_BY_STAGES

ROOT = Path(__file__).parents[2]
STEPS = {
    "write_text": {"written"},
    "append_json": {"before", "after"},
    "publish_folder": {"filled", "retired", "placed"},
    "settle_folder": {"brought_back"},
}
"""What each of the functions of minbert.files.durable that publish passes, behind the name of what it publishes."""
OF_A_REPORT = {f"{PICTURES}.{step}" for step in ("filled", "placed", "retired", "brought_back")} | {
    "report.written"
}
"""Killed below."""
ANY_NAME = "tests/trainables/test_failpoints.py::test_whatever_is_published_is_as_it_was_or_as_it_is_wherever_it_is_killed"
FETCHED = "tests/minbert/test_fetch.py::test_a_run_that_was_interrupted_is_gone_on_with_by_the_next"
EXPORTED = "tests/trainables/test_export.py::test_an_export_that_is_killed_leaves_nothing_that_looks_whole"
FORKED = "tests/trainables/test_fork.py::test_a_search_killed_while_it_took_over_ends_as_if_undisturbed"
SENT = "tests/trainables/test_remote_chaos.py::test_wherever_it_dies_whoever_goes_on_comes_to_the_same_end"
USES = {
    "analysis/report.py publish_folder(out / PICTURES)": PICTURES,
    "analysis/report.py settle_folder(out / PICTURES)": PICTURES,
    "analysis/report.py write_text(out / name)": "report",
    "analysis/submission.py publish_folder(out.absolute())": ANY_NAME,  # a new folder, of the user's name
    "minbert/choice.py publish_folder(folder)": "best",
    "minbert/choice.py publish_folder(self._folder / 'predictions')": "predictions",
    "minbert/choice.py publish_folder(stored)": "predictions",
    "minbert/choice.py settle_folder(self._folder / 'best' / task)": ANY_NAME,  # as best, one for each task
    "minbert/choice.py settle_folder(self._folder / 'best')": "best",
    "minbert/choice.py settle_folder(self._folder / 'predictions')": "predictions",
    "minbert/corpora/tokenised.py publish_folder(folder)": "corpus",
    "minbert/exported_files.py write_text(folder / 'tokenizer_config.json')": EXPORTED,  # in a folder not yet placed
    "minbert/exported_files.py write_text(folder / CONFIG)": EXPORTED,
    "minbert/exported_files.py write_text(folder / MANIFEST)": EXPORTED,
    "minbert/hub/record.py write_text(inside / 'README.md')": FETCHED,
    "minbert/hub/record.py write_text(inside / 'SHA256SUMS')": FETCHED,
    "minbert/hub/record.py write_text(inside / 'sources.json')": FETCHED,
    "minbert/memory_splits.py append_json(self._file)": ANY_NAME,  # memory has to run out for it
    "minbert/remote/sealed_copies.py publish_folder(folder)": SENT,
    "minbert/stages.py publish_folder(self.folder / key)": "stages",
    "minbert/stages.py write_text(self._failure_file(key))": ANY_NAME,  # a stage has to fail for it
    "minbert/time_limits.py write_text(self._folder / TIMEOUT)": ANY_NAME,  # of a process that ends itself right after
    "minbert/trial.py write_text(file)": "config",
    "minbert/trial_log.py append_json(self._folder / 'history.jsonl')": "history",
    "minbert/trial_log.py publish_folder(self._folder / 'checkpoint')": "checkpoint",
    "minbert/trial_log.py settle_folder(self._folder / 'checkpoint')": "checkpoint",
    "trainables/export.py publish_folder(target)": EXPORTED,
    "trainables/studies/fork.py publish_folder(stages / entry.name)": FORKED,
    "trainables/studies/fork.py publish_folder(target)": FORKED,
    "trainables/studies/remote_study.py publish_folder(folder)": SENT,
    "trainables/machines/shipping.py publish_folder(folder)": ANY_NAME,  # needs a cluster of several machines
    "trainables/studies/study.py write_text(path / 'study.yaml')": "study",
}
"""Every use of these functions: the name of its steps where the chaos studies or a test below reach them all; else the
test in which it is killed, or one that kills the function wherever it is used."""

STORE = "minbert/remote/object_store.py"
CHANGES = {
    "write": {"sending", "sent"},
    "upload": {"sending", "sent"},
    "copy": {"sending", "sent"},
    "delete": {"removed"},
    "delete_folder": {"removed"},
}
"""What each of the methods of an object store that change something passes, behind the name of what it changes."""
CHANGED_ELSEWHERE = {
    "minbert/remote/journal_segments.py Segments.restore": "tests/trainables/test_remote_chaos.py::"
    "test_a_damaged_piece_of_the_journal_is_sent_again_also_after_a_driver_that_was_killed_meanwhile",
    "minbert/remote/mirrored_stages.py MirroredStageStore.failure": "tests/minbert/test_mirror.py::"
    "test_a_failing_stage_that_was_noted_and_not_told_is_told_by_whoever_looks_there",
    "minbert/remote/sealed_copies.py fetch_sealed": "tests/minbert/test_mirror.py::"
    "test_a_damaged_sealed_folder_is_not_taken",  # and is removed by whoever finds it
}
"""Who changes something in a store only where something is damaged or was not sent: the test of it."""


@cache
def sources() -> dict[str, ast.Module]:
    places = [Path(package.__path__[0]) for package in (analysis, minbert, trainables)]
    texts = {
        path: path.read_text(encoding="utf-8") for place in places for path in sorted(place.rglob("*.py"))
    }
    words = ("durable", "failpoints", "object_store")
    publishing = {path: text for path, text in texts.items() if any(word in text for word in words)}
    return {str(path.relative_to(ROOT)): ast.parse(text) for path, text in publishing.items()}


def test_every_step_of_the_publishing_functions_is_known() -> None:
    found: dict[str, set[str]] = {}
    for function in sources()["minbert/files/durable.py"].body:
        for call in filter(is_reach, ast.walk(function)):
            assert isinstance(function, ast.FunctionDef) and isinstance(call, ast.Call)
            assert isinstance(call.args[0], ast.JoinedStr)
            name = {"_place": "publish_folder"}.get(function.name, function.name)
            found.setdefault(name, set()).add(ast.unparse(call.args[0]).strip("'\"").rpartition(".")[2])
    assert found == STEPS


def test_every_use_of_the_publishing_functions_is_killed_somewhere() -> None:
    used = {
        use
        for file, tree in sources().items()
        if file != "minbert/files/durable.py"
        for use in uses(file, tree)
    }
    assert used == set(USES)
    for test in USES.values():
        if "::" in test:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_failpoint_there_is_is_reached() -> None:
    points = set()
    for file, tree in sources().items():
        for call in filter(is_reach, ast.walk(tree)):
            assert isinstance(call, ast.Call)
            if file not in ("minbert/files/durable.py", STORE):
                points.add(ast.literal_eval(call.args[0]))
    for use, name in USES.items():
        if "::" not in name:
            points |= {f"{name}.{step}" for step in STEPS[use.split()[1].partition("(")[0]]}
    assert points == {*ON_WORKERS, *IN_THE_DRIVER, *ON_DAMAGE, *OF_A_REPORT, REUSED}


def test_every_step_of_a_change_in_a_store_is_known() -> None:
    (store,) = [node for node in sources()[STORE].body if getattr(node, "name", "") == "ObjectStore"]
    assert isinstance(store, ast.ClassDef)
    found: dict[str, set[str]] = {}
    for method in store.body:
        for call in filter(is_reach, ast.walk(method)):
            assert isinstance(method, ast.FunctionDef) and isinstance(call, ast.Call)
            found.setdefault(method.name, set()).add(ast.unparse(call.args[0]).strip("'").rpartition(".")[2])
    assert found == CHANGES


def test_whoever_changes_something_in_a_store_is_killed_there() -> None:
    found = {
        f"{file} {name}"
        for file, tree in sources().items()
        if file != STORE
        for name, function in functions(tree)
        if any(map(is_change, ast.walk(function)))
    }
    assert found - CHANGED_ELSEWHERE.keys() <= SENT_BY_A_STUDY | SENT_BY_STAGES
    assert CHANGED_ELSEWHERE.keys() <= found
    for test in CHANGED_ELSEWHERE.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Functions and methods, with what is defined inside them, by their names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from (
                (f"{node.name}.{name}", method) for name, method in functions(ast.Module(node.body, []))
            )


def is_change(node: ast.AST) -> bool:
    """Whether that changes something in a store; what has a method of such a name must be known to be one, or none."""
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES
    ):
        return False
    owner = ast.unparse(node.func.value)
    return bool(re.search(r"(^|[._])store(\.asking\(.*\))?$|^asked_once$", owner)) or node.func.attr in (
        "upload",
        "delete_folder",
    )


def is_reach(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach"


def uses(file: str, tree: ast.Module) -> Iterator[str]:
    """Calls of the publishing functions, and calls that are handed one; not what is written into a folder that is not yet placed."""
    handed_on = {id(node.args[0]) for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "minbert.files.durable":
            assert not [name.asname for name in node.names if name.asname]
        assert not (
            isinstance(node, ast.Attribute) and node.attr in STEPS and ast.unparse(node.value) == "durable"
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STEPS:
            target = ast.unparse(node.args[0])
            if not target.startswith("temporary / "):
                yield f"{file} {node.func.id}({target})"
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Name) and keyword.value.id in STEPS:
                    (given,) = [each.value for each in node.keywords if each.arg == "args"]
                    assert isinstance(given, ast.Tuple)
                    yield f"{file} {keyword.value.id}({ast.unparse(given.elts[0])})"
    assert not handed_on & {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in STEPS
    }


@pytest.fixture
def die_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Do something in a process that is killed at a failpoint, which must be reached."""
    armed = tmp_path / "armed"
    armed.mkdir()

    def die(point: str, work: Callable[[], object]) -> None:
        (armed / point).touch()
        child = os.fork()
        if not child:
            try:
                failpoints._ARMED = str(armed)
                work()
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, (
            f"{point} was not reached"
        )

    return die


Die = Callable[[str, Callable[[], object]], None]


def publish(target: Path, text: str) -> None:
    with publish_folder(target, of="it") as temporary:
        (temporary / "file").write_text(text)


def test_whatever_is_published_is_as_it_was_or_as_it_is_wherever_it_is_killed(
    tmp_path: Path, die_at: Die
) -> None:
    folder, text, lines = (
        tmp_path / "made" / "folder",
        tmp_path / "made" / "text.json",
        tmp_path / "made" / "lines.jsonl",
    )
    publish(folder, "old")
    write_text(text, "old")
    append_json(lines, {"line": 0})
    for step, content in (("filled", "old"), ("retired", "old"), ("placed", "new")):
        die_at(f"folder.{step}", partial(publish, folder, "new"))
        settle_folder(folder)
        assert is_intact(folder, "it") and (folder / "file").read_text() == content
    die_at("folder.retired", partial(publish, folder, "newer"))
    die_at("folder.brought_back", partial(settle_folder, folder))
    assert is_intact(folder, "it") and (folder / "file").read_text() == "new"
    die_at("text.written", partial(write_text, text, "new"))
    assert text.read_text() == "old"
    for step, known in (("before", 1), ("after", 2)):
        die_at(f"lines.{step}", partial(append_json, lines, {"line": 1}))
        assert read_json_lines(lines) == [{"line": number} for number in range(known)]
    clear_abandoned(tmp_path / "made")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "folder",
        "lines.jsonl",
        "text.json",
    ]


def test_a_report_that_is_killed_anywhere_leaves_nothing_behind_once_it_is_written_again(
    tmp_path: Path, die_at: Die
) -> None:
    out = tmp_path / "study"
    place = partial(place_report, out, {"report.md": "text", "report.html": "page"}, {"one.png": b"1"})
    place()
    for point in sorted(OF_A_REPORT - {f"{PICTURES}.brought_back"}):
        die_at(point, place)
        if point == f"{PICTURES}.retired":
            die_at(f"{PICTURES}.brought_back", place)
        place()
        assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.md", PICTURES]
        assert [path.name for path in (out / PICTURES).iterdir()] == ["one.png"]


def test_what_is_left_of_another_file_or_of_a_living_process_is_not_cleared(
    tmp_path: Path, die_at: Die
) -> None:
    text, other = tmp_path / "made" / "text.md", tmp_path / "made" / "text.md.old.md"
    text.parent.mkdir()
    die_at("text.written", partial(write_text, text, "new"))
    die_at("text.md.old.written", partial(write_text, other, "new"))
    assert len(list(text.parent.iterdir())) == 2
    living = beside(text, "tmp")
    living.touch()
    clear_abandoned_of(text)
    kept = sorted(text.parent.iterdir(), key=lambda path: path == living)
    assert kept[0].name.startswith(".text.md.old.md.") and kept[1:] == [living]
