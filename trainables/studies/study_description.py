"""What study.yaml says of a study, beside its numerics."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from minbert.sources import Sources
from trainables.designs.design import build_design
from trainables.spaces.around import Around
from trainables.spaces.claims import claims_to_yaml
from trainables.spaces.distributions import Factor, stored
from trainables.spaces.one_factor import described_design, level_values
from trainables.spaces.run_checks import described_runs, identify
from trainables.spaces.space import Space
from trainables.studies.study import identity
from trainables.studies.study_difference import Spec

_PACKAGES = ("torch", "ray", "optuna", "transformers", "numpy")


def described_study(space: Space, sources: Sources, seed: int, command: str) -> Spec:
    """What is searched, on what, and by which versions.

    Args:
        space, sources, seed: what makes the study what it is.
        command: the command line that continues it.
    """
    config = space.example()
    known = identity(space, sources, seed)
    data = {
        "bundled": sources.data_bundled,
        "notes": list(sources.corpus.notes),
        "overlap": sources.corpus.overlap,
        "examples": {
            task: {split: len(examples) for split, examples in splits.items()}
            for task, splits in sources.corpus.splits.items()
        },
    }
    shape = sources.encoder.config
    encoder = {
        "bundled": sources.encoder_bundled,
        "name": sources.encoder.folder.name,
        "layers": shape.num_hidden_layers,
        "hidden_size": shape.hidden_size,
    }
    return {
        **known,
        "command": command,
        "factors": [_factor(space, factor) for factor in space.factors],
        "tasks": {
            name: task.model_dump(mode="json", include={"kind", "classes", "label_range"})
            for name, task in config.tasks.items()
        },
        "replicates": space.settings.replicates,
        "data": known["data"] | data,
        "encoder": known["encoder"] | encoder,
        "selection": config.selection,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def described_plan(space: Space, pinned: Mapping[str, Any], around: Around | None = None) -> Spec:
    """How many runs there will be, and which.

    Of a listed space also what it says of them and which run trains each; of a one_factor one its base and
    comparisons (:func:`trainables.spaces.one_factor.described_design`) and, under ``around``, where the base came from.
    """
    design = space.settings.design
    runs = build_design(space, lambda params: identify(space, params, pinned)).runs
    spec: Spec = {"design": design, "trials": runs}
    if space.paper:
        spec["paper"] = space.paper.model_dump(mode="json")
    if space.runs.rows:
        spec["runs"] = described_runs(space, pinned)
    if space.claims:
        spec["claims"] = claims_to_yaml(space.claims)
    if design == "one_factor":
        spec |= described_design(space, pinned, chosen=around is not None)
    if around is not None:
        spec["around"] = around.model_dump(mode="json")
    return spec


def _factor(space: Space, factor: Factor) -> dict[str, Any]:
    if space.settings.design == "one_factor":
        return {"path": factor.path, "levels": list(level_values(space, factor))}
    return described_factor(factor)


def described_factor(factor: Factor) -> dict[str, Any]:
    """A factor as study.yaml has it: its levels as trials hold them, or its range."""
    node = factor.to_yaml()
    for kind in ("uniform", "log_uniform"):
        if kind in node:
            low, high = node[kind]
            return {"path": factor.path, "low": low, "high": high, "log": kind == "log_uniform"}
    return {"path": factor.path, "levels": [stored(level) for level in factor.distribution.levels()]}
