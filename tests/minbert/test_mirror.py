"""A folder in an object store and its copies; the store is a folder here, so that a machine's death costs no time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minbert.errors import TrainingFailure, UserError
from minbert.files.sealed import seal_folder, sealed_line
from minbert.remote.journal_segments import Segments
from minbert.remote.mirror import RECORD, Mirror, read_published
from minbert.remote.mirrored_stages import MirroredStageStore
from minbert.remote.object_store import ObjectStore, below, open_store
from minbert.remote.sealed_copies import fetch_sealed, send_sealed
from minbert.stages import StageState


class Dead(Exception):
    """Stands for a power cut: nobody catches it."""


class MortalStore(ObjectStore):
    """A store whose user dies after so many changes."""

    changes_left: float = float("inf")

    def _count(self) -> None:
        self.changes_left -= 1
        if self.changes_left < 0:
            raise Dead

    def upload(self, file: Path, name: str) -> None:
        self._count()
        super().upload(file, name)

    def write(self, name: str, content: bytes) -> None:
        self._count()
        super().write(name, content)

    def copy(self, source: str, target: str) -> None:
        self._count()
        super().copy(source, target)


@pytest.fixture
def store(tmp_path: Path) -> MortalStore:
    url = (tmp_path / "store").as_uri()
    opened = open_store(url)
    return MortalStore(url, opened._files, opened._base)


@pytest.fixture
def machine(tmp_path: Path, store: MortalStore) -> Callable[[str], tuple[Path, Mirror]]:
    """A copy of the folder on a machine of that name."""

    def make(name: str) -> tuple[Path, Mirror]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return folder, Mirror(store, "trials/00000", folder)

    return make


def write(folder: Path, **files: str) -> None:
    """Write files; ``best__model`` is ``best/model``."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


FIRST = {"history": "1", "best__model": "a", "checkpoint__state": "one"}
SECOND = {"history": "1 2", "best__model": "b", "checkpoint__state": "two", "predictions__sst": "new"}


def test_another_machine_pulls_what_was_published(machine: Callable[[str], tuple[Path, Mirror]]) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish()
    write(here, **SECOND)
    (here / "history").rename(here / "renamed")
    mirror.publish()
    there, other = machine("there")
    write(there, history="of an older start", stale="no more")
    other.pull()
    assert content(there) == content(here)


def test_the_store_holds_the_files_under_their_names(
    machine: Callable[[str], tuple[Path, Mirror]], tmp_path: Path
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish()
    write(here, **SECOND)
    mirror.publish()
    stored = content(tmp_path / "store" / "trials" / "00000")
    assert stored.pop(RECORD)
    assert stored == content(here)


def test_only_what_changed_is_sent(machine: Callable[[str], tuple[Path, Mirror]], store: MortalStore) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish()
    store.changes_left = 0
    mirror.publish()
    (here / "history").touch()
    mirror.publish()
    store.changes_left = 1 + 1 + 1 + 1  # beside it, the record, to its place, the record
    write(here, history="1 2")
    mirror.publish()


def test_wherever_the_writer_dies_the_folder_is_as_it_was_or_as_it_is(
    machine: Callable[[str], tuple[Path, Mirror]], store: MortalStore, tmp_path: Path
) -> None:
    seen = set()
    for changes in range(40):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        store.changes_left = float("inf")
        here, mirror = machine(f"here{changes}")
        write(here, **FIRST)
        mirror.publish()
        before = content(here)
        write(here, **SECOND)
        (here / "best" / "model").unlink()
        after = content(here)
        store.changes_left = changes
        try:
            mirror.publish()
            finished = True
        except Dead:
            finished = False
        store.changes_left = float("inf")
        there, other = machine(f"there{changes}")
        other.pull()
        found = content(there)
        assert found in (before, after)
        seen.add(found == after)
        write(there, history="1 2 3")  # whoever goes on there publishes as if nothing had been
        other.publish()
        third, last = machine(f"third{changes}")
        last.pull()
        assert content(third) == content(there)
        if finished:
            assert found == after
            break
    else:
        pytest.fail("it never ended")
    assert seen == {False, True}


def test_whoever_was_given_up_changes_nothing(machine: Callable[[str], tuple[Path, Mirror]]) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish()
    before = content(here)
    write(here, **SECOND)

    def given_up() -> None:
        raise Dead

    with pytest.raises(Dead):
        mirror.publish(given_up)
    there, other = machine("there")
    other.pull()
    assert content(there) == before


def test_an_object_that_is_not_what_was_published_is_left_out_and_sent_anew(
    machine: Callable[[str], tuple[Path, Mirror]], tmp_path: Path
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish()
    (tmp_path / "store" / "trials" / "00000" / "best" / "model").write_text("x")
    there, other = machine("there")
    other.pull()
    assert "best/model" not in content(there)
    assert content(there)["history"] == "1"
    write(there, best__model="made again")
    other.publish()
    third, last = machine("third")
    last.pull()
    assert content(third) == content(there)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", ""])
def test_a_record_that_leads_out_of_the_folder_counts_as_none(
    machine: Callable[[str], tuple[Path, Mirror]], store: MortalStore, name: str
) -> None:
    line = sealed_line({"files": {name: [1, "0" * 64]}, "moving": []})
    store.write(f"trials/00000/{RECORD}", line)
    assert read_published(store, "trials/00000").files == {}


@pytest.mark.parametrize("text", [b"", b"nothing", b"[]", b'{"files": 3}', b'{"files": {}, "moving": ["a"]}'])
def test_a_damaged_record_counts_as_none(store: MortalStore, text: bytes) -> None:
    store.write(f"trials/00000/{RECORD}", text)
    assert read_published(store, "trials/00000").files == {}


def test_dropped_folders_are_gone_for_everybody(
    machine: Callable[[str], tuple[Path, Mirror]], tmp_path: Path
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish()
    machine("driver")[1].drop(["checkpoint", "best"])
    there, other = machine("there")
    other.pull()
    assert content(there) == {"history": "1"}
    assert set(content(tmp_path / "store" / "trials" / "00000")) == {"history", RECORD}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    folder.mkdir()
    write(folder, first="1", below__second="2")
    seal_folder(folder, "corpus")
    return folder


def test_a_sealed_folder_arrives_whole(store: MortalStore, sealed: Path, tmp_path: Path) -> None:
    send_sealed(store, sealed, "corpus/key")
    assert fetch_sealed(store, "corpus/key", tmp_path / "there", "corpus")
    assert content(tmp_path / "there") == content(sealed)
    store.changes_left = 0
    send_sealed(store, sealed, "corpus/key")


@pytest.mark.parametrize("changes", [0, 1, 2])
def test_a_sealed_folder_that_was_sent_in_part_is_not_there(
    store: MortalStore, sealed: Path, tmp_path: Path, changes: int
) -> None:
    store.changes_left = changes
    with pytest.raises(Dead):
        send_sealed(store, sealed, "corpus/key")
    assert not fetch_sealed(store, "corpus/key", tmp_path / "there")


def test_a_damaged_sealed_folder_is_not_taken(store: MortalStore, sealed: Path, tmp_path: Path) -> None:
    send_sealed(store, sealed, "corpus/key")
    store.write("corpus/key/first", b"x")
    assert not fetch_sealed(store, "corpus/key", tmp_path / "there")
    store.delete(["corpus/key/first"])
    assert not fetch_sealed(store, "corpus/key", tmp_path / "there")
    store.write("corpus/key/first", b"1")
    assert fetch_sealed(store, "corpus/key", tmp_path / "there")


def test_a_growing_file_is_read_as_it_was_appended(store: MortalStore, tmp_path: Path) -> None:
    file, segments = tmp_path / "journal.log", Segments(store)
    for text in (b"one\n", b"two\n", b"three\n"):
        with file.open("ab") as opened:
            opened.write(text)
        segments.append(file)
    assert Segments(store).fetch() == file.read_bytes()
    assert Segments(store).fetch(b"one\ntwo\n") == file.read_bytes()


def test_what_was_fetched_of_a_growing_file_is_not_asked_for_again(
    store: MortalStore, tmp_path: Path
) -> None:
    file, segments = tmp_path / "journal.log", Segments(store)
    file.write_bytes(b"one\n")
    segments.append(file)
    assert Segments(store).fetch(b"ONE\n") == b"ONE\n"
    assert Segments(store).fetch(b"on") == b"one\n"


def test_a_growing_file_that_lacks_a_part_is_refused(store: MortalStore, tmp_path: Path) -> None:
    file, segments = tmp_path / "journal.log", Segments(store)
    for text in (b"one\n", b"two\n", b"three\n"):
        with file.open("ab") as opened:
            opened.write(text)
        segments.append(file)
    store.delete(["journal/000000000004"])
    with pytest.raises(UserError, match="journal/000000000004 is missing or was changed"):
        Segments(store).fetch()


def test_whoever_finds_that_another_one_wrote_on_writes_nothing(store: MortalStore, tmp_path: Path) -> None:
    file, first, second = tmp_path / "journal.log", Segments(store), Segments(store)
    file.write_bytes(b"one\n")
    first.append(file)
    file.write_bytes(b"another\n")
    with pytest.raises(OSError, match="another search"):
        second.append(file)
    assert Segments(store).fetch() == b"one\n"


def _state(value: float) -> StageState:
    return StageState({"w": torch.full((64,), value)}, {}, 3, 1.5, {"train_loss": value})


def _stage_store(url: str, place: Path, room: float = 1e9) -> MirroredStageStore:
    return MirroredStageStore(open_store(url), place, room)


def test_a_stage_that_one_machine_made_is_taken_on_another(store: MortalStore, tmp_path: Path) -> None:
    here, there = (_stage_store(store.url, tmp_path / name) for name in ("here", "there"))
    assert here.get("key") is None
    here.put("key", _state(1.0))
    assert there.has("key")
    taken = there.get("key")
    assert taken is not None
    assert torch.equal(taken.weights["w"], torch.ones(64))
    assert taken.facts == {"train_loss": 1.0}


def test_a_stage_that_another_machine_published_stays(store: MortalStore, tmp_path: Path) -> None:
    _stage_store(store.url, tmp_path / "here").put("key", _state(1.0))
    _stage_store(store.url, tmp_path / "there").put("key", _state(2.0))
    taken = _stage_store(store.url, tmp_path / "third").get("key")
    assert taken is not None
    assert taken.facts == {"train_loss": 1.0}


def test_a_damaged_stage_is_made_again(store: MortalStore, tmp_path: Path) -> None:
    _stage_store(store.url, tmp_path / "here").put("key", _state(1.0))
    store.write("key/state.safetensors", b"x")
    there = _stage_store(store.url, tmp_path / "there")
    assert there.get("key") is None
    there.put("key", _state(1.0))
    assert _stage_store(store.url, tmp_path / "third").get("key") is not None


def test_a_failing_stage_is_known_on_every_machine(store: MortalStore, tmp_path: Path) -> None:
    _stage_store(store.url, tmp_path / "here").put_failure("key", TrainingFailure("nan", "no number"))
    known = _stage_store(store.url, tmp_path / "there").failure("key")
    assert known is not None
    assert (known.cause, str(known)) == ("nan", "no number")


def test_the_oldest_stages_make_room(store: MortalStore, tmp_path: Path) -> None:
    here = _stage_store(store.url, tmp_path / "here")
    for key in ("first", "second", "third"):
        here.put(key, _state(1.0))
    size = sum(stored.size for name, stored in store.names("first").items())
    assert here.collect(1.5 * size, {"first"}) == 2
    there = _stage_store(store.url, tmp_path / "there")
    assert [there.has(key) for key in ("first", "second", "third")] == [True, False, False]
    assert [there.get(key) is not None for key in ("first", "second", "third")] == [True, False, False]


def test_a_machine_keeps_no_more_fetched_stages_than_it_has_room_for(
    store: MortalStore, tmp_path: Path
) -> None:
    here, there = (_stage_store(store.url, tmp_path / name, 1000.0) for name in ("here", "there"))
    for key in ("first", "second", "third"):
        here.put(key, _state(1.0))
    assert all(there.get(key) is not None for key in ("first", "second", "third"))
    assert len([entry for entry in (tmp_path / "there").iterdir() if entry.is_dir()]) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s4://bucket/study", "s4:// is not possible; s3://bucket/folder is, or a path; did you mean 's3'"),
        ("http://bucket/study", "http:// is not possible"),
        ("s3://", "a bucket and a folder in it are needed"),
        ("s3://bucket", "a bucket and a folder in it are needed"),
        ("s3://bucket/", "a bucket and a folder in it are needed"),
        ("s3:///study", "a bucket and a folder in it are needed"),
        ("s3://bucket/a//b", "must not be empty"),
        ("s3://bucket/../b", "must not be empty"),
        ("s3://bucket/a#b", "# is not possible"),
        ("s3://key:secret@bucket/study", "secrets do not belong in a URL"),
        ("s3://bucket/a b", "Cannot parse URI"),
        ("s3://bucket/a?region=x&colour=red", "Unexpected query parameter in S3 URI: 'colour'"),
        ("s3://[bucket/a", "s3://bucket/folder is possible"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        open_store(url, "--study")
    assert said in str(refused.value)
    assert "secret@" not in str(refused.value)


def test_what_lies_below_a_url_keeps_its_options() -> None:
    assert below("s3://bucket/a/?region=x", "trials", "0") == "s3://bucket/a/trials/0?region=x"
