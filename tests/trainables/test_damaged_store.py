"""What is damaged in an object store, or written there by a driver that was replaced, is found and never used silently."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from analysis.study_copies import fetch_study
from minbert.errors import UserError
from minbert.files.sealed import seal_folder, sealed_line
from minbert.remote import object_store
from minbert.remote.journal_segments import TAKEOVERS, Segments
from minbert.remote.object_store import ObjectStore, open_store
from minbert.remote.sealed_copies import fetch_sealed, send_sealed
from minbert.remote.working_copy import reading_copy
from trainables.studies.remote_study import RemoteStudy, open_remote

WORKER = {"op_code": 8, "worker_id": "w"}
PIECES = 3
LINES = 4
"""Records of a piece."""


def record(number: int) -> bytes:
    return sealed_line({**WORKER, "trial_id": number, "user_attr": {"config_id": f"c{number}"}}) + b"\n"


JOURNAL = b"".join(record(number) for number in range(PIECES * LINES))


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "cache"))
    return (tmp_path / "bucket" / "study").as_uri()


@pytest.fixture
def study(url: str) -> RemoteStudy:
    """A study whose journal is in the store in several pieces; this machine has none of it."""
    opened = open_remote(url)
    assert opened is not None
    opened.store.write("study.yaml", b"schema_version: 1\n")
    _send(opened.store, JOURNAL)
    return opened


def _send(store: ObjectStore, journal: bytes, segments: Segments | None = None) -> Segments:
    """Send a journal piece by piece, as a driver does."""
    lines = journal.splitlines(keepends=True)
    place = Path(store._base).parent / "of_another_machine.log"
    segments = segments or Segments(store)
    for end in range(LINES, len(lines) + 1, LINES):
        place.write_bytes(b"".join(lines[:end]))
        segments.append(place)
    return segments


def pieces(study: RemoteStudy) -> list[Path]:
    """The pieces of the journal, as files of the store."""
    return sorted((Path(study.store._base) / "journal").iterdir())


@contextmanager
def driving(study: RemoteStudy) -> Iterator[list[str]]:
    """A new driver of the study; yields what it said."""
    said: list[str] = []
    with RemoteStudy(open_store(study.url)).held(said.append):
        yield said


def local_journal(study: RemoteStudy, content: bytes = JOURNAL) -> Path:
    """Let this machine have the journal."""
    study.path.mkdir(parents=True, exist_ok=True)
    (study.path / "journal.log").write_bytes(content)
    return study.path / "journal.log"


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize(
    "damage", [lambda content: flipped(content, 20), lambda content: content[:-7], lambda content: b""]
)
def test_a_damaged_piece_of_the_journal_is_sent_again_by_who_has_it(
    study: RemoteStudy, piece: int, damage: Callable[[bytes], bytes]
) -> None:
    file, journal = pieces(study)[piece], local_journal(study)
    file.write_bytes(damage(file.read_bytes()))
    with driving(study) as said:
        assert journal.read_bytes() == JOURNAL
    name = file.relative_to(study.store._base)
    assert said == [f"{study.url}: {name} was damaged; it is sent again from this machine's copy"]
    assert Segments(study.store).fetch() == JOURNAL
    with driving(study) as said:
        assert not said


@pytest.mark.parametrize("piece", range(PIECES))
def test_a_damaged_piece_of_the_journal_that_nobody_has_is_refused_by_name(
    study: RemoteStudy, piece: int
) -> None:
    file, journal = pieces(study)[piece], local_journal(study, flipped(JOURNAL, len(JOURNAL) // 2))
    before = journal.read_bytes()
    file.write_bytes(flipped(file.read_bytes(), 20))
    journal.write_bytes(flipped(before, piece * len(JOURNAL) // PIECES + 20))
    with pytest.raises(UserError) as refused, driving(study):
        pass
    assert str(refused.value).startswith(f"{study.url}: {file.relative_to(study.store._base)} is damaged")
    assert "\n" not in str(refused.value)
    assert not list((Path(study.store._base) / TAKEOVERS).glob("0002*"))
    with pytest.raises(UserError, match="is damaged"):
        fetch_study(study.url)


def test_whatever_byte_of_the_last_piece_is_damaged_at_most_its_last_record_is_lost(
    study: RemoteStudy,
) -> None:
    file = pieces(study)[-1]
    content, kept = file.read_bytes(), JOURNAL[: -len(record(PIECES * LINES - 1))]
    last = len(content) - len(record(PIECES * LINES - 1))
    damages = itertools.chain(
        ((place, flipped(content, place)) for place in range(0, len(content), 7)),
        ((length, content[:length]) for length in range(0, len(content), 7)),
    )
    for place, damaged in damages:
        file.write_bytes(damaged)
        if place >= last:
            assert Segments(study.store).fetch() == kept
        else:
            with pytest.raises(UserError, match="more than in its last record"):
                Segments(study.store).fetch()
    file.write_bytes(content + b"somebody's\n")
    assert Segments(study.store).fetch() == kept


def test_whatever_byte_of_an_earlier_piece_is_damaged_it_is_refused(study: RemoteStudy) -> None:
    for file in pieces(study)[:-1]:
        content = file.read_bytes()
        for damaged in (
            *(flipped(content, place) for place in range(0, len(content), 61)),
            *(content[:length] for length in range(0, len(content), 61)),
            content + b"\n",
        ):
            file.write_bytes(damaged)
            with pytest.raises(UserError, match=f"{file.name} is damaged"):
                Segments(study.store).fetch()
        file.write_bytes(content)
    assert Segments(study.store).fetch() == JOURNAL


def test_a_journal_whose_last_record_was_lost_goes_on_for_everybody(
    study: RemoteStudy, tmp_path: Path
) -> None:
    file = pieces(study)[-1]
    file.write_bytes(file.read_bytes()[:-9])
    kept = JOURNAL[: -len(record(PIECES * LINES - 1))]
    said: list[str] = []
    driver = RemoteStudy(open_store(study.url))
    with driver.held(said.append):
        journal = driver.path / "journal.log"
        assert journal.read_bytes() == kept
        assert said == [
            f"{study.url}: journal/{file.name}: the last record is not whole; what it said is done again"
        ]
        journal.write_bytes(kept + record(99))
        driver.appended(journal, [{"op_code": 6}])
    assert Segments(study.store).fetch() == kept + record(99)
    with driving(study) as said:
        assert not said


def test_a_damaged_journal_of_this_machine_is_replaced_by_the_one_in_the_store(study: RemoteStudy) -> None:
    for place in (20, len(JOURNAL) - 20):
        journal = local_journal(study, flipped(JOURNAL, place))
        with driving(study) as said:
            assert journal.read_bytes() == JOURNAL
            assert not said


def test_a_piece_that_belongs_elsewhere_is_not_taken(study: RemoteStudy) -> None:
    first, second, third = pieces(study)
    content = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=f"{second.name} is damaged"):
        Segments(study.store).fetch()
    second.write_bytes(content)
    second.rename(second.with_name(second.name.replace("-1-", "-2-").replace("-0001-", "-0002-")))
    with pytest.raises(UserError, match=r"is damaged|is missing"):
        Segments(study.store).fetch()
    assert third.exists()


class Suspended(ObjectStore):
    """A store whose user is suspended right before it sends a piece: what somebody else does then comes first."""

    meanwhile: Callable[[], None]

    def write(self, name: str, content: bytes) -> None:
        if name.startswith("journal/"):
            self.meanwhile()
        super().write(name, content)


def test_a_piece_of_a_driver_that_was_replaced_arrives_late_and_counts_for_nothing(
    study: RemoteStudy, tmp_path: Path
) -> None:
    store = Suspended(study.url, study.store._files, study.store._base)
    store.meanwhile = lambda: None
    ghost, successor = Segments(store), Segments(study.store)
    ghost.restore(b"", print)
    mine = JOURNAL + record(50)
    (tmp_path / "mine").write_bytes(mine)
    ghost.append(tmp_path / "mine")
    store.meanwhile = lambda: _take_over(successor, tmp_path / "theirs", mine + record(60))
    (tmp_path / "mine").write_bytes(mine + record(51))
    with pytest.raises(OSError, match="another search has taken the study over"):
        ghost.append(tmp_path / "mine")
    assert len(pieces(study)) == PIECES + 3, "it did arrive"
    assert Segments(study.store).fetch() == mine + record(60)
    (tmp_path / "theirs").write_bytes(mine + record(60) + record(61))
    successor.append(tmp_path / "theirs")
    assert Segments(study.store).fetch() == mine + record(60) + record(61)
    with pytest.raises(OSError, match="another search has taken the study over"):
        ghost.append(tmp_path / "mine")


def _take_over(segments: Segments, file: Path, journal: bytes) -> None:
    segments.restore(b"", print)
    file.write_bytes(journal)
    segments.append(file)


def test_a_driver_that_was_replaced_before_it_wrote_anything_writes_nothing(
    study: RemoteStudy, tmp_path: Path
) -> None:
    ghost, successor = Segments(study.store), Segments(study.store)
    ghost.restore(b"", print)
    _take_over(successor, tmp_path / "theirs", JOURNAL + record(60))
    (tmp_path / "mine").write_bytes(JOURNAL + record(50))
    with pytest.raises(OSError, match="another search has taken the study over"):
        ghost.append(tmp_path / "mine")
    assert Segments(study.store).fetch() == JOURNAL + record(60)


def test_whoever_closes_a_study_that_was_taken_over_leaves_its_journal(
    study: RemoteStudy, tmp_path: Path
) -> None:
    driver = RemoteStudy(open_store(study.url))
    with driver.held(print):
        journal = driver.path / "journal.log"
        journal.write_bytes(JOURNAL + record(50))
        driver.appended(journal, [{"op_code": 6}])
        _take_over(Segments(study.store), tmp_path / "theirs", JOURNAL + record(50) + record(60))
        with pytest.raises(OSError, match="another search has taken the study over"):
            driver.close()
    assert study.store.read("journal.log") is None


def test_two_searches_that_wrote_at_once_are_named(study: RemoteStudy) -> None:
    last = pieces(study)[-1]
    last.with_name(f"{last.name[:-16]}{'0' * 16}").write_bytes(b"other\n")
    with pytest.raises(UserError, match="are by two searches at once"):
        Segments(study.store).fetch()


def test_a_study_whose_journal_is_gone_is_refused_while_anything_of_a_trial_is_there(
    study: RemoteStudy,
) -> None:
    for file in pieces(study):
        file.unlink()
    study.store.write("trials/00000/attempts/0001", b"{}")
    with pytest.raises(UserError, match="journal/ is gone, but trials/ holds trials"), driving(study):
        pass


def test_what_a_reader_has_already_is_replaced_whole_or_not_at_all(study: RemoteStudy) -> None:
    copy = fetch_study(study.url)
    assert (copy / "journal.log").read_bytes() == JOURNAL
    file = pieces(study)[1]
    file.write_bytes(flipped(file.read_bytes(), 5))
    assert (fetch_study(study.url) / "journal.log").read_bytes() == JOURNAL, "it is here, whole"
    (copy / "journal.log").write_bytes(JOURNAL[:700])
    with pytest.raises(UserError, match=f"{file.name} is damaged"):
        fetch_study(study.url)
    assert (reading_copy(study.url) / "journal.log").read_bytes() == JOURNAL[:700]


@pytest.mark.parametrize(
    "name",
    [
        "trials/\u0661\u0662\u0663\u0664\u0665/published/0001-00000000-0001.json",
        "trials/00001/published/x.json",
        "trials/00001/published",
        "trials/00001",
        "trials/0/published/0001-00000000-0001.json",
        "trials/\x1b[31m",
        "journal/notes",
        "journal/000000000000",
        f"journal/{'9' * 40}-0001-1-{'0' * 16}-{'0' * 16}",
        "takeovers/all",
    ],
)
def test_objects_with_other_names_are_left_alone(study: RemoteStudy, name: str) -> None:
    study.store.write(name, b"{}")
    assert (fetch_study(study.url) / "journal.log").read_bytes() == JOURNAL
    with driving(study) as said:
        assert not said
    assert study.store.read(name) == b"{}"


def test_a_name_that_would_change_the_terminal_is_not_printed(url: str) -> None:
    opened = open_remote(url)
    assert opened is not None
    opened.store.write("a\x1b[31m", b"")
    with pytest.raises(UserError, match="holds other things") as refused, opened.held(print):
        pass
    assert "\x1b" not in str(refused.value)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "first").write_text("one")
    (folder / "second").write_text("two")
    seal_folder(folder, "corpus")
    return folder


@pytest.mark.parametrize("damage", [b"x", b"ONE", None])
def test_a_damaged_corpus_in_the_store_is_mended_by_the_next_start(
    study: RemoteStudy, sealed: Path, tmp_path: Path, damage: bytes | None
) -> None:
    send_sealed(study.store, sealed, "corpus/key")
    if damage is None:
        study.store.delete(["corpus/key/first"])
    else:
        study.store.write("corpus/key/first", damage)
    assert not fetch_sealed(study.store, "corpus/key", tmp_path / "there", "corpus")
    send_sealed(study.store, sealed, "corpus/key")
    assert fetch_sealed(study.store, "corpus/key", tmp_path / "there", "corpus")


@pytest.mark.parametrize(
    "names", [["../out"], ["first", "first/below"], [""], ["a\0b"], ["\ud800"], ["a" * 300], ["/a"]]
)
def test_a_seal_whose_names_lead_elsewhere_is_none(
    study: RemoteStudy, tmp_path: Path, names: list[str]
) -> None:
    seal = sealed_line({"files": dict.fromkeys(names, "0" * 64), "of": "corpus"})
    study.store.write("corpus/key/checksums.json", seal)
    (tmp_path / "below").mkdir()
    assert not fetch_sealed(study.store, "corpus/key", tmp_path / "below" / "there", "corpus")
    assert not list((tmp_path / "below").iterdir())


def test_only_the_seal_that_was_read_lets_damage_be_removed(
    study: RemoteStudy, sealed: Path, tmp_path: Path
) -> None:
    class SentMeanwhile(ObjectStore):
        def download(self, name: str, file: Path, most: float = 1e9) -> str:
            study.store.write("corpus/key/checksums.json", json.dumps({"files": {}}).encode())
            return super().download(name, file, most)

    send_sealed(study.store, sealed, "corpus/key")
    study.store.write("corpus/key/first", b"new")
    store = SentMeanwhile(study.url, study.store._files, study.store._base)
    assert not fetch_sealed(store, "corpus/key", tmp_path / "there", "corpus")
    assert study.store.read("corpus/key/first") == b"new"


@pytest.mark.parametrize("path", ["%2e%2e/study", "a/%2e/b", "a%2F%2Fb", "a%0Ab", "a%1Bb"])
def test_a_url_whose_path_hides_what_it_is_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"must not be empty|cannot be shown") as refused:
        object_store.check_url(f"--study s3://bucket/{path}", f"s3://bucket/{path}")
    assert "\n" not in str(refused.value)
