"""A folder in an object store and its copies; the store is a folder here, so that a machine's death costs no time."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.errors import TrainingFailure, UserError
from minbert.files.sealed import seal_folder, sealed_line
from minbert.remote.journal_segments import Segments
from minbert.remote.mirror import RECORDS, Mirror, read_published
from minbert.remote.mirrored_stages import MirroredStageStore
from minbert.remote.object_store import ObjectStore, open_store
from minbert.remote.sealed_copies import fetch_sealed, send_sealed
from minbert.remote.urls import below
from minbert.stages import LocalStageStore, StageState


class Dead(Exception):
    """Stands for a power cut: nobody catches it."""


class Changes(ObjectStore):
    """A store in which every change to it passes one place."""

    def change(self, make: Callable[[], None]) -> None:
        make()

    def upload(self, file: Path, name: str) -> None:
        content = file.read_bytes()
        self.change(lambda: super(Changes, self).write(name, content))

    def write(self, name: str, content: bytes) -> None:
        self.change(lambda: super(Changes, self).write(name, content))

    def copy(self, source: str, target: str) -> None:
        self.change(lambda: super(Changes, self).copy(source, target))

    def delete(self, names: Iterable[str]) -> None:
        for name in list(names):
            self.change(lambda name=name: super(Changes, self).delete([name]))  # type: ignore[misc]

    def delete_folder(self, name: str) -> None:
        self.change(lambda: super(Changes, self).delete_folder(name))


class MortalStore(Changes):
    """A store whose user dies after so many changes."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self._left = [float("inf")]

    def live(self, changes: float) -> None:
        self._left[0] = changes

    def change(self, make: Callable[[], None]) -> None:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise Dead
        make()


class LateStore(Changes):
    """A store in which changes arrive late: from one on, as of a sender that was suspended, or that one alone once more."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self._waiting: list[Callable[[], None]] = []
        self.sent = 0
        self.late, self.all_the_rest = 10**9, False

    def _is_late(self, number: int) -> tuple[bool, bool]:
        """Whether a change arrives late, and whether it is made at once."""
        is_late = number >= self.late if self.all_the_rest else number == self.late
        return is_late, not (is_late and self.all_the_rest)

    def asking(self, may_write: Callable[[], None]) -> LateStore:
        return self

    def change(self, make: Callable[[], None]) -> None:
        self.sent += 1
        is_late, is_done = self._is_late(self.sent)
        if is_late:
            self._waiting.append(make)
        if is_done:
            make()

    def arrive(self) -> int:
        """Let what is late arrive; returns how much that was."""
        waiting, self._waiting = self._waiting, []
        for make in waiting:
            make()
        return len(waiting)


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


def plain(folder: Path) -> dict[str, str]:
    """What lies in a folder of the store under the names of its files."""
    found = content(folder)
    return {name: found[name] for name in found if not name.startswith((".kept/", f"{RECORDS}/"))}


FIRST = {"history": "1", "best__model": "a", "checkpoint__state": "one"}
SECOND = {"history": "1 2", "best__model": "b", "checkpoint__state": "two", "predictions__sst": "new"}


def test_another_machine_pulls_what_was_published(machine: Callable[[str], tuple[Path, Mirror]]) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    write(here, **SECOND)
    (here / "history").rename(here / "renamed")
    mirror.publish(1)
    there, other = machine("there")
    write(there, history="of an older start", stale="no more")
    other.pull()
    assert content(there) == content(here)


def test_the_store_holds_the_files_under_their_names(
    machine: Callable[[str], tuple[Path, Mirror]], tmp_path: Path
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    write(here, **SECOND)
    mirror.publish(1)
    assert plain(tmp_path / "store" / "trials" / "00000") == content(here)


def test_only_what_changed_is_sent(machine: Callable[[str], tuple[Path, Mirror]], store: MortalStore) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    store.live(0)
    mirror.publish(1)
    (here / "history").touch()
    mirror.publish(1)
    store.live(1 + 1 + 1 + 2)  # kept, the record, to its place, and what was there before goes
    write(here, history="1 2")
    mirror.publish(1)


def test_wherever_the_writer_dies_the_folder_is_as_it_was_or_as_it_is(
    machine: Callable[[str], tuple[Path, Mirror]], store: MortalStore, tmp_path: Path
) -> None:
    seen = set()
    for changes in range(60):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        store.live(float("inf"))
        here, mirror = machine(f"here{changes}")
        write(here, **FIRST)
        mirror.publish(1)
        before = content(here)
        write(here, **SECOND)
        (here / "best" / "model").unlink()
        after = content(here)
        store.live(changes)
        try:
            mirror.publish(1)
            finished = True
        except Dead:
            finished = False
        store.live(float("inf"))
        there, other = machine(f"there{changes}")
        other.pull()
        found = content(there)
        assert found in (before, after)
        seen.add(found == after)
        write(there, history="1 2 3")  # whoever goes on there publishes as if nothing had been
        other.publish(2)
        third, last = machine(f"third{changes}")
        last.pull()
        assert content(third) == content(there) == plain(tmp_path / "store" / "trials" / "00000")
        if finished:
            assert found == after
            break
    else:
        pytest.fail("it never ended")
    assert seen == {False, True}


def test_whoever_was_given_up_changes_nothing(machine: Callable[[str], tuple[Path, Mirror]]) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    before = content(here)
    write(here, **SECOND)

    def given_up() -> None:
        raise Dead

    with pytest.raises(Dead):
        mirror.publish(1, given_up)
    there, other = machine("there")
    other.pull()
    assert content(there) == before


def test_an_object_that_is_not_what_was_published_is_left_out_and_sent_anew(
    machine: Callable[[str], tuple[Path, Mirror]], tmp_path: Path
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    for stored in (tmp_path / "store").rglob("best/*"):
        stored.write_text("x")
    there, other = machine("there")
    other.pull()
    assert "best/model" not in content(there)
    assert content(there)["history"] == "1"
    write(there, best__model="made again")
    other.publish(2)
    third, last = machine("third")
    last.pull()
    assert content(third) == content(there)


AFTERWARDS = ("before it publishes", "after it published", "after it published twice")


@pytest.mark.parametrize("arrival", AFTERWARDS)
@pytest.mark.parametrize("all_the_rest", [True, False])
def test_whatever_a_ghost_sent_may_arrive_late_and_its_successor_counts(
    store: MortalStore, tmp_path: Path, all_the_rest: bool, arrival: str
) -> None:
    for late in itertools.count(1):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        slow = LateStore(store.url, store._files, store._base)
        ghosts, successors = tmp_path / f"ghost{late}", tmp_path / f"successor{late}"
        ghosts.mkdir()
        ghost, successor = Mirror(slow, "trials/00000", ghosts), Mirror(store, "trials/00000", successors)
        write(ghosts, **FIRST)
        ghost.publish(1)
        before = content(ghosts)
        write(ghosts, **SECOND)
        slow.late, slow.all_the_rest = slow.sent + late, all_the_rest
        ghost.publish(1)
        successor.pull()
        assert content(successors) in (before, content(ghosts))
        arrived = slow.arrive() if arrival == AFTERWARDS[0] else 0
        for history in ("1 2 again", "1 2 again 3")[: max(1, AFTERWARDS.index(arrival))]:
            write(successors, **{**SECOND, "history": history})  # the rest of it just as the ghost's
            successor.publish(2)
        arrived += slow.arrive()
        third = Mirror(store, "trials/00000", tmp_path / f"third{late}")
        third.pull()
        assert content(tmp_path / f"third{late}") == content(successors)
        third.drop((), anew=True)
        assert plain(tmp_path / "store" / "trials" / "00000") == content(successors)
        if not arrived:
            assert late > len(SECOND)
            break


def test_a_stale_record_of_the_same_start_counts_for_nothing(
    store: MortalStore, machine: Callable[[str], tuple[Path, Mirror]]
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    ((name, _),) = store.names(f"trials/00000/{RECORDS}").items()
    stale = store.read(name)
    assert stale
    write(here, **SECOND)
    mirror.publish(1)
    store.write(name, stale)
    there, other = machine("there")
    other.pull()
    assert content(there) == content(here)


def test_what_could_not_be_sent_is_sent_later(store: MortalStore, tmp_path: Path) -> None:
    class AwayForAWhile(MortalStore):
        def change(self, make: Callable[[], None]) -> None:
            try:
                super().change(make)
            except Dead:
                raise OSError("away") from None

    away = AwayForAWhile(store.url, store._files, store._base)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    mirror = Mirror(away, "trials/00000", here)
    for epoch, changes in enumerate(range(15)):
        write(here, history=f"{epoch}")
        away.live(changes)
        with suppress(OSError):
            mirror.publish(1)
        away.live(float("inf"))
        mirror.publish(1)
        Mirror(store, "trials/00000", there).pull()
        assert content(there) == content(here)


def test_of_two_starts_with_one_number_that_counts_which_went_on_from_the_other(
    machine: Callable[[str], tuple[Path, Mirror]],
) -> None:
    for attempt in range(4):  # names are given by chance
        here, mirror = machine(f"here{attempt}")
        write(here, history=f"{attempt}")
        mirror.publish(attempt + 1)
        there, other = machine(f"there{attempt}")
        other.pull()
        write(there, history=f"{attempt} and on")
        other.publish(attempt + 1)
        third, last = machine(f"third{attempt}")
        last.pull()
        assert content(third) == content(there)


def test_whoever_was_given_up_while_the_store_was_away_sends_nothing_again(store: MortalStore) -> None:
    class Away(ObjectStore):
        tries = 0

        def _send(self, target: str, chunks: Iterable[bytes]) -> None:
            Away.tries += 1
            raise OSError("the connection broke")

    def given_up() -> None:
        raise Dead

    with pytest.raises(Dead):
        Away(store.url, store._files, store._base).asking(given_up).write("name", b"x")
    assert Away.tries == 1


def recorded(store: ObjectStore, files: Any, **changes: Any) -> None:
    """Put a record there that is sealed as ours are."""
    whole = {"of": "trials/00000 0001-00000000 1", "version": 1, "files": files}
    store.write(f"trials/00000/{RECORDS}/0001-00000000-0001.json", sealed_line({**whole, **changes}) + b"\n")


def test_a_record_says_of_which_folder_and_start_it_is(store: MortalStore) -> None:
    recorded(store, {"a": [1, "0" * 64]})
    assert read_published(store, "trials/00000").files.keys() == {"a"}
    recorded(store, {"a": [1, "0" * 64]}, of="trials/00001 0001-00000000 1")
    assert read_published(store, "trials/00000").files == {}


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/tmp/outside",
        "a/../../outside",
        "",
        ".",
        "a//b",
        "a/./b",
        "a/",
        "a\0b",
        "a" * 300,
        "\ud800",
    ],
)
def test_a_record_that_leads_out_of_the_folder_counts_as_none(store: MortalStore, name: str) -> None:
    recorded(store, {name: [1, "0" * 64]})
    assert read_published(store, "trials/00000").files == {}


@pytest.mark.parametrize(
    "files",
    [
        3,
        [],
        {"a": 3},
        {"a": [1]},
        {"a": [-1, "0" * 64]},
        {"a": ["1", "0" * 64]},
        {"a": [True, "0" * 64]},
        {"a": [1, "../../../x"]},
        {"a": [1, 5]},
        {"a": [1, "0" * 64], "a/b": [1, "0" * 64]},
    ],
)
def test_a_record_that_cannot_be_counts_as_none(store: MortalStore, files: Any) -> None:
    recorded(store, files)
    assert read_published(store, "trials/00000").files == {}


@pytest.mark.parametrize("text", [b"", b"nothing", b"[]", b'{"files": 3}', b"\xff" * 9])
def test_a_damaged_record_counts_as_none(store: MortalStore, text: bytes) -> None:
    store.write(f"trials/00000/{RECORDS}/0001-00000000-0001.json", text)
    assert read_published(store, "trials/00000").files == {}


def test_a_record_of_an_earlier_start_counts_where_the_last_one_is_damaged(
    machine: Callable[[str], tuple[Path, Mirror]], store: MortalStore
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    store.write(f"trials/00000/{RECORDS}/0002-00000000-0002.json", b"damaged")
    there, other = machine("there")
    other.pull()
    assert content(there) == content(here)


def test_of_an_object_that_is_too_long_no_more_is_fetched_than_is_looked_for(
    machine: Callable[[str], tuple[Path, Mirror]], store: MortalStore, tmp_path: Path
) -> None:
    store.write("long", b"x" * 2**24)
    store.download("long", tmp_path / "cut", most=1)
    assert (tmp_path / "cut").stat().st_size < 2**23


def test_dropped_folders_are_gone_for_everybody(
    machine: Callable[[str], tuple[Path, Mirror]], tmp_path: Path
) -> None:
    here, mirror = machine("here")
    write(here, **FIRST)
    mirror.publish(1)
    machine("driver")[1].drop(["checkpoint", "best"])
    there, other = machine("there")
    other.pull()
    assert content(there) == {"history": "1"}
    stored = content(tmp_path / "store" / "trials" / "00000")
    assert {name for name in stored if "checkpoint" in name or "best" in name} == set()
    assert "history" in stored


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
    store.live(0)
    send_sealed(store, sealed, "corpus/key")


@pytest.mark.parametrize("changes", [0, 1, 2])
def test_a_sealed_folder_that_was_sent_in_part_is_not_there(
    store: MortalStore, sealed: Path, tmp_path: Path, changes: int
) -> None:
    store.live(changes)
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
    asked: list[str] = []

    class Counting(ObjectStore):
        def read(self, name: str) -> bytes | None:
            asked.append(name)
            return super().read(name)

    counting = Counting(store.url, store._files, store._base)
    assert Segments(counting).fetch(b"one\n") == b"one\n"
    assert not asked
    for known in (b"ONE\n", b"on"):
        assert Segments(counting).fetch(known) == b"one\n"
    assert len(asked) == 2


def test_a_growing_file_that_lacks_a_part_is_refused(store: MortalStore, tmp_path: Path) -> None:
    file, segments = tmp_path / "journal.log", Segments(store)
    for text in (b"one\n", b"two\n", b"three\n"):
        with file.open("ab") as opened:
            opened.write(text)
        segments.append(file)
    _, second, third = sorted(store.names("journal"))
    store.delete([second])
    with pytest.raises(UserError, match=f"the piece before {third} is missing"):
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


def test_a_stage_that_was_made_and_not_sent_is_sent_by_whoever_uses_it_there(
    store: MortalStore, tmp_path: Path
) -> None:
    LocalStageStore(tmp_path / "here").put("key", _state(1.0))  # its maker was killed right after
    assert _stage_store(store.url, tmp_path / "here").get("key") is not None
    assert _stage_store(store.url, tmp_path / "there").get("key") is not None


def test_a_failing_stage_that_was_noted_and_not_told_is_told_by_whoever_looks_there(
    store: MortalStore, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    LocalStageStore(tmp_path / "here").put_failure("key", TrainingFailure("nan", "no number"))
    assert _stage_store(store.url, tmp_path / "here").failure("key") is not None
    assert _stage_store(store.url, tmp_path / "there").failure("key") is not None


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
        ("s3://my..bucket/study", "'my..bucket' is no name of a bucket"),
        ("s3://192.168.1.1/study", "'192.168.1.1' is no name of a bucket"),
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
