"""In what a listed study's setting is not that of the paper whose runs it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from analysis.study import Study

_UNTRAINED = ("fidelity", "search.", "device", "precision", "threads")
"""Settings of a command line that are named apart or that change no result much."""


def other_setting(study: Study) -> list[str]:
    """Say in what the study differs from its paper: encoder, data, fidelity, settings of the command line."""
    paper = _mapping(study.meta.get("paper"))
    setting = _mapping(paper.get("setting"))
    reasons = [*_encoder(study, setting), *_data(study, setting)]
    fidelity = _mapping(study.meta.get("space")).get("fidelity")
    if isinstance(fidelity, int | float) and fidelity != 1:
        reasons.append(f"fidelity {fidelity:g}")
    changed = [text for text in _settings(study) if not text.startswith(_UNTRAINED)]
    if changed:
        reasons.append(f"set for all runs: {', '.join(changed)}")
    return reasons


def chosen_on_dev(study: Study) -> bool:
    """Whether some run keeps the epoch that does best on the very dev examples that its scores are of."""
    space = _mapping(study.meta.get("space"))
    own = [
        _mapping(_mapping(run).get("set")).get("checkpoint") for run in _mapping(space.get("runs")).values()
    ]
    rules = [rule or space.get("checkpoint") or "score" for rule in own or [None]]
    return study.meta.get("selection") == "dev" and any(rule != "last" for rule in rules)


def _encoder(study: Study, setting: Mapping[str, Any]) -> list[str]:
    encoder, wanted = _mapping(study.meta.get("encoder")), setting.get("encoder")
    instead = f" instead of {wanted}" if wanted else ""
    if encoder.get("bundled"):
        return [f"the bundled miniature encoder{instead}"]
    name = encoder.get("name")
    return [f"the encoder {name}{instead}"] if wanted and name != wanted else []


def _data(study: Study, setting: Mapping[str, Any]) -> list[str]:
    """Bundled data, or dev sets of another size than any that the paper names as train/dev/test."""
    if _mapping(study.meta.get("data")).get("bundled"):
        return ["the bundled miniature data"]
    named = str(setting.get("data") or "")
    sizes = {int(size.replace(",", "")) for size in re.findall(r"[\d,]+/([\d,]+)/[\d,]+", named)}
    if not sizes:
        return []
    own = {task: _dev_examples(study, task) for task in study.tasks}
    others = [f"{count:,} {task}" for task, count in own.items() if count and count not in sizes]
    return [f"{', '.join(others)} dev examples instead of the paper's ({named})"] if others else []


def _dev_examples(study: Study, task: str) -> int:
    """How many labelled dev examples a complete trial predicted; 0 when unknown or limited by a setting."""
    task_settings = _mapping(_mapping(_mapping(study.meta.get("space")).get("tasks")).get(task))
    if task_settings.get("dev_examples"):
        return 0
    complete = study.trials.loc[study.trials["state"] == "complete", "number"]
    found = study.predictions(task, complete.head(1).tolist())
    return int(((found["split"] == "dev") & found["label"].notna()).sum())


def _settings(study: Study) -> list[str]:
    """``path=value`` of every ``--set`` of the study's command."""
    words = shlex.split(str(study.meta.get("command") or ""))
    after = [word for flag, word in pairwise(words) if flag == "--set"]
    return after + [word.removeprefix("--set=") for word in words if word.startswith("--set=")]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
