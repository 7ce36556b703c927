"""What a configuration asks of data and encoder, checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from minbert.config import (
    MultitaskStage,
    SimCSEStage,
    SupervisedSimCSEStage,
    TrainConfig,
    sentence_tasks,
    text_of,
)
from minbert.corpora.halves import halves, holdout
from minbert.corpora.reader import Corpus
from minbert.devices import check_shape
from minbert.errors import UserError
from minbert.samplers import EpochShape, plan_epoch
from minbert.sources import Sources

_LENGTHS = ("epoch_examples", "epoch_steps")


def check_data(configs: Iterable[TrainConfig], sources: Sources) -> None:
    """Check that every configuration finds the examples, the vocabulary and the encoder that its stages need.

    Raises:
        UserError: one does not; the message names the setting and what is missing.
    """
    checked: set[tuple[str, ...]] = set()
    for config in configs:
        check_shape(config, sources.encoder.config)
        for name, stage in config.running_stages():
            for setting in _settings(config, name, stage):
                if setting not in checked:
                    checked.add(setting)
                    _check(setting, config, sources)


def _settings(
    config: TrainConfig, name: str, stage: MultitaskStage | SimCSEStage | SupervisedSimCSEStage
) -> Iterator[tuple[str, ...]]:
    """What is to be checked: kind, path of the setting, selection, and names."""
    if config.selection == "train_holdout":
        yield from (("holdout", "selection train_holdout", task) for task in config.tasks)
    if config.selection == "dev_half":
        yield from (("halves", "selection dev_half", task) for task in config.tasks)
    if isinstance(stage, MultitaskStage):
        if stage.sampler.kind in ("sequential", "round_robin") or stage.warmup_steps:
            plan = stage.model_dump_json(
                include={"sampler", "batch_size", "epochs", "warmup_steps", *_LENGTHS}
            )
            batches = {task: config.tasks[task].batch_size for task in config.trained_tasks(stage)}
            yield "plan", f"stages.{name}", name, plan, f"{batches} {config.fidelity}"
        for task in stage.mnr.tasks:
            yield "positives", f"stages.{name}.mnr.tasks", task, config.selection
    elif isinstance(stage, SupervisedSimCSEStage):
        if stage.task is not None:
            yield "positives", f"stages.{name}.task", stage.task, config.selection
    else:
        texts = (text_of(stage) or "", *sentence_tasks(config, stage))
        yield "sentences", f"stages.{name}", str(stage.max_length), *texts
        if stage.mlm_weight:
            yield "mask", f"stages.{name}.mlm_weight {stage.mlm_weight}"


def _check(setting: Sequence[str], config: TrainConfig, sources: Sources) -> None:
    kind, where, *names = setting
    corpus = sources.corpus
    if kind == "plan":
        _check_plan(names[0], config, corpus)
    if kind == "mask" and sources.encoder.tokenizer().token_to_id("[MASK]") is None:
        raise UserError(f"{where} needs [MASK], which the vocabulary of {sources.encoder.folder} lacks")
    if kind == "holdout":
        train = corpus.splits[names[0]]["train"]
        if not holdout(train, config.tasks[names[0]].kind).any():
            raise UserError(
                f"{where}: the {len(train)} training examples of {names[0]} leave none to hold out"
            )
    if kind == "halves":
        dev = corpus.splits[names[0]]["dev"]
        if len(set(halves(dev, config.tasks[names[0]].kind).tolist())) < 2:
            raise UserError(
                f"{where}: the dev file of {names[0]} has {len(dev)} row{'s' * (len(dev) > 1)} with text and label, too few or too "
                "much alike to be cut in two halves, one that chooses and one that is reported: give it more, or write "
                "selection: dev"
            )
    if kind == "positives":
        count = _positives(corpus, names[0], config)
        if count < 2:
            raise UserError(
                f"{where}: {names[0]} has {count} positive training pair(s); at least two are needed"
            )
    if kind == "sentences" and len(_some_sentences(sources, int(names[0]), names[1], names[2:])) < 2:
        raise UserError(
            f"{where}: there are not two training sentences that differ in their first {names[0]} tokens"
        )


def _check_plan(name: str, config: TrainConfig, corpus: Corpus) -> None:
    """Refuse an epoch that ends before every task has had its turn, and a warm-up that nothing comes after.

    What ``train_holdout`` takes of every task hardly changes where the turns lie, and is not subtracted.
    """
    stage = config.stages[name]
    assert isinstance(stage, MultitaskStage)
    sizes = {task: len(corpus.splits[task]["train"]) for task in config.trained_tasks(stage)}
    plan = plan_epoch(stage.sampler, EpochShape.of(config, stage, sizes, epoch=1), np.random.default_rng(0))
    for task in sizes:
        if (task,) not in plan and stage.sampler.kind in ("sequential", "round_robin"):
            leaf = "epochs" if stage.epochs < 1 else next(each for each in _LENGTHS if getattr(stage, each))
            raise UserError(
                f"stages.{name}.{leaf} {getattr(stage, leaf)} does not go with sampler.kind {stage.sampler.kind!r}: "
                f"an epoch has {len(plan)} step(s), and {task!r} never has its turn"
            )
    steps = math.ceil(len(plan) * stage.epochs / min(1, stage.epochs))
    whole = config.fidelity == 1  # a cheaper version keeps the warm-up of the run that it stands for
    if whole and stage.warmup_steps is not None and stage.warmup_steps >= steps:
        raise UserError(
            f"stages.{name}.warmup_steps {stage.warmup_steps} does not go with stages.{name}.epochs {stage.epochs}: the "
            f"stage has about {steps} step(s), and its learning rate would never be reached"
        )


def _positives(corpus: Corpus, task: str, config: TrainConfig) -> int:
    train, settings = corpus.splits[task]["train"], config.tasks[task]
    assert train.labels is not None
    positive = train.labels >= settings.positive_from
    if config.selection == "train_holdout":
        positive &= ~holdout(train, settings.kind)
    return int(np.count_nonzero(positive))


def _some_sentences(sources: Sources, length: int, text: str, tasks: Sequence[str]) -> set[tuple[int, ...]]:
    """The first two different sentences of a text and of tasks, as their tokens."""
    corpus, tokenizer = sources.corpus, sources.encoder.tokenizer()
    columns = [*(corpus.texts[text].columns if text else ())]
    columns += [column for task in tasks for column in corpus.splits[task]["train"].texts]
    found: set[tuple[int, ...]] = set()
    for sentence in chain.from_iterable(columns):
        tokens = tokenizer.encode(sentence, add_special_tokens=False).ids
        found.add(tuple(tokens[: length - 2]))
        if len(found) == 2:
            break
    return found
