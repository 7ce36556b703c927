"""The card of an exported model: what it is, what it scores, how it was chosen, what that rests on, how to use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from minbert.config import TrainConfig

_HEADER = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- sentence-similarity
- minbert-search
---
"""
_SINGLE = """```python
from transformers import BertModel
from sentence_transformers import SentenceTransformer
from minbert.exported import open_exported

BertModel.from_pretrained("DIR")                            # the encoder alone
SentenceTransformer("DIR").encode(["A sentence ."])         # the vectors that the heads read
open_exported("DIR").predict("{task}", [{example}])  # with the heads
```
"""
_SEVERAL = """```python
from minbert.exported import open_exported

open_exported("DIR").predict("{task}", [{example}])
```

The folder holds several models, each in Hugging Face's layout: `BertModel.from_pretrained` and
`SentenceTransformer` load a folder below `members/`. `minbert.json` has members, weights and thresholds of each task.
"""
_WHICH_EPOCH = {
    "score": "Of the epochs of its last stage the one with the best select score was kept",
    "task": "For each task the model of its own best epoch of the last stage was kept, by the task's select metric",
    "last": "Its last epoch was kept; none was chosen",
}


@dataclass(frozen=True)
class Card:
    """What a card says.

    Attributes:
        title, warning, told, facts: as :class:`analysis.model_choice.ModelChoice` has them.
        scores: the header and the rows of the table of scores.
        configs: by trial number, what each was trained with.
        settings: by trial number, the settings that were searched.
        epochs: by trial number, the epoch that counts, and how many there were.
        members: by task, folders with their weights; empty for a single model.
        remarks: what else must be known.
    """

    title: str
    warning: str
    told: Sequence[str]
    facts: Sequence[tuple[str, str]]
    scores: Sequence[Sequence[str]]
    configs: Mapping[int, TrainConfig]
    settings: Mapping[int, str]
    epochs: Mapping[int, tuple[int, int]]
    members: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def card_text(card: Card) -> str:
    """The card in Markdown, with the metadata that the hub reads."""
    config = next(iter(card.configs.values()))
    task, own = next(iter(config.tasks.items()))
    sentence = ", ".join(f'"Sentence {number} ."' for number in range(1, len(own.text) + 1))
    use = (_SEVERAL if card.members else _SINGLE).format(task=task, example=f"({sentence},)")
    parts = [
        "" if card.members else _HEADER,
        f"# {card.title}\n",
        f"A multitask BERT for {', '.join(config.tasks)}, found by a search over configurations.\n",
        f"**{card.warning}**\n" if card.warning else "",
        f"## Scores\n\n{_table(card.scores)}\n",
        f"Intervals are over examples.{' ' + remarks if (remarks := ' '.join(card.remarks)) else ''}\n",
        f"## How it was chosen\n\n{_listed([*card.told, *_epochs(card)])}",
        f"## What it rests on\n\n{_listed(f'{name}: {_line(text)}' for name, text in card.facts)}",
        f"## The model\n\n{_listed([*_models(card), *_heads(card), *_classes(card)])}",
        f"## Use\n\n{use}",
    ]
    return "\n".join(part for part in parts if part)


def _epochs(card: Card) -> list[str]:
    rules = dict.fromkeys(config.checkpoint for config in card.configs.values())
    return [f"{_WHICH_EPOCH[rule]}{_of(card, rule)}." for rule in rules]


def _of(card: Card, rule: str) -> str:
    own = [number for number, config in card.configs.items() if config.checkpoint == rule]
    return "" if len(own) == len(card.configs) else f" (trials {', '.join(map(str, own))})"


def _models(card: Card) -> Iterable[str]:
    for task, members in card.members.items():
        shares = ", ".join(f"{folder} ({weight:.0%})" for folder, weight in members.items())
        yield f"{task}: {shares}"
    for number, config in card.configs.items():
        stages = ", ".join(f"{name} ({stage.epochs:g} epochs)" for name, stage in config.running_stages())
        pooled = {"mean": "mean over tokens", "cls": "first token", "pooler": "BERT's pooler"}[config.pooling]
        shared = "" if config.shared_layer == "none" else f", a layer shared by {config.shared_layer}"
        counts = "epoch {} of {}".format(*card.epochs[number]) if number in card.epochs else ""
        kept = f", kept: {counts}" if counts and config.checkpoint != "task" else ""
        searched = f"; searched: {card.settings[number]}" if card.settings.get(number) else ""
        yield (
            f"Trial {number}: seed {config.seed}, stages {stages}{kept}; pooling: {pooled}{shared}; "
            f"{config.max_length} tokens at most{searched}"
        )


def _heads(card: Card) -> Iterable[str]:
    """What the cosine of two sentence vectors has to do with a pair task."""
    if card.members:
        return
    (config,) = card.configs.values()
    for task, own in config.tasks.items():
        if len(own.text) < 2:
            continue
        if own.head.kind == "cosine":
            yield f"{task}: answered by the cosine of the two sentence vectors"
        else:
            yield f"{task}: answered by a {own.head.kind} head; the cosine of two sentence vectors is not that answer"


def _classes(card: Card) -> Iterable[str]:
    """What the numbers that are answered stand for, where the data have words for them."""
    config = next(iter(card.configs.values()))
    for task, own in config.tasks.items():
        if own.labels is not None:
            named = ", ".join(f"{number} `{_line(label)}`" for number, label in enumerate(own.labels))
            yield f"{task}: the classes are {named}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    header, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([header, "|" + " --- |" * len(rows[0]), *body])


def _listed(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines if line)


def _line(text: str) -> str:
    return " ".join(text.split())
