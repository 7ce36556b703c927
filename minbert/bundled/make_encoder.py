"""Make the bundled encoder: ``python -m minbert.bundled.make_encoder [--out FOLDER]``.

A tiny BERT is pre-trained on sentence pairs that the grammar generates as it goes: a
sentence and a paraphrase of it, which starts as a mere repetition and becomes freer, and
in which some words may have been exchanged for others. The encoder has to guess masked
words of the paraphrase (Devlin et al. 2019), to find the foreign ones (Clark et al.
2020), and to tell from [CLS] a paraphrase from a strange sentence. It sees no label of
the corpus.
Takes about five minutes on one core. One seed gives one encoder on one kind of machine:
the last digits of floating-point sums differ between machines.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from minbert.bundled import ENCODER
from minbert.bundled.pretraining_text import LIKES, Pair, build_vocabulary, draw_pair

SEED = 1234
STEPS = 7000
GAIN = 2.5
BATCH = 32
LEARNING_RATE = 1e-3
MASKED = 0.3
"""Share of the paraphrase's words that have to be guessed; a quarter as many of those without a meaning."""
FREE_AFTER = 1000
"""Step from which on paraphrases are as free as they get."""
REPORT_EVERY = 250


class Batch(NamedTuple):
    """Masked pairs and what is asked about them; (pairs, tokens), ``related`` (pairs,).

    ``words`` holds the words to guess and −100 elsewhere, ``foreign`` 0 or 1 where that is
    asked and −1 elsewhere.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    words: Tensor
    foreign: Tensor
    related: Tensor


def make_batch(pairs: list[Pair], vocabulary: list[str], generator: torch.Generator) -> Batch:
    """Turn pairs into tokens and mask some words of the second sentences."""
    index = {piece: number for number, piece in enumerate(vocabulary)}
    content = torch.tensor([piece in LIKES for piece in vocabulary])
    ids = [[index[word] for word in ("[CLS]", *pair.first, "[SEP]", *pair.second, "[SEP]")] for pair in pairs]
    segments = [[0] * (len(pair.first) + 2) + [1] * (len(pair.second) + 1) for pair in pairs]
    foreign = [[-1] * (len(pair.first) + 2) + [int(flag) for flag in pair.foreign] + [-1] for pair in pairs]
    tokens, flags = _padded(ids, 0), _padded(foreign, -1)
    chance = torch.where(content[tokens], MASKED, MASKED / 4)
    hidden = (torch.rand(tokens.shape, generator=generator) < chance) & (flags == 0)
    return Batch(
        input_ids=torch.where(hidden, index["[MASK]"], tokens),
        attention_mask=(tokens != 0).long(),
        token_type_ids=_padded(segments, 0),
        words=torch.where(hidden, tokens, -100),
        foreign=torch.where(hidden, -1, flags).float(),
        related=torch.tensor([float(pair.related) for pair in pairs]),
    )


def _padded(rows: list[list[int]], filling: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=filling
    )


class PreTraining(nn.Module):
    """BERT with its three pre-training heads."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config)
        size = config.hidden_size
        self.transform = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.foreign = nn.Linear(size, 1)
        self.related = nn.Linear(size, 1)
        self._look_for_likes()

    def _look_for_likes(self) -> None:
        """Start with equal queries and keys in the first layer: a word attends to its like in the other sentence.

        Without this start the encoder takes many times longer to find out that the sentences of
        a pair belong together. Source: Trockman and Kolter 2023, mimetic initialisation.
        """
        self.bert.embeddings.position_embeddings.weight.data.mul_(0.5)
        layer: Any = self.bert.encoder.layer[0]
        attention = layer.attention.self
        attention.key.weight.data.copy_(attention.query.weight.data)

    def forward(self, batch: Batch) -> Tensor:
        """Return the losses of masked words, of foreign words and of the relation; (3,)."""
        output = self.bert(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
        )
        states = output.last_hidden_state
        masked, seen = batch.words >= 0, batch.foreign >= 0
        logits = self.transform(states[masked]) @ self.bert.embeddings.word_embeddings.weight.T + self.bias
        binary = nn.functional.binary_cross_entropy_with_logits
        return torch.stack(
            [
                nn.functional.cross_entropy(logits, batch.words[masked]),
                binary(self.foreign(states[seen]).squeeze(1), batch.foreign[seen]),
                binary(self.related(output.pooler_output).squeeze(1), batch.related),
            ]
        )


LOSS_WEIGHTS = torch.tensor([1.0, 3.0, 0.5])


def tiny_config(vocabulary: list[str]) -> BertConfig:
    """Return the configuration of the tiny BERT."""
    eager: dict[str, Any] = {"attn_implementation": "eager"}
    return BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=256,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.08,
        **eager,
    )


def pretrain(vocabulary: list[str], steps: int) -> BertModel:
    """Pre-train the tiny BERT, printing the losses as it goes."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng, generator = random.Random(SEED), torch.Generator().manual_seed(SEED)
    model = PreTraining(tiny_config(vocabulary))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 100, 1.0, (steps - step) / (0.5 * steps))
    )
    begin, sums = time.monotonic(), torch.zeros(3)
    for step in range(1, steps + 1):
        pairs = [draw_pair(rng, min(1.0, step / FREE_AFTER)) for _ in range(BATCH)]
        losses = model(make_batch(pairs, vocabulary, generator))
        optimizer.zero_grad()
        (losses * LOSS_WEIGHTS).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += losses.detach()
        if step % REPORT_EVERY == 0:
            words, foreign, related = (sums / REPORT_EVERY).tolist()
            report = f"words {words:.3f}  foreign {foreign:.3f}  relation {related:.3f}"
            print(f"step {step}/{steps}  {report}  {time.monotonic() - begin:.0f} s", flush=True)
            sums.zero_()
    return model.bert


def spread(bert: BertModel, vocabulary: list[str]) -> None:
    """Move the mean of the pooled output vectors to zero and lengthen them by ``GAIN``.

    Vectors this short, all with one large component in common, would have fresh heads learn next
    to nothing at the learning rates that larger encoders like.
    """
    rng, generator = random.Random(SEED), torch.Generator().manual_seed(SEED)
    pairs = [draw_pair(rng, 1.0) for _ in range(512)]
    with torch.inference_mode():
        batch = make_batch(pairs, vocabulary, generator)
        alone = batch.attention_mask * (1 - batch.token_type_ids)
        means = []
        for mask in (batch.attention_mask, alone):
            states = bert(batch.input_ids, mask, batch.token_type_ids).last_hidden_state
            means.append((states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))
    layer: Any = bert.encoder.layer[-1]
    last = layer.output.LayerNorm
    last.bias.data.sub_(torch.cat(means).mean(dim=0)).mul_(GAIN)
    last.weight.data.mul_(GAIN)


def save(bert: BertModel, vocabulary: list[str], folder: Path) -> None:
    """Write the encoder in Hugging Face's layout, with a vocabulary that any BERT tokenizer reads."""
    bert.config.hidden_dropout_prob = bert.config.attention_probs_dropout_prob = 0.1
    bert.config.initializer_range = 0.02  # what fresh heads and layers start from
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
    bert = pretrain(vocabulary, arguments.steps)
    spread(bert, vocabulary)
    save(bert, vocabulary, arguments.out)


if __name__ == "__main__":
    main()
