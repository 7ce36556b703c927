"""What a user may get wrong, file by file: exit code 2, one line that names place and remedy, nothing written.

The malformed inputs stand in the YAML files beside this one, with what must be said about each.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from minbert import command_line
from minbert.bundled import CORPUS, ENCODER
from minbert.files.sealed import sealed_text

HERE = Path(__file__).parent
STUDY = HERE.parents[1] / "analysis" / "notebooks" / "example_study"
PROGRAMS = {
    "search": "trainables.search",
    "train": "minbert.train",
    "report": "analysis.report",
    "ensemble": "analysis.ensemble",
    "claims": "analysis.claims",
    "errors": "analysis.errors",
    "ablation": "analysis.ablation_page",
    "notebooks": "analysis.notebooks.execute",
    "status": "trainables.status",
    "export": "trainables.export",
    "space": "trainables.space",
    "predict": "minbert.predict",
    "embed": "minbert.embed",
    "fetch": "minbert.fetch",
    "cluster": "trainables.cluster",
}
LONG = {
    "LONGNAME": 300 * "n",
    "LONGNUMBER": 5000 * "9",
    "LONGTEXT": 100_000 * "x",
    "LONGPATH": 300 * "a." + "a",
    "LONGNEST": 2000 * "[",
}
"""What stands for texts that are too long to be written out."""
Case = Mapping[str, Any]
Run = Callable[..., None]


def cases(kind: str) -> Any:
    found: dict[str, Case] = yaml.safe_load((HERE / f"{kind}.yaml").read_text(encoding="utf-8"))
    assert len({tuple(case["says"]) for case in found.values()}) >= 12
    return pytest.mark.parametrize("case", found.values(), ids=list(found))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a program in ``tmp_path`` and check that it refuses as the case says and leaves everything as it was.

    What it says is read below Python, where libraries in other languages write.
    """

    def call(case: Case, program: str, *arguments: str) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("MINBERT_DATA", "MINBERT_RESULTS", "MINBERT_GPUS_PER_TRIAL", "RAY_ADDRESS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in case.get("environment", {}).items():
            monkeypatch.setenv(name, value)
        given = [*arguments, *case.get("arguments", ())]
        for short, long in LONG.items():
            given = [each.replace(short, long) for each in given]
        monkeypatch.setattr(sys, "argv", [program, *given])
        before = content(tmp_path)
        code = command_line.run(importlib.import_module(PROGRAMS[program]).main)
        assert not ray.is_initialized()  # a mistake is found before anything is started
        errors = capfd.readouterr().err
        assert code == 2, errors
        assert re.fullmatch(r"error: [^\n]+\n", errors), errors
        for pattern in case["says"]:
            assert re.search(pattern, errors), f"{pattern} not in: {errors}"
        assert len(errors) < 700, errors
        assert content(tmp_path) == before

    return call


@cases("spaces")
def test_a_malformed_space_is_refused(case: Case, refused: Run, tmp_path: Path) -> None:
    fill(tmp_path / "space.yaml", case)
    refused(case, "search", "--space", "./space.yaml")


@cases("configurations")
def test_a_malformed_configuration_is_refused(case: Case, refused: Run, tmp_path: Path) -> None:
    fill(tmp_path / "config.yaml", case)
    places = {"--data": str(CORPUS), "--encoder": str(ENCODER)}
    given = case.get("arguments", ())
    arguments = [places[given[at - 1]] if each == "BUNDLED" else each for at, each in enumerate(given)]
    refused({**case, "arguments": arguments}, "train", "--config", "config.yaml", "--out", "run")


@cases("data")
def test_a_malformed_data_folder_is_refused(case: Case, refused: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(CORPUS, tmp_path / "given")
    spoil(folder, case)
    arguments = [each.replace("DATA", "given") for each in case.get("arguments", ())]
    refused({**case, "arguments": arguments}, "search", "--space", "essentials", "--data", "given")


@cases("checkpoints")
def test_a_malformed_checkpoint_is_refused(case: Case, refused: Run, tmp_path: Path) -> None:
    spoil(shutil.copytree(ENCODER, tmp_path / "given"), case)
    refused(case, "search", "--space", "essentials", "--encoder", "./given")


@cases("studies")
def test_a_study_that_cannot_be_continued_is_refused(case: Case, refused: Run, tmp_path: Path) -> None:
    spoil(shutil.copytree(STUDY, tmp_path / "given"), case)
    refused(case, "search", "--space", "essentials", "--study", "given")


@cases("command_lines")
def test_a_command_line_that_cannot_be_followed_is_refused(case: Case, refused: Run, tmp_path: Path) -> None:
    spoil(tmp_path, case)
    refused(case, *case["run"])


@cases("clusters")
def test_a_malformed_cluster_file_is_refused_with_its_line(
    case: Case, refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(tmp_path, monkeypatch)
    text = changed(case)
    (tmp_path / "cluster.yaml").write_text(text)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if case.get("line", "") in line]
    place = f"error: cluster.yaml:{lines[0] - case.get('above', 0) if 'line' in case else '[0-9]+'}: "
    refused({**case, "says": [place, *case["says"]]}, "cluster", "check", "cluster.yaml")


def fill(path: Path, case: Case) -> None:
    """Write a case's one file."""
    if "repeated" in case:
        path.write_text(case["repeated"]["text"] * case["repeated"]["times"])
    elif "bytes" in case:
        path.write_bytes(bytes.fromhex(case["bytes"]))
    else:
        path.write_text(case["content"])


def changed(case: Case) -> str:
    """A cluster file of the project's, with addresses, and a case's changes, each of the first such text."""
    text = (HERE.parents[1] / case.get("of", "cluster.yaml")).read_text().replace("192.0.2.", "10.0.0.")
    for old, new in case["change"].items():
        assert old in text
        text = text.replace(old, new, 1)
    return text


def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put there what cluster files name: the project's folder, and a home with a token and keys."""
    for name in ("constraints.txt", "cluster/constraints.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(HERE.parents[1] / name, folder / name)
    for name in (
        "pyproject.toml",
        "home/.ray/auth_token",
        "home/.ssh/id_ed25519",
        "home/.ssh/open",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch(0o644 if name.endswith("open") else 0o600)
    monkeypatch.setenv("HOME", str(folder / "home"))


def spoil(folder: Path, case: Case) -> None:
    """Apply a case's changes to a good folder."""
    for name in case.get("drop", ()):
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    for name, text in case.get("write", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in case.get("seal", ()):
        (folder / name).write_text(sealed_text((folder / name).read_text()))
    for name, text in case.get("repeat", {}).items():
        (folder / name).write_text(text.get("before", "") + text["text"] * text["times"] + "\n")
    for name, other in case.get("copy", {}).items():
        shutil.copy(folder / name, folder / other)
    for name, size in case.get("cut", {}).items():
        (folder / name).write_bytes((folder / name).read_bytes()[:size])
    for name, change in case.get("patch", {}).items():
        old, new = (folder / name).read_bytes(), bytes.fromhex(change["hex"])
        (folder / name).write_bytes(old[: change["at"]] + new + old[change["at"] + len(new) :])
    for name, target in case.get("link", {}).items():
        replace_by_link(folder / name, target)
    spoil_lines(folder, case)
    spoil_keys(folder, case)
    if "header" in case:
        spoil_header(folder / "model.safetensors", case["header"])


def spoil_lines(folder: Path, case: Case) -> None:
    for name, text in case.get("append", {}).items():
        with (folder / name).open("a") as file:
            file.write(text)
    for name, added in case.get("append_bytes", {}).items():
        with (folder / name).open("ab") as file:
            file.write(bytes.fromhex(added))
    for name, count in case.get("keep", {}).items():
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:count]))
    for name, changes in case.get("replace", {}).items():
        lines = (folder / name).read_text().splitlines()
        for at, line in changes.items():
            lines[at] = line
        (folder / name).write_text("\n".join(lines) + "\n")


def spoil_keys(folder: Path, case: Case) -> None:
    if "json" in case:
        settings = json.loads((folder / "config.json").read_text()) | case["json"]
        kept = {key: value for key, value in settings.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))
    if "yaml" in case:
        spec = yaml.safe_load((folder / "study.yaml").read_text())
        for dotted, value in case["yaml"].items():
            *sections, key = dotted.split(".")
            inner = spec
            for section in sections:
                inner = inner[section]
            inner[key] = value
            if value is None:
                del inner[key]
        (folder / "study.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def spoil_header(path: Path, change: Case) -> None:
    """Let the header of a safetensors file lie about the tensors that follow it."""
    whole = path.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    header.pop("__metadata__", None)
    one, other = list(header)[:2]
    if change.get("swap_offsets"):
        header[one]["data_offsets"].reverse()
    if change.get("overlap"):
        header[one]["data_offsets"] = header[other]["data_offsets"]
    if "dtype" in change:
        header[one]["dtype"] = change["dtype"]
    lying = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(lying)) + lying + whole[8 + size :])


def replace_by_link(path: Path, target: str) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def content(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        )
    return found
