"""Whoever sends something to an object store is killed at every step: before and after each object that is written, moved or removed.

The steps are those that a whole life passes, of a study, of its trial and of a stage store; a folder stands for the store,
so that a death costs no time. ``test_a_study_in_an_object_store…`` is a real search and a real server of S3 (*chaos*).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from minbert.checkpoint import EncoderFiles
from minbert.encoder import EncoderConfig
from minbert.errors import TrainingFailure
from minbert.files.durable import publish_folder
from minbert.files.sealed import is_intact, sealed_line
from minbert.remote import mirrored_stages
from minbert.remote.journal_segments import Segments
from minbert.remote.mirrored_stages import MirroredStageStore
from minbert.remote.object_store import open_store
from minbert.remote.working_copy import working_copy
from minbert.stages import StageState
from minbert.time_limits import TIMEOUT
from tests.trainables.killing import Step, dies_at_step, mortal, results, steps_of
from tests.trainables.object_stores import S3
from tests.trainables.studies import outcome
from trainables.running.remote_trial import RemoteTrial, fetch_materials
from trainables.studies.remote_study import RemoteStudy
from trainables.studies.study import StudyFolder, make_folder

SENT_BY_A_STUDY = {
    "minbert/remote/journal_segments.py Segments._take_number",
    "minbert/remote/journal_segments.py Segments.append",
    "minbert/remote/mirror.py Mirror._clear_up",
    "minbert/remote/mirror.py Mirror._lay_out",
    "minbert/remote/mirror.py Mirror._remove_kept",
    "minbert/remote/mirror.py Mirror.drop",
    "minbert/remote/mirror.py Mirror.publish",
    "minbert/remote/sealed_copies.py send_sealed",
    "trainables/running/remote_trial.py RemoteTrial._take_number",
    "trainables/running/remote_trial.py RemoteTrial.send_timeout",
    "trainables/studies/remote_lease.py _ask",
    "trainables/studies/remote_lease.py _others",
    "trainables/studies/remote_lease.py _win",
    "trainables/studies/remote_lease.py leased",
    "trainables/studies/remote_study.py RemoteStudy.close",
    "trainables/studies/remote_study.py RemoteStudy.describe",
    "trainables/studies/remote_study.py RemoteStudy.keep_report",
}
SENT_BY_STAGES = {
    "minbert/remote/mirrored_stages.py MirroredStageStore._clear_parts",
    "minbert/remote/mirrored_stages.py MirroredStageStore.collect",
    "minbert/remote/mirrored_stages.py MirroredStageStore.put_failure",
    "minbert/remote/sealed_copies.py send_sealed",
}
"""Who changes something in a store, and is killed here before and after each change."""
PUBLISHED_BY_A_STUDY = {
    "minbert/remote/sealed_copies.py fetch_sealed",
    "trainables/studies/attempts.py claim",
    "trainables/studies/remote_study.py RemoteStudy.share_encoder",
    "trainables/studies/study.py StudyFolder.drop",
    "trainables/studies/study.py make_folder",
}
PUBLISHED_BY_STAGES = {
    "minbert/remote/sealed_copies.py fetch_sealed",
    "minbert/stages.py LocalStageStore._publish",
    "minbert/stages.py LocalStageStore.put_failure",
}
"""Who publishes something in the copy on a machine on the way, and is killed here at each of its steps, too."""
DONE = (".sent", ".removed")
KEY = "0123456789abcdef01234567"
KEYS = [f"{number}{KEY[1:]}" for number in range(3)]
TRIAL = "trials/00000"
EPOCHS: tuple[dict[str, str], ...] = (
    {"history.jsonl": "1\n", "best/heads": "first"},
    {"history.jsonl": "1\n2\n", "best/model": "second", "predictions/sst": "of two"},
    {
        "history.jsonl": "1\n2\n3\n",
        "best/model": "second",
        "predictions/sst": "of three",
        "checkpoint/state": "3",
    },
)
"""What a trial's folder holds after each epoch; files are added, replaced and removed."""
RECORDS: tuple[dict[str, Any], ...] = (
    {"op_code": 4, "trial": 0},
    {"op_code": 8, "user_attr": {"config_id": "x"}},
    {"op_code": 6, "state": 1},
)
"""Of a trial that is begun, whole, and ended."""


def content(folder: Path) -> dict[str, str]:
    """What a trial has kept in a folder, by name."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    apart = ("attempts", TIMEOUT)
    kept = [name for name in files if name.parts[0] not in apart and not name.name.startswith(".")]
    return {name.as_posix(): (folder / name).read_text() for name in kept}


def write(folder: Path, epoch: dict[str, str]) -> None:
    """Let a trial's folder hold just that."""
    for name in content(folder).keys() - epoch.keys():
        (folder / name).unlink()
    for name, text in epoch.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


def train(url: str) -> None:
    """What a worker does: it goes on from what was kept, which must be an epoch's, and keeps each of those that follow."""
    trial = RemoteTrial(url, TRIAL)
    trial.claim("start")
    found = content(trial.folder)
    assert found in ({}, *EPOCHS)
    for epoch in EPOCHS[EPOCHS.index(found) + 1 if found else 0 :]:
        write(trial.folder, epoch)
        trial.publish()
    trial.send_timeout("what a process says that ends itself")
    trial.let_go()


def search(url: str) -> None:
    """What a driver does, and in the middle of it a worker."""
    study = RemoteStudy(open_store(url))
    with study.held(print):
        folder = make_folder(study.path, {"name": "study"}, study)
        share(study, study.path / "corpus" / KEY)
        encoder = study.share_encoder(small_encoder(study.path.parent))
        note(study, RECORDS[:2])
        if (study.path / "journal.log").read_bytes().count(b"\n") < len(RECORDS):
            with another_machine():
                fetch_materials(url, f"corpus/{KEY}", f"encoder/{encoder.name}")
                train(url)
        note(study, RECORDS)
        drop(folder)
        (study.path / "report.html").write_text("told")
        study.keep_report(study.path / "report.html")
        study.close()


def small_encoder(place: Path) -> EncoderFiles:
    """Files that stand for an encoder."""
    folder = place / "small_encoder"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(name)
    return EncoderFiles(folder, EncoderConfig(1000, 128, 3, 2, 512), KEY)


@contextmanager
def another_machine() -> Iterator[None]:
    """A worker's, with copies of its own."""
    with patch.dict(os.environ, XDG_CACHE_HOME=os.environ["XDG_CACHE_HOME"] + "/of-a-worker"):
        yield


def share(study: RemoteStudy, corpus: Path) -> None:
    if not is_intact(corpus, KEY):
        corpus.parent.mkdir(exist_ok=True)
        with publish_folder(corpus, of=KEY) as temporary:
            (temporary / "index.json").write_text("{}")
            (temporary / "tokens").write_text("17")
    study.share(corpus)


def note(study: RemoteStudy, records: tuple[dict[str, Any], ...]) -> None:
    """Append to the journal what is not there yet, as the ledger does."""
    journal = study.path / "journal.log"
    known = journal.read_bytes().count(b"\n") if journal.is_file() else 0
    for record in records[known:]:
        with journal.open("ab") as opened:
            opened.write(sealed_line(record) + b"\n")
        study.appended(journal, [record])


def drop(folder: StudyFolder) -> None:
    folder.drop(0, model=True)


def pretrain(url: str) -> None:
    """What workers do with a shared stage store that has room for two stages."""
    store = MirroredStageStore(open_store(url), working_copy(url), 1e9)
    state = StageState({"w": torch.full((64,), 1.0)}, {}, 3, 1.5, {"train_loss": 1.0})
    for key in KEYS:
        if not store.has(KEYS[-1]):
            store.put(key, state)
    if store.failure(KEY) is None:
        store.put_failure(KEY, TrainingFailure("nan", "no number"))
    with another_machine():
        other = MirroredStageStore(open_store(url), working_copy(url), 1e9)
        if other.get(KEYS[-1]) is None:  # made over there, but not sent
            other.put(KEYS[-1], state)
    store.collect(2 * other.size(KEYS[-1]), {KEYS[-1]})


@pytest.mark.parametrize(
    ("live", "sent_by", "published_by"),
    [
        (search, SENT_BY_A_STUDY, PUBLISHED_BY_A_STUDY),
        (pretrain, SENT_BY_STAGES, PUBLISHED_BY_STAGES),
    ],
    ids=["study", "stages"],
)
def test_wherever_it_dies_whoever_goes_on_comes_to_the_same_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    live: Callable[[str], None],
    sent_by: set[str],
    published_by: set[str],
) -> None:
    def place(name: str) -> Path:
        monkeypatch.delenv("MINBERT_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name / "cache"))
        return tmp_path / name / "store"

    monkeypatch.setattr(mirrored_stages, "_ABANDONED", timedelta())
    store = place("undisturbed")
    steps = steps_of(partial(live, store.as_uri()))
    expected, passed, heirs = ending(store), set(steps), 0
    kills = [number for number in range(1, len(steps) + 1) if is_new(steps[:number])]
    for count, number in enumerate(kills):
        store = place(str(number))
        assert dies_at_step(number, partial(live, store.as_uri()))
        elsewhere = bool(count % 2) or live is pretrain  # a stage is not sent by a later start than made it
        lose_machine(store, elsewhere)
        heirs += dies_at_step(1 + count % 9, partial(live, store.as_uri()))
        lose_machine(store, elsewhere)
        passed.update(steps_of(partial(live, store.as_uri())))
        assert ending(store) == expected, steps[number - 1]
        shutil.rmtree(tmp_path / str(number))
    sent = {step.by for step in passed if step.point.endswith((".sending", *DONE))}
    assert sent == sent_by
    assert {step.by for step in passed} - sent - {"nobody"} == published_by
    assert heirs >= len(kills) // 2, "of those who went on, too few died"


def is_new(steps: Sequence[Step]) -> bool:
    """Whether the last step is another moment than the one before it: right before a change is right after the last one."""
    *before, last = steps
    return not (before and before[-1].point.endswith(DONE) and last.point.endswith(".sending"))


def test_a_damaged_piece_of_the_journal_is_sent_again_also_after_a_driver_that_was_killed_meanwhile(
    tmp_path: Path,
) -> None:
    store, journal = open_store((tmp_path / "store").as_uri()), tmp_path / "journal.log"
    journal.write_bytes(b"".join(sealed_line(record) + b"\n" for record in RECORDS))
    Segments(store).append(journal)
    (piece,) = store.names("journal")

    def restore() -> bytes:
        return Segments(store).restore(journal.read_bytes(), print)

    for number in (1, 2):
        store.write(piece, b"damaged")
        assert dies_at_step(number, restore)
        assert restore() == store.read(piece) == journal.read_bytes()


def lose_machine(store: Path, elsewhere: bool) -> None:
    """Let another machine go on where that is wanted."""
    if elsewhere:
        shutil.rmtree(store.with_name("cache"), ignore_errors=True)


def ending(store: Path) -> dict[str, bytes]:
    """The objects in a store that do not tell of the starts alone; those named by a start have another content for each.

    Of what a start kept counts what the last record names: one that died right after that may leave what it replaced.
    """
    found: dict[str, bytes] = {}
    told = "".join(record.read_text() for record in sorted(store.glob("trials/*/published/*"))[-1:])
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        name = path.relative_to(store).as_posix()
        replaced = ".kept" in path.parts and path.name not in told
        if not replaced and not re.search(r"^(journal|takeovers)/|/(attempts|published)/", name):
            unnamed = re.sub(r"\d{4}-[0-9a-f]{8}(-\d{4})?", "START", name)
            assert unnamed not in found, f"{name} is left of an earlier start"
            found[unnamed] = b"" if unnamed != name else path.read_bytes()
    return found


SPACE = """\
search: {design: listed}
runs: {mean: {}, cls: {set: {pooling: cls}}}
stages: {simcse: {epochs: 1, epoch_examples: 32}, finetune: {epochs: 2, epoch_examples: 32}}
"""
STARTS = (
    ("attempts.sent", "state.safetensors.sent", "kept.sent"),
    ("published.sending", "published.sent"),
    ("history.jsonl.sent", "journal.sending"),
    ("journal.sent",),
    ("checkpoint.removed",),
    ("journal.log.sent",),
)
"""A worker is killed at each of a line's points, and with the last one the machine is lost."""


@pytest.mark.chaos
def test_a_study_in_an_object_store_killed_again_and_again_ends_as_one_in_a_folder_that_nobody_disturbs(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = s3.url("killed")
    killed, undisturbed = (
        mortal(tmp_path / "killed", SPACE, "--study", url),
        mortal(tmp_path / "undisturbed", SPACE),
    )
    for number, points in enumerate(STARTS):
        killed.die_at(*points)
        if number % 2:
            shutil.rmtree(tmp_path / "cache")  # another machine goes on
    assert killed.kills == len(STARTS)
    killed.run()
    undisturbed.run()
    study = s3.copy("killed", tmp_path / "copied")
    found = outcome(study)
    assert found == outcome(results(undisturbed))
    assert [trial["state"] for trial in found.values()] == ["COMPLETE", "COMPLETE"]
    assert not [*study.glob("drivers/*"), *study.glob("trials/*/checkpoint")]
    for trial in study.glob("trials/*"):
        assert len(list(trial.glob(".kept/*"))) == 1
    for stage in study.glob("stages/*"):
        assert is_intact(stage)
