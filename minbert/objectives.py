"""The objective of a stage."""

from __future__ import annotations

import torch

from minbert.config import MultitaskStage, TrainConfig
from minbert.contrastive import build_contrastive
from minbert.corpora.batching import Batcher
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.model import MultitaskModel
from minbert.multitask import MultitaskObjective
from minbert.steps import Objective


def build_objective(
    model: MultitaskModel, config: TrainConfig, name: str, corpus: TokenisedCorpus, device: torch.device
) -> Objective:
    """Make the objective of the stage ``name``."""
    if not isinstance(config.stages[name], MultitaskStage):
        return build_contrastive(model, config, name, corpus, device)
    inputs = {task: model.head(task).inputs for task in config.tasks}
    batcher = Batcher(corpus, inputs, config.max_length, device, model.token_multiple)
    return MultitaskObjective(model, config, name, batcher, corpus)
