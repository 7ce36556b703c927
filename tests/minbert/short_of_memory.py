"""Takes one step with just too little address space for it, and prints what came of it as JSON.

Run by test_out_of_memory.py in a process of its own: ``python short_of_memory.py ENCODER DATA CACHE``.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from minbert.checkpoint import open_encoder
from minbert.config import build_config
from minbert.corpora.reader import read_corpus
from minbert.corpora.tokenised import open_tokenised, tokenised
from minbert.model import MultitaskModel, build_model
from minbert.training import StageTrainer

BATCH = 4096
STAGE = {
    "batch_size": BATCH,
    "tasks": ["sst"],
    "epoch_steps": 1,
    "epochs": 1,
    "dropout": 0.0,
    "encoder_dropout": 0.0,
    "learning_rate": 1e-3,
    "warmup_share": 0.0,
    "schedule": "constant",
}


def address_space(key: str) -> int:
    """Bytes of address space in use (VmSize), or at their most so far (VmPeak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1]) * 1024


def main() -> None:
    torch.set_num_threads(1)
    encoder, data, cache = map(Path, sys.argv[1:])
    config = build_config({"device": "cpu", "precision": "fp32", "threads": 1, "stages": {"finetune": STAGE}})
    files = open_encoder(encoder)
    corpus = open_tokenised(tokenised(read_corpus(data, config.tasks), config.tasks, files, cache))

    def trainer() -> tuple[StageTrainer, MultitaskModel]:
        model = build_model(config, files.config, files.weights())
        return StageTrainer(model, config, "finetune", corpus, torch.device("cpu")), model

    def needed(largest: int) -> int:
        made, _ = trainer()
        made._objective.backward(1, 0, largest)
        return address_space("VmPeak") - free

    trainer()[0]._objective.backward(1, 0, 64)  # libraries, and the buffers that stay
    free = address_space("VmSize")
    half = needed(BATCH // 2)
    whole_trainer, whole = trainer()
    told: dict[str, Any] = {"loss": whole_trainer.step(1, 0).losses["sst"].item()}
    told |= {"half": half, "whole": address_space("VmPeak") - free}
    short_trainer, short = trainer()
    limit(address_space("VmSize") + (told["half"] + told["whole"]) // 2)
    told["short_loss"] = short_trainer.step(1, 0).losses["sst"].item()
    told["micro_batch"] = short_trainer.micro_batch(1)
    limit(resource.RLIM_INFINITY)
    named = zip(whole.state_dict().values(), short.state_dict().values(), strict=True)
    told["difference"] = max(float((one - other).abs().max()) for one, other in named)
    print(json.dumps(told))


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
