"""What a search says it found out for `auto`, and what it keeps of that."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from minbert import devices
from minbert.bundled import CORPUS, ENCODER
from minbert.interrupts import Interrupts
from minbert.sources import resolve
from trainables.machines.placement import Node, Placement, Room, TrialResources
from trainables.running.driver import Plan, _probed
from trainables.spaces.space import load_space
from trainables.studies.study import NUMERICS

PLACEMENT = Placement(Room((Node(2, 0),)), TrialResources(1, 0))


@pytest.mark.parametrize(
    ("set_to", "taken", "told"),
    [
        ("auto", "fp32", "precision: fp32 (bf16 is 1.11 times as fast as fp32 here)\n"),
        ("bf16", "bf16", "precision: bf16\n"),
    ],
)
def test_a_search_tells_which_precision_it_takes_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_to: str, taken: str, told: str
) -> None:
    monkeypatch.setattr(devices, "bf16_speed", lambda *_: 1.11)
    (tmp_path / "one.yaml").write_text(
        f"search: {{design: listed}}\nruns: {{one: {{}}}}\nprecision: {set_to}\n"
    )
    space = load_space(str(tmp_path / "one.yaml")).fix("device", "cpu")
    plan = Plan(space, resolve(str(CORPUS), str(ENCODER), space.example().tasks), tmp_path, 0, "")
    said = io.StringIO()
    found = _probed(plan, PLACEMENT, Console(file=said, width=200), Interrupts(""))
    assert found == {"device": "cpu", "precision": taken, "threads": 1}
    assert set(found) == set(NUMERICS)
    assert said.getvalue() == told
