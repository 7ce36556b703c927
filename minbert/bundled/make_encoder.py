"""Make the bundled encoder: ``python -m minbert.bundled.make_encoder [--out FOLDER]``.

A tiny BERT is pre-trained on text of the grammar that is generated as it goes: masked
words (Devlin et al. 2019) in single sentences and in pairs, where the second sentence
tells of the same thing or of another one, which [CLS] has to say. No label of the
corpus is seen. Takes some eight minutes on one core; one seed gives one encoder on one
kind of machine (floating-point sums differ in the last digits between machines).
"""

from __future__ import annotations

import argparse
import json
import random
import string
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from minbert.bundled import ENCODER
from minbert.bundled.grammar import (
    COMPARISONS,
    DEGREES,
    NUMBERS,
    SCENES,
    TO_PEOPLE,
    TO_THINGS,
    TOWNS,
    TRAITS,
    VALUES,
    VEHICLES,
    Words,
    ask,
    draw_event,
    draw_question,
    draw_review,
    judge,
    participle,
    past,
    plural,
    tell,
)

SEED = 1234
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STEPS = 5000
BATCH = 64
LEARNING_RATE = 1e-3
MASKED = 0.2
"""Share of the words with a meaning that have to be guessed; a quarter as many of the others."""
ECHOED = 0.5
"""Share of the paraphrases that keep the sentence's build."""
LOSS_WEIGHTS = torch.tensor([1.0, 3.0, 0.5])
"""Of masked words, foreign words and the relation."""
REPORT_EVERY = 250


class Passage(NamedTuple):
    """One sentence, or two and whether they belong together; and which words were put in other words' places."""

    first: Words
    second: Words | None
    related: bool
    foreign: list[bool]


def draw_passage(rng: random.Random) -> Passage:
    """Draw a sentence, alone, with a paraphrase (some words of which may be foreign) or with a stranger."""
    say = rng.choices((_say_event, _say_question, _say_review), (0.45, 0.3, 0.25))[0]
    first, again = say(rng)
    manner = rng.random()
    if manner < 0.15:
        return Passage(first, None, True, [False] * len(first))
    if manner < 0.3:
        _, stranger = say(rng)
        return Passage(first, stranger, False, [False] * (len(first) + len(stranger)))
    second, foreign = disturb(echo(first, rng) if rng.random() < ECHOED else again, rng)
    return Passage(first, second, True, [*[False] * len(first), *foreign])


def echo(words: Words, rng: random.Random) -> Words:
    """Say the same with the same build, some words replaced by synonyms."""
    return [rng.choice(SYNONYMS[word]) if word in SYNONYMS and rng.random() < 0.6 else word for word in words]


def disturb(words: Words, rng: random.Random) -> tuple[Words, list[bool]]:
    """Exchange two words of one kind, or put others of their kind in the place of some."""
    changed = list(words)
    alike = [places for places in _places_by_kind(words).values() if len(places) > 1]
    manner = rng.random()
    if alike and manner < 0.25:
        one, two = rng.sample(rng.choice(alike), 2)
        changed[one], changed[two] = changed[two], changed[one]
    elif manner < 0.6:
        changed = [
            rng.choice(KINDS[KIND_OF[word]]) if word in KIND_OF and rng.random() < 0.2 else word
            for word in words
        ]
    return changed, [new != old for new, old in zip(changed, words, strict=True)]


def _places_by_kind(words: Words) -> dict[int, list[int]]:
    places: dict[int, list[int]] = {}
    for place, word in enumerate(words):
        if word in KIND_OF:
            places.setdefault(KIND_OF[word], []).append(place)
    return places


def _flat(*lists: Iterable[Iterable[str]]) -> Words:
    return sorted({word for concepts in lists for concept in concepts for word in concept})


def _kinds() -> tuple[Words, ...]:
    people = _flat(*(scene.people for scene in SCENES))
    things = _flat(*(scene.objects for scene in SCENES))
    deeds = _flat(verb.words for verb in (*TO_PEOPLE, *TO_THINGS))
    values = [word for words in VALUES.values() for word in words]
    return (
        people,
        [plural(word) for word in people],
        things,
        [plural(word) for word in things],
        deeds,
        sorted({past(verb) for verb in deeds} | {participle(verb) for verb in deeds}),
        _flat(*(scene.places for scene in SCENES)),
        _flat(TRAITS),
        _flat(COMPARISONS),
        _flat(TOWNS),
        _flat(VEHICLES),
        values,
        [degree for degree in DEGREES if degree],
        [*NUMBERS],
    )


KINDS = _kinds()
"""Words that can stand in each other's place."""
KIND_OF = {word: number for number, words in reversed(list(enumerate(KINDS))) for word in words}


def _synonyms() -> dict[str, Words]:
    nouns = [concept for scene in SCENES for concept in (*scene.people, *scene.objects)]
    verbs = [verb.words for verb in (*TO_PEOPLE, *TO_THINGS)]
    groups = [
        *nouns,
        *([plural(word) for word in concept] for concept in nouns),
        *(concept for scene in SCENES for concept in scene.places),
        *verbs,
        *([past(verb) for verb in concept] for concept in verbs),
        *([participle(verb) for verb in concept] for concept in verbs),
        *TRAITS,
        *COMPARISONS,
        *VEHICLES,
        *VALUES.values(),
    ]
    return {word: list(group) for group in groups for word in group}


SYNONYMS = _synonyms()
"""Words that say the same, by word; judgements of one worth among them."""


def _say_event(rng: random.Random) -> tuple[Words, Words]:
    event = draw_event(rng)
    return [*tell(event, rng), "."], [*tell(event, rng), "."]


def _say_question(rng: random.Random) -> tuple[Words, Words]:
    question = draw_question(rng)
    return [*ask(question, rng), "?"], [*ask(question, rng), "?"]


def _say_review(rng: random.Random) -> tuple[Words, Words]:
    review = draw_review(rng)
    return [*judge(review, rng), "."], [*judge(review, rng), "."]


def build_vocabulary(rng: random.Random) -> list[str]:
    """Return the word-pieces: every word of the grammar, and characters to spell any other word with."""
    counts = Counter("an" for _ in SCENES)
    for _ in range(40_000):
        passage = draw_passage(rng)
        counts.update(passage.first)
        counts.update(passage.second or [])
    words = sorted(counts, key=lambda word: (-counts[word], word))
    characters = [*string.ascii_lowercase, *string.digits]
    pieces = [*string.punctuation, *characters, *(f"##{character}" for character in characters)]
    return [*SPECIAL, *words, *(piece for piece in pieces if piece not in counts)]


class Batch(NamedTuple):
    """Masked input and what it should be; shapes (sentences, tokens) but ``related`` (sentences,)."""

    input_ids: Tensor
    token_type_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    foreign: Tensor
    related: Tensor


def batches(vocabulary: list[str], rng: random.Random, generator: torch.Generator) -> Iterator[Batch]:
    """Yield masked batches of passages of about the same length, without end."""
    index = {piece: number for number, piece in enumerate(vocabulary)}
    while True:
        pool = sorted(
            (draw_passage(rng) for _ in range(BATCH * 32)), key=lambda p: len(p.first) + len(p.second or ())
        )
        starts = list(range(0, len(pool), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield _mask(pool[start : start + BATCH], index, generator)


def _mask(passages: list[Passage], index: dict[str, int], generator: torch.Generator) -> Batch:
    rows, types, foreign = [], [], []
    for passage in passages:
        words = [
            "[CLS]",
            *passage.first,
            "[SEP]",
            *(passage.second or []),
            *(["[SEP]"] if passage.second else []),
        ]
        middle = len(passage.first)
        rows.append(torch.tensor([index[word] for word in words]))
        types.append(torch.tensor([int(place > middle + 1) for place in range(len(words))]))
        flags = [False, *passage.foreign[:middle], False, *passage.foreign[middle:], False]
        foreign.append(torch.tensor(flags[: len(words)], dtype=torch.float))
    ids, segments, flags = (
        nn.utils.rnn.pad_sequence(part, batch_first=True) for part in (rows, types, foreign)
    )
    chance = torch.rand(ids.shape, generator=generator).masked_fill(ids < len(SPECIAL), 1.0)
    content = torch.tensor([word in KIND_OF for word in index])[ids]
    hidden = (chance < torch.where(content, MASKED, MASKED / 4)) & (flags == 0)
    labels = torch.where(hidden, ids, -100)
    masked = torch.where(hidden, index["[MASK]"], ids)
    related = torch.tensor(
        [passage.related if passage.second else -100 for passage in passages], dtype=torch.long
    )
    asked = torch.where(hidden | (ids < len(SPECIAL)), -1.0, flags)
    return Batch(masked, segments, (ids != 0).long(), labels, asked, related)


class PreTraining(nn.Module):
    """BERT with its two pre-training heads; words are predicted only where one is asked for."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config)
        size = config.hidden_size
        self.transform = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.relation = nn.Linear(size, 2)
        self.foreign = nn.Linear(size, 1)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses of the masked words, of the foreign words and of the relation."""
        output = self.bert(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        asked = batch.labels != -100
        hidden = self.transform(output.last_hidden_state[asked])
        logits = hidden @ self.bert.embeddings.word_embeddings.weight.T + self.bias
        words = nn.functional.cross_entropy(logits, batch.labels[asked])
        relation = nn.functional.cross_entropy(
            self.relation(output.pooler_output), batch.related, ignore_index=-100
        )
        seen = batch.foreign >= 0
        scores = self.foreign(output.last_hidden_state[seen]).squeeze(1)
        foreign = nn.functional.binary_cross_entropy_with_logits(scores, batch.foreign[seen])
        return words, foreign, torch.nan_to_num(relation)  # a batch of single sentences has no relation


def tiny_config(vocabulary: list[str]) -> BertConfig:
    """Return the configuration of the tiny BERT."""
    return BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=128,
        initializer_range=0.08,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )


def pretrain(vocabulary: list[str], steps: int) -> BertModel:
    """Pre-train the tiny BERT, printing the losses as it goes."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = PreTraining(tiny_config(vocabulary))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    warmup = steps // 20
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / (steps - warmup))
    )
    stream = batches(vocabulary, random.Random(SEED), torch.Generator().manual_seed(SEED))
    start, sums = time.monotonic(), torch.zeros(3)
    for step in range(1, steps + 1):
        losses = torch.stack(model(next(stream)))
        optimizer.zero_grad()
        (losses * LOSS_WEIGHTS).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += losses.detach()
        if step % REPORT_EVERY == 0:
            words, foreign, relation = (sums / REPORT_EVERY).tolist()
            print(
                f"step {step}/{steps}  words {words:.3f}  foreign {foreign:.3f}  relation {relation:.3f}  {time.monotonic() - start:.0f} s",
                flush=True,
            )
            sums.zero_()
    return model.bert


def save(bert: BertModel, vocabulary: list[str], folder: Path) -> None:
    """Write the encoder in Hugging Face's layout, with a vocabulary that any BERT tokenizer reads."""
    bert.config.hidden_dropout_prob = bert.config.attention_probs_dropout_prob = 0.1
    bert.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 128}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Pre-train and write the encoder where the package expects it, or into --out."""
    parser = argparse.ArgumentParser(
        prog="python -m minbert.bundled.make_encoder", description="Make the bundled encoder."
    )
    parser.add_argument(
        "--out", type=Path, default=ENCODER, help="folder to write into (default: the package's own)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps (default: %(default)s)")
    arguments = parser.parse_args()
    vocabulary = build_vocabulary(random.Random(SEED))
    save(pretrain(vocabulary, arguments.steps), vocabulary, arguments.out)


if __name__ == "__main__":
    main()
