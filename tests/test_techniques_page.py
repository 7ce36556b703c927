"""docs/techniques.md names files, settings and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minbert.config import MultitaskStage, SimCSEStage, SupervisedSimCSEStage, TaskConfig, TrainConfig
from minbert.schema import Frozen

ROOT = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and "::" in line
]
STAGES = (MultitaskStage, SimCSEStage, SupervisedSimCSEStage)


def leaves(model: type[Frozen]) -> set[str]:
    """Dotted paths of a part of the schema, sections included."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen):
            found |= {f"{name}.{leaf}" for leaf in leaves(field.annotation)}
    return found


def exists(setting: str) -> bool:
    prefix, _, path = setting.partition(":")[0].partition(".")
    if prefix == "S":
        return any(path in leaves(stage) for stage in STAGES)
    if prefix in ("T", "H"):
        return (f"head.{path}" if prefix == "H" else path) in leaves(TaskConfig)
    return setting.partition(":")[0] in leaves(TrainConfig)


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) > 45
    assert not exists("S.sampler.knd") and not exists("H.kin: cross") and not exists("nothing")


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_what_exists(row: list[str]) -> None:
    _, paper, settings, file, test = row
    assert re.match(r"00[0-4] ", paper)
    assert (ROOT / file).is_file(), file
    where, _, name = test.partition("::")
    source = ROOT / (where if where.startswith("tests/") else f"tests/minbert/{where}")
    assert f"def {name}(" in source.read_text(encoding="utf-8"), test
    for setting in re.findall(r"`([^`]+)`", settings):
        if setting.startswith("--") or setting in (
            "members",
            "radius",
            "steps",
            "step_size",
            "noise",
            "momentum",
        ):
            continue
        assert exists(setting), setting
