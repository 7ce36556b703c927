"""Every run of every listed space trains, on a small part of the bundled corpus with a small encoder."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from minbert.bundled import CORPUS, ENCODER
from minbert.checkpoint import open_encoder
from minbert.config import MultitaskStage, TrainConfig
from minbert.corpora.batching import Batcher
from minbert.corpora.reader import read_corpus
from minbert.corpora.texts import texts_needed
from minbert.corpora.tokenised import TokenisedCorpus, open_tokenised, tokenised
from minbert.encoder import BertEncoder, EncoderConfig
from minbert.evaluation import Evaluator
from minbert.model import build_model
from minbert.training import StageTrainer
from tests.search_spaces.listed_papers import configs
from trainables.spaces.runs import RUN
from trainables.spaces.space import available_spaces, load_space

ROWS = 40
BATCH = 6
PAPERS = [name.removeprefix("papers/") for name in available_spaces() if name.startswith("papers/")]
RUNS = [(f"papers/{paper}", name, found) for paper in PAPERS for name, found in configs(paper)]
RUNS += [
    ("confounds", name, load_space("confounds").config({RUN: name}))
    for name in load_space("confounds").runs.configured
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TokenisedCorpus:
    """The head of every file of the bundled corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    for file in CORPUS.iterdir():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / file.name).write_text("".join(lines[: ROWS + 1]), encoding="utf-8")
    texts = {name: role for _, _, found in RUNS for name, role in texts_needed(found).items()}
    tasks = TrainConfig().tasks
    files = open_encoder(ENCODER)
    cache = tmp_path_factory.mktemp("tokenised")
    return open_tokenised(tokenised(read_corpus(folder, tasks, texts), tasks, files, cache))


@pytest.fixture(scope="module")
def encoder() -> tuple[EncoderConfig, dict[str, torch.Tensor]]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vocabulary = open_encoder(ENCODER).config.vocab_size
    shape = EncoderConfig(vocabulary, 16, 1, 2, 24, max_position_embeddings=128)
    return shape, {
        name: torch.randn_like(value) * 0.1 for name, value in BertEncoder(shape).state_dict().items()
    }


def small(config: TrainConfig) -> TrainConfig:
    """The same run with batches that the part of the corpus can fill."""
    data = config.model_dump(exclude_none=True)
    for stage in data["stages"].values():
        stage["batch_size"] = min(stage["batch_size"], BATCH)
    for task in data["tasks"].values():
        task.pop("batch_size", None)
    return TrainConfig.model_validate(data)


@pytest.mark.parametrize(("space", "name", "config"), RUNS, ids=[f"{s}: {n}" for s, n, _ in RUNS])
def test_a_listed_run_takes_two_steps_in_every_stage_and_evaluates(
    space: str,
    name: str,
    config: TrainConfig,
    corpus: TokenisedCorpus,
    encoder: tuple[EncoderConfig, dict[str, torch.Tensor]],
) -> None:
    del space, name
    config = small(config)
    model = build_model(config, *encoder)
    for stage_name, stage in config.running_stages():
        before = {key: value.clone() for key, value in model.state_dict().items()}
        trainer = StageTrainer(model, config, stage_name, corpus, torch.device("cpu"))
        for index in range(2):
            result = trainer.step(1, index)
            assert result.examples > 0 and result.losses
            assert all(math.isfinite(loss) for loss in result.losses.values())
        moved = {
            key for key, value in model.state_dict().items() if not torch.equal(value, before.get(key, value))
        }
        frozen = isinstance(stage, MultitaskStage) and stage.freeze_encoder
        assert any(key.startswith("encoder.") for key in moved) == (not frozen)
        assert any(key.startswith("heads.") for key in moved) == (
            isinstance(stage, MultitaskStage) and has_layers(config, stage)
        )
    inputs = {task: model.head(task).inputs for task in config.tasks}
    evaluator = Evaluator(
        corpus,
        Batcher(corpus, inputs, config.max_length, torch.device("cpu")),
        config.tasks,
        config.selection,
    )
    parts = evaluator.evaluate(model).parts
    assert all(math.isfinite(value) for metrics in parts.values() for value in metrics.values())


def has_layers(config: TrainConfig, stage: MultitaskStage) -> bool:
    return any(config.tasks[task].head.kind not in ("cosine", "dot") for task in config.trained_tasks(stage))


def test_the_corpus_has_what_the_runs_read() -> None:
    needed = {name for _, _, config in RUNS for name in texts_needed(config)}
    assert needed == {"sentences", "triplets"}
    assert Path(CORPUS / "sentences.txt").is_file() and Path(CORPUS / "nli.csv").is_file()
