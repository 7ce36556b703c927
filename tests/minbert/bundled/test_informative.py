"""The bundled corpus and encoder can be learned, and tell settings apart: 3 seeds of short runs."""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minbert.bundled import CORPUS, ENCODER
from minbert.config import build_config, merge
from minbert.corpora.tokenised import open_tokenised, tokenised
from minbert.devices import pin
from minbert.history import summarise
from minbert.sources import resolve
from minbert.stages import LocalStageStore
from minbert.train import with_sources
from minbert.trial import Materials, Trial

pytestmark = pytest.mark.long

SEEDS = (0, 1, 2)
BASE: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "precision": "fp32",
    "max_length": 64,
    "stages": {
        "simcse": {"epoch_examples": 1000},
        "finetune": {
            "epochs": 2,
            "epoch_examples": 1800,
            "learning_rate": 2e-4,
            "sampler": {"kind": "proportional"},
        },
    },
}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "frozen": {"stages": {"finetune": {"freeze_encoder": True, "learning_rate": 1e-3}}},
    "tasks.sts.head.kind": {"tasks": {"sts": {"head": {"kind": "cosine"}}}},
    "tasks.sts.head.kind concat": {"tasks": {"sts": {"head": {"kind": "concat"}}}},
    "tasks.qqp.head.kind": {"tasks": {"qqp": {"head": {"kind": "cosine"}}}},
    "stages.finetune.learning_rate": {"stages": {"finetune": {"learning_rate": 2e-5}}},
    "stages.finetune.sampler.kind": {"stages": {"finetune": {"sampler": {"kind": "sequential"}}}},
    "pooling": {"pooling": "pooler"},
    "stages.simcse.epochs": {"stages": {"simcse": {"epochs": 2}}},
}


def dev_metrics(job: tuple[str, int]) -> dict[str, float]:
    """Train one variant with one seed; metrics on the whole dev set after the last epoch."""
    name, seed = job
    config = build_config(merge(merge(BASE, VARIANTS[name]), {"seed": seed}))
    sources = resolve(str(CORPUS), str(ENCODER), config.tasks)
    config = pin(with_sources(config, sources), sources.encoder.config)
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_tokenised(tokenised(sources.corpus, config.tasks, sources.encoder, Path(folder)))
        store = LocalStageStore(Path(folder) / "stages")
        materials = Materials(corpus, sources.encoder, sources.encoder.weights(), store)
        records = list(Trial(config, materials, Path(folder) / "trial").run())
    return {
        name.removeprefix("dev/"): value
        for name, value in summarise(records).metrics.items()
        if "dev/" in name
    }


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, np.ndarray]]:
    """Variant → metric → value of each seed."""
    jobs = [(name, seed) for name in VARIANTS for seed in SEEDS]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = dict(zip(jobs, pool.map(dev_metrics, jobs), strict=True))
    return {
        name: {
            metric: np.array([results[name, seed][metric] for seed in SEEDS]) for metric in results[name, 0]
        }
        for name in VARIANTS
    }


Measured = dict[str, dict[str, np.ndarray]]


def test_fine_tuning_beats_a_frozen_encoder_by_ten_points(measured: Measured) -> None:
    assert measured["base"]["score"].mean() - measured["frozen"]["score"].mean() >= 0.10


def test_a_cross_encoder_beats_cosine_on_sts_by_five_points(measured: Measured) -> None:
    cosine = measured["tasks.sts.head.kind"]
    assert measured["base"]["sts"].mean() - cosine["sts"].mean() >= 0.05


def test_nothing_is_solved(measured: Measured) -> None:
    assert max(metrics["score"].max() for metrics in measured.values()) < 0.95


def test_at_least_four_factors_have_effects_above_two_seed_deviations(measured: Measured) -> None:
    # The median over the variants, so that one unlucky triple of seeds does not decide.
    spread = np.median([metrics["score"].std(ddof=1) for metrics in measured.values()])
    base = measured["base"]["score"].mean()
    effects: dict[str, float] = {}  # of a factor with several levels, that of the one furthest from the base
    for name in VARIANTS:
        factor, effect = name.partition(" ")[0], abs(base - measured[name]["score"].mean())
        if factor not in ("base", "frozen"):
            effects[factor] = max(effects.get(factor, 0.0), effect)
    assert sum(effect > 2 * spread for effect in effects.values()) >= 4, (effects, spread)
