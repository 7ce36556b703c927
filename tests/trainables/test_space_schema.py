"""The JSON Schema of space files: it takes what is valid, and refuses what it can say of what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from minbert import command_line
from minbert.config import TrainConfig
from minbert.dotted import leaves, put
from minbert.errors import UserError
from minbert.yaml_reader import read_yaml
from tests.bad_input.test_bad_input import fill
from tests.trainables.commands import SPACE
from trainables import space
from trainables.schema.field_notes import field_notes
from trainables.schema.space_schema import space_schema
from trainables.space_pages.parts import read_parts
from trainables.spaces.files import FOLDER, available_spaces
from trainables.spaces.space import load_space

BAD = yaml.safe_load((Path(__file__).parents[1] / "bad_input" / "spaces.yaml").read_text(encoding="utf-8"))
SCHEMA = space_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)
TREES = {name: read_yaml(FOLDER / f"{name}.yaml").data for name in available_spaces()}


def mistakes(tree: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}"[:300] for error in CHECK.iter_errors(tree)]


def test_the_command_prints_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["space", "schema"])
    assert command_line.run(space.main) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", [*TREES, "tests"])
def test_a_space_that_is_committed_is_valid(name: str) -> None:
    assert mistakes(TREES[name] if name in TREES else read_yaml(SPACE).data) == []


REFUSED = [
    "unknown key", "unknown distribution", "level that is not allowed", "empty list of levels",
    "logarithm of zero", "condition on a leaf that is not there", "levels that exclude each other",
    "a list instead of a mapping", "empty file", "extends nothing that exists", "unknown design",
    "runs in a space that draws", "grid over a range of numbers", "aliases that blow up",
    "fixed leaf without effect",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_space_is_refused(name: str, tmp_path: Path) -> None:
    fill(tmp_path / "space.yaml", BAD[name])
    assert not CHECK.is_valid(yaml.safe_load((tmp_path / "space.yaml").read_text()))


def test_enough_malformed_spaces_are_refused() -> None:
    assert len(REFUSED) >= 15


def sections(tree: Any, *within: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """All mappings, each with the keys that lead there."""
    if isinstance(tree, dict):
        yield within, tree
        for key, value in tree.items():
            yield from sections(value, *within, key)


OPEN = {"reported", "members", "setting", "sizes"}
"""Mappings whose keys their writer chooses and whose values may be anything or numbers."""


@pytest.mark.parametrize("name", ["full_ablation", "essentials", "papers/multi_bert"])
def test_an_unknown_key_is_refused_wherever_it_stands(name: str) -> None:
    around = {"search": {"design": "listed"}, "runs": {"a": None}} if "runs" in TREES[name] else {}
    tried = 0
    for keys, section in sections(TREES[name]):
        if not keys or OPEN & set(keys[-2:]):
            continue
        with_it: dict[str, Any] = {**section, "surely_unknown": 1}
        without: dict[str, Any] = section
        for key in reversed(keys):
            with_it, without = {key: with_it}, {key: without}
        assert mistakes(around | with_it) != mistakes(around | without), keys
        tried += 1
    assert tried > 8
    assert mistakes({**TREES[name], "surely_unknown": 1})


VALID = {
    "an empty section": "stages: {finetune: {}}\npooling: {choice: [mean, cls]}",
    "null for the default": "stages: {finetune: {epochs: null}}\nmax_length: null\npooling: {choice: [mean, cls]}",
    "levels that are sections": "tasks: {sts: {head: {choice: [{kind: cosine}, {kind: concat, hidden_layers: 1}]}}}",
    "whole numbers on a grid": "stages: {finetune: {batch_size: {uniform: [16, 32], step: 16}}}",
    "a range of integers for a number": "stages: {finetune: {weight_decay: {int: [0, 1]}}}",
    "half epochs": "stages: {finetune: {epochs: {choice: [1, 2.5]}}}",
    "a condition on a value within a level": (
        "tasks: {sts: {head: {choice: [{kind: cosine}, {kind: concat}]}}}\n"
        "pooling: {choice: [mean, cls], when: {tasks.sts.head.kind: cosine}}"
    ),
    "a condition with several paths": (
        "shared_layer: {choice: [none, all]}\npooling: {choice: [mean, cls]}\n"
        "shared_dropout: {choice: [0.1, 0.2], when: {shared_layer: [all], pooling: mean}}"
    ),
    "a stage of one's own": (
        "recipe: [pre, finetune]\n"
        "stages: {pre: {kind: simcse, epochs: 1, temperature: {log_uniform: [0.01, 0.1]}, dropout: 0.1}}"
    ),
    "a kind that is drawn": (
        "recipe: [pre, finetune]\n"
        "stages: {pre: {kind: {choice: [simcse, supervised_simcse]}, epochs: 1, dropout: 0.1}}"
    ),
    "a list by dotted paths at any depth": (
        "search: {design: listed}\n"
        "runs:\n  a: {set: {stages.finetune.epochs: 1}}\n  b: {set: {stages: {finetune.epochs: 2}}, note: text}\n"
        "  c: {set: {stages: {finetune: {sampler.kind: merged}}}, interpretation: [one, two]}\n  d:"
    ),
    "another task": (
        "tasks: {other: {kind: binary, head: {kind: linear}, text: [sentence], label: y, batch_size: {choice: [8, 16]}}}"
    ),
    "labels that are numbers": (
        "tasks: {other: {kind: classification, labels: [1, 2, 3], head: {kind: linear}, text: [sentence], label: y}}"
    ),
    "a base": "search: {design: one_factor, base: {pooling: cls}}\npooling: {choice: [mean, cls]}",
    "a grid that extends a wide space": (
        "extends: full_ablation\nsearch: {design: grid, early_stopping: null}\n"
        "stages: {finetune: {learning_rate: 1e-4, dropout: {uniform: [0, 0.5], step: 0.25}}}"
    ),
    "no early stopping": "search: {early_stopping: null, trials: null}\npooling: {choice: [mean, cls]}",
    "a weight that is drawn": (
        "stages: {finetune: {sampler: {kind: random, weights: {qqp: {choice: [1, 2]}}}}}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALID)
def test_what_can_be_read_is_valid_however_it_is_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(VALID[name])
    read_parts(str(path))  # it can be read
    assert mistakes(read_yaml(path).data) == []


INVALID = {
    "a leaf of another kind of stage": "stages: {finetune: {temperature: 0.1}}",
    "a leaf of another kind of one's own stage": "stages: {pre: {kind: simcse, sampler: {kind: merged}}}",
    "out of bounds": "stages: {finetune: {dropout: 1.5}}",
    "an end out of bounds": "stages: {finetune: {dropout: {uniform: [0, 1.5]}}}",
    "true for a number": "max_length: true",
    "one for true": "stages: {finetune: {pcgrad: 1}}",
    "a range for a name": "pooling: {uniform: [0, 1]}",
    "a continuum for integers": "max_length: {log_uniform: [16, 64]}",
    "two distributions": "max_length: {int: [16, 64], choice: [16, 64]}",
    "a step beside a choice": "max_length: {choice: [16, 64], step: 2}",
    "three ends": "max_length: {int: [16, 32, 64]}",
    "a condition with a value that the leaf cannot have": "pooling: {choice: [mean, cls], when: {shared_layer: every}}",
    "a distribution within a level": "tasks: {sts: {head: {choice: [{kind: {choice: [cosine, dot]}}]}}}",
    "a distribution in a list": "search: {design: listed}\nruns: {a: {set: {pooling: {choice: [mean, cls]}}}}",
    "a distribution beside a list": "search: {design: listed}\npooling: {choice: [mean, cls]}\nruns: {a: }",
    "a list without runs": "search: {design: listed}",
    "no runs": "search: {design: listed}\nruns: {}",
    "a dotted path to nowhere": "search: {design: listed}\nruns: {a: {set: {stages.finetune.epoch: 1}}}",
    "a dotted path with a wrong value": "search: {design: listed}\nruns: {a: {set: {stages.finetune.epochs: -1}}}",
    "a score above 1": "search: {design: listed}\nruns: {a: {reported: {sst: 53.6}}}",
    "what options choose": "seed: 3\npooling: {choice: [mean, cls]}",
    "what is the same for all runs": "search: {design: listed}\nruns: {a: {set: {device: cpu}}}",
    "surgery without the sampler it needs": "stages: {finetune: {pcgrad: true, sampler: {kind: merged}}}",
    "two lengths of an epoch": "stages: {finetune: {epoch_steps: 10, epoch_examples: 100}}",
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_a_mistake_that_is_refused_when_read_is_marked(name: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(INVALID[name])
    assert mistakes(read_yaml(path).data)
    if name != "what options choose":  # which only a search refuses
        with pytest.raises(UserError):
            load_space(str(path))


def test_every_leaf_is_there_with_its_default_and_as_a_choice() -> None:
    for path, value in leaves(TrainConfig().model_dump(mode="json")).items():
        if path.split(".")[0] in ("data", "encoder", "seed"):
            assert mistakes(put({}, path, value))
            continue
        assert mistakes(put({}, path, value)) == [], path
        assert mistakes(put({}, path, {"choice": [value]})) == [], path
        assert mistakes(put({}, path, {"chioce": [value]})), path
        assert mistakes({"pooling": {"choice": ["cls"], "when": {path: [value]}}}) == [], path


def test_leaves_are_described_in_plain_words() -> None:
    definitions = SCHEMA["$defs"]
    text = json.dumps(definitions)
    assert "``" not in text and ":mod:" not in text
    assert definitions["SimCSEStage.mlm_share"]["description"] == "Share of the tokens that it masks."
    inherited = definitions["MultitaskStage.drawn"]["properties"]["epoch_steps"]["description"]
    assert inherited == "Optimiser steps per epoch, instead of epoch_examples."
    assert definitions["Search"]["properties"]["replicates"]["description"].startswith(
        "Runs of each configuration"
    )
    assert definitions["Run"]["properties"]["set"]["description"].startswith("What it changes")
    assert field_notes(TrainConfig)["max_length"].startswith("Tokens a sequence")


def test_all_that_is_referred_to_is_defined_and_all_that_is_defined_is_referred_to() -> None:
    text = json.dumps(SCHEMA)
    referred = {part.partition('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert referred <= SCHEMA["$defs"].keys()
    assert SCHEMA["$defs"].keys() - referred == set()
