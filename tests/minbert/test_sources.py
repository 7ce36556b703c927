"""Data and encoder are found by path or by default, and a missing one is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minbert.config import TrainConfig, build_config
from minbert.corpora.texts import texts_needed
from minbert.errors import UserError
from minbert.exported_files import HEADS
from minbert.files.sealed import seal_folder
from minbert.sources import Sources, resolve
from minbert.task_config import default_tasks
from minbert.train import with_sources

TASKS = default_tasks()


def test_named_folders_are_used(corpus_folder: Path, tiny_encoder: Path) -> None:
    found = resolve(str(corpus_folder), str(tiny_encoder), TASKS)
    assert found.corpus.path == corpus_folder and found.encoder.folder == tiny_encoder
    assert not found.data_bundled and not found.encoder_bundled


def test_auto_prefers_the_environments_folder_then_a_local_one_then_the_bundled(
    corpus_folder: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("auto", str(tiny_encoder), TASKS).data_bundled
    shutil.copytree(corpus_folder, tmp_path / "data")
    local = resolve("auto", str(tiny_encoder), TASKS)
    assert local.corpus.path == Path("data").absolute() and not local.data_bundled
    assert resolve("auto", str(tiny_encoder), TASKS, str(corpus_folder)).corpus.path == corpus_folder


def test_auto_takes_the_standard_encoder_from_the_data_folder_where_it_lies_there(
    corpus_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "course"
    shutil.copytree(corpus_folder, data)
    shutil.copytree(tiny_encoder, data / "bert-base-uncased")
    assert resolve(str(data), "auto", TASKS).encoder.folder == data / "bert-base-uncased"


@pytest.mark.parametrize("default", [None, "s3://bucket/data"])
def test_data_are_in_no_object_store(tiny_encoder: Path, default: str | None) -> None:
    with pytest.raises(UserError, match=r"^s3://bucket/data: data are read from a folder of this machine"):
        resolve("auto" if default else "s3://bucket/data", str(tiny_encoder), TASKS, default)


def test_an_earlier_run_or_trial_gives_its_encoder(
    corpus_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    inner = tmp_path / "trials" / "00007" / "best" / "encoder"
    shutil.copytree(tiny_encoder, inner)
    for named in (inner, inner.parent, inner.parent.parent):
        assert resolve(str(corpus_folder), str(named), TASKS).encoder.folder == inner


def test_a_damaged_model_gives_no_encoder_however_it_is_named(
    corpus_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    best, exported = tmp_path / "best", tmp_path / "exported"
    shutil.copytree(tiny_encoder, best / "encoder")
    shutil.copytree(tiny_encoder, exported)
    for folder, weights in ((best, best / "encoder"), (exported, exported)):
        (folder / HEADS).touch()
        seal_folder(folder)
        content = bytearray((weights / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (weights / "model.safetensors").write_bytes(content)
    for named in (tmp_path, best, best / "encoder", exported):
        with pytest.raises(UserError, match=rf"^--encoder {named}: damaged: .*model\.safetensors"):
            resolve(str(corpus_folder), str(named), TASKS)


def test_somebody_elses_checksums_say_nothing(
    corpus_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    for folder in (encoder, tmp_path):
        (folder / "checksums.json").write_text('{"model.safetensors": "0123"}')
    assert resolve(str(corpus_folder), str(encoder), TASKS).encoder.folder == encoder


def test_a_run_without_an_encoder_and_a_whole_study_are_refused(corpus_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match="a run without best/encoder"):
        resolve(str(corpus_folder), str(tmp_path), TASKS)
    (tmp_path / "config.yaml").rename(tmp_path / "study.yaml")
    with pytest.raises(UserError, match="a study; name one of its trials"):
        resolve(str(corpus_folder), str(tmp_path), TASKS)


@pytest.fixture
def data(corpus_folder: Path, tmp_path: Path) -> Path:
    """A data folder with sentences and triplets."""
    folder = shutil.copytree(corpus_folder, tmp_path / "data")
    (folder / "wiki.txt").write_text("ba be\nbi\n")
    (folder / "nli.csv").write_text("sent0,sent1,hard_neg\nba,be,bi\n")
    return folder


CONFIG = build_config({"stages": {"simcse": {"epochs": 1, "text": "wiki.txt"}, "supervised": {"epochs": 1}}})


def resolved(config: TrainConfig, data: Path, encoder: Path) -> Sources:
    return resolve(str(data), str(encoder), config.tasks, texts=texts_needed(config))


def test_a_configuration_names_its_own_texts_by_content(data: Path, tiny_encoder: Path) -> None:
    sources = resolved(CONFIG, data, tiny_encoder)
    found = with_sources(CONFIG, sources)
    texts = sources.corpus.texts
    assert found.data.texts == {
        "wiki.txt": texts["wiki.txt"].fingerprint,
        "triplets": texts["triplets"].fingerprint,
    }
    assert found.data.path == str(data) and found.data.fingerprint == sources.corpus.fingerprint
    assert with_sources(found, sources) == found
    assert with_sources(build_config({}), sources).data.texts == {}


def test_a_text_with_another_content_than_the_configuration_was_made_for_is_refused(
    data: Path, tiny_encoder: Path
) -> None:
    pinned = with_sources(CONFIG, resolved(CONFIG, data, tiny_encoder))
    (data / "wiki.txt").write_text("ba be\nbo\n")
    with pytest.raises(UserError, match=r"the fingerprint of its 'wiki.txt' is \w+, but the configuration"):
        with_sources(pinned, resolved(CONFIG, data, tiny_encoder))


@pytest.mark.parametrize(("data", "encoder"), [("./none", None), (None, "./none"), (None, "/no/such/folder")])
def test_a_missing_folder_is_named(
    data: str | None, encoder: str | None, corpus_folder: Path, tiny_encoder: Path
) -> None:
    with pytest.raises(UserError) as caught:
        resolve(data or str(corpus_folder), encoder or str(tiny_encoder), TASKS)
    assert (encoder or "none") in str(caught.value) and "o such" in str(caught.value)


def test_a_hub_name_that_is_not_in_the_cache_is_refused_without_a_network(
    corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError,
        match=r"nobody/no-such-encoder: no such folder, not in the hub's cache .* HF_HUB_OFFLINE is set",
    ):
        resolve(str(corpus_folder), "nobody/no-such-encoder", TASKS)
