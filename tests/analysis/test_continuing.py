"""The command that continues a study names the folder that the study lies in."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.continuing import continuing

SEARCH = "python -m trainables.search --space full_ablation"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (f"{SEARCH} --study results/first", None),
        (f"{SEARCH} --study=results/first --trials 3", None),
        (f"{SEARCH} --study results/other/../first", None),
        (f"{SEARCH} --study elsewhere --fork results/first", None),
        (f"{SEARCH} --study s3://bucket/first", None),
        (SEARCH, ""),
        ("python -m trainables.search --space mine/first.yaml --trials 3", None),
        ("python -m trainables.search --space first", None),
        ("make search --study elsewhere", None),
        (f"{SEARCH} --study 'no end", None),
        (f"{SEARCH} --study before --set 'a=b c' --trials 3", "--set 'a=b c' --trials 3"),
        (f"{SEARCH} --trials 3 --study=before", "--trials 3"),
        (f"{SEARCH} --study results/first --fork before --trials 3", "--trials 3"),
        (f"{SEARCH} --study results/first --study before", ""),
    ],
)
def test_the_command_works_on_the_folder_that_the_study_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, expected: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("results/first")
    (folder.parent / "other").mkdir(parents=True)
    options = [SEARCH, expected or "", "--study results/first"]
    assert continuing(folder, stored) == (stored if expected is None else " ".join(filter(None, options)))


def test_a_study_that_was_fetched_from_a_store_is_continued_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path))
    stored = f"{SEARCH} --study /mnt/shared/first"
    assert continuing(tmp_path / "reading" / "first-0123", stored) == stored
    assert continuing(tmp_path.parent / "first", stored) == f"{SEARCH} --study {tmp_path.parent / 'first'}"
