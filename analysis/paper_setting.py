"""In what a listed study's setting is not that of the paper whose runs it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.provenance import encoder_name, example_counts, fidelity, set_for_all
from analysis.study import Study

OTHER = "not the paper's setting"
UNCHECKED = "data not checked"
_SPLITS = ("train", "dev")
_SHAPES = {"bert-base-uncased": (12, 768)}
"""Layers and width of the encoders that papers use."""
_SKIPPED = 0.001
"""Files have a few rows without a text or a label, which are not read and which papers may count."""

Counts = Mapping[str, Mapping[str, int]]
"""Examples by task and split."""


def other_setting(study: Study) -> list[str]:
    """Say in what the study differs from its paper: encoder, data, fidelity, settings of the command line."""
    named = _mapping(_mapping(study.meta.get("paper")).get("setting"))
    reasons = [*_encoder(study, named), *_data(study, _paper_counts(study))]
    name = str(study.meta.get("name") or "")
    if study.meta.get("paper") and not name.startswith("papers/"):
        reasons.append(f"a space of its own ({name})")
    if fidelity(study) != 1:
        reasons.append(f"fidelity {fidelity(study):g}")
    changed = set_for_all(study)
    if changed:
        reasons.append(f"set for all runs: {', '.join(changed)}")
    return reasons


def unchecked_data(study: Study) -> str:
    """Which data could not be compared with the paper's, and why; empty when all were."""
    paper = _mapping(study.meta.get("paper"))
    if not paper or _mapping(study.meta.get("data")).get("bundled"):
        return ""
    theirs, ours = _paper_counts(study), _own_counts(study)
    told = []
    for said, counts in (("the paper gives no sizes of", theirs), ("the study does not count", ours)):
        missing = [
            f"{task} {split}"
            for task in study.tasks
            for split in _SPLITS
            if split not in counts.get(task, ())
        ]
        if missing:
            told.append(f"{said} {', '.join(missing)}")
    texts = _mapping(_mapping(study.meta.get("data")).get("texts"))
    if texts:
        told.append(f"the content of {', '.join(texts)} is not compared")
    return "; ".join(told)


def chosen_on_dev(study: Study) -> bool:
    """Whether some run keeps the epoch that does best on the very dev examples that its scores are of."""
    space = _mapping(study.meta.get("space"))
    own = [
        _mapping(_mapping(run).get("set")).get("checkpoint") for run in _mapping(space.get("runs")).values()
    ]
    rules = [rule or space.get("checkpoint") or "score" for rule in own or [None]]
    return study.meta.get("selection") == "dev" and any(rule != "last" for rule in rules)


def _encoder(study: Study, named: Mapping[str, Any]) -> list[str]:
    wanted, own = named.get("encoder"), encoder_name(study)
    instead = f" instead of {wanted}" if wanted else ""
    if _mapping(study.meta.get("encoder")).get("bundled"):
        return [f"the bundled miniature encoder{instead}"]
    encoder = _mapping(study.meta.get("encoder"))
    shape = (encoder.get("layers"), encoder.get("hidden_size"))
    if None not in shape and shape != _SHAPES.get(str(wanted), shape):
        return [f'the encoder "{own}" of {shape[0]} layers, {shape[1]} wide{instead}']
    return [f'the encoder "{own}"{instead}'] if wanted and own.rpartition("/")[2] != wanted else []


def _data(study: Study, theirs: Counts) -> list[str]:
    """Bundled data, or tasks that have another number of examples than the paper names."""
    if _mapping(study.meta.get("data")).get("bundled"):
        return ["the bundled miniature data"]
    reasons = []
    for task, own in _own_counts(study).items():
        paper = theirs.get(task, {})
        others = [
            split
            for split in own
            if split in paper and abs(own[split] - paper[split]) > _SKIPPED * paper[split]
        ]
        if others:
            counted = " and ".join(f"{own[split]:,} {split}" for split in others)
            reasons.append(
                f"{task} of {counted} examples instead of {' and '.join(f'{paper[one]:,}' for one in others)}"
            )
    return reasons


def _paper_counts(study: Study) -> Counts:
    """The sizes of its sets that a paper names."""
    sizes = _mapping(_mapping(study.meta.get("paper")).get("sizes"))
    return {
        str(task): {split: count for split, count in _mapping(of_task).items() if isinstance(count, int)}
        for task, of_task in sizes.items()
    }


def _own_counts(study: Study) -> Counts:
    """Those stored with the study; of an older one the dev examples that a complete trial predicted."""
    stored = example_counts(study)
    if stored:
        return stored
    complete = study.trials.loc[study.trials["state"] == "complete", "number"].head(1).tolist()
    counted = {}
    for task in study.tasks:
        found = study.predictions(task, complete)
        dev = int(((found["split"] == "dev") & found["label"].notna()).sum())
        counted[task] = {"dev": dev} if dev else {}
    return counted


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
