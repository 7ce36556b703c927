"""Files survive a crash at any moment: old or new content, never half."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from minbert.files.durable import (
    append_json,
    exclusive,
    publish_folder,
    read_json_lines,
    settle_folder,
    write_text,
)
from minbert.files.sealed import CHECKSUMS


def test_text_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "zwei")
    assert (tmp_path / "a").read_text() == "zwei"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("torn", ["", '{"n": 3', '{"n": 3}'])
def test_a_torn_last_line_is_not_read_and_the_next_record_replaces_it(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert read_json_lines(path) == []
    append_json(path, {"n": 1})
    append_json(path, {"n": 2})
    with path.open("a") as file:
        file.write(torn)
    assert read_json_lines(path) == [{"n": 1}, {"n": 2}]
    append_json(path, {"n": 4})
    assert read_json_lines(path) == [{"n": 1}, {"n": 2}, {"n": 4}]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "best"
    with pytest.raises(ZeroDivisionError), publish_folder(target) as folder:
        (folder / "half").write_text("x")
        raise ZeroDivisionError
    assert not list(target.parent.iterdir())
    for text in ("old", "new"):
        with publish_folder(target) as folder:
            (folder / text).write_text(text)
            assert not (target / text).exists()
    assert [path.name for path in sorted(target.iterdir(), reverse=True)] == ["new", CHECKSUMS]
    assert [path.name for path in target.parent.iterdir()] == ["best"]


def test_settling_brings_back_what_a_crash_left_aside_and_clears_the_rest(tmp_path: Path) -> None:
    for name in (".best.1.old", ".best.2.tmp", ".other.3.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    settle_folder(tmp_path / "best")
    assert (tmp_path / "best" / "file").read_text() == ".best.1.old"
    (tmp_path / ".best.4.old").mkdir()
    settle_folder(tmp_path / "best")
    assert (tmp_path / "best" / "file").read_text() == ".best.1.old", "a published folder stays"
    assert {path.name for path in tmp_path.iterdir()} == {"best", ".other.3.tmp"}


def test_a_held_lock_is_refused_and_a_released_one_is_free(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "lock", 0),
        pytest.raises(TimeoutError, match="held by another process"),
        exclusive(tmp_path / "lock", 0),
    ):
        pass
    with exclusive(tmp_path / "lock", 0):
        pass


def test_whoever_has_patience_gets_a_lock_once_it_is_let_go(tmp_path: Path) -> None:
    taken = threading.Event()

    def hold() -> None:
        with exclusive(tmp_path / "lock", 0):
            taken.set()
            time.sleep(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    with exclusive(tmp_path / "lock", 60):
        assert taken.is_set()
    holder.join()


def test_a_folder_that_somebody_else_published_meanwhile_is_replaced_unless_it_may_stay(
    tmp_path: Path,
) -> None:
    for stays, left in ((True, "theirs"), (False, "ours")):
        target = tmp_path / left
        with publish_folder(target, stays=lambda stays=stays: stays) as ours:  # type: ignore[misc]
            (ours / "ours").touch()
            with publish_folder(target) as theirs:
                (theirs / "theirs").touch()
        assert (target / left).exists()
        assert sorted(path.name for path in target.iterdir()) == sorted([left, CHECKSUMS])
    assert not list(tmp_path.glob(".*"))


def test_text_that_cannot_take_its_place_is_not_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "a", "one")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
