"""Data and encoder are found by path or by default, and a missing one is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minbert.config import default_tasks
from minbert.errors import UserError
from minbert.sources import resolve

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
        UserError, match="nobody/no-such-encoder: no such folder, and the hub does not give it"
    ):
        resolve(str(corpus_folder), "nobody/no-such-encoder", TASKS)
