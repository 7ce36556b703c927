"""What ``python -m trainables.search`` does, with one trial and in this process: the study, without Ray's processes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minbert.corpora.tokenised import open_tokenised, tokenised
from minbert.remote.journal_segments import Segments
from minbert.remote.mirror import Mirror
from minbert.remote.object_store import open_store
from minbert.remote.urls import is_url
from minbert.sources import Sources, resolve
from minbert.stages import LocalStageStore
from minbert.trial import Materials, Trial
from trainables.chosen_space import Chosen, Wish, choose
from trainables.designs.sampler import build_sampler
from trainables.search_options import search_parser
from trainables.space_pages.check import further_texts
from trainables.spaces.around import refuse_other_sources
from trainables.studies.ledger import Ledger
from trainables.studies.places import study_place
from trainables.studies.study import identity, make_folder, pinned_sources, refuse_another_study
from trainables.studies.study_description import described_plan, described_study

NUMERICS = {"device": "cpu", "precision": "fp32", "threads": 1}
COMMAND = "python -m trainables.search"


def search(arguments: Sequence[str]) -> Path:
    """Begin the study that a command line asks for, and train its first trial; go no further where it is there already.

    Returns:
        its folder; of a study in a store the one that was sent there.

    Raises:
        UserError, SystemExit: the command line is refused, as the search would refuse it.
    """
    options = search_parser("").parse_args(arguments)
    asked = (options.space, options.design, options.around, tuple(options.set))
    counts = (options.trials, options.replicates, options.seed)
    place = study_place(options.study, "results", _wish(*asked, *counts).name)
    path = Path("results", "sent") if is_url(place) else Path(place)
    chosen = choose(_wish(*asked, *counts), path) if options.around else _chosen(*asked, *counts)
    tasks = chosen.space.example().tasks
    sources = resolve(options.data, options.encoder, tasks, None, further_texts(chosen.space))
    if chosen.around is not None:
        refuse_other_sources(chosen.around, sources)
    if path.is_dir():
        refuse_another_study(path, identity(chosen.space, sources, chosen.seed))
    else:
        _train_one(path, chosen, sources)
    if is_url(place):
        send(path, place)
    return path


def send(study: Path, url: str) -> None:
    """Bring a study to an object store."""
    store = open_store(url)
    store.upload(study / "study.yaml", "study.yaml")
    for trial in study.glob("trials/*"):
        Mirror(store, f"trials/{trial.name}", trial).publish(1)
    Segments(store).append(study / "journal.log")


def _wish(
    space: str,
    design: str | None,
    around: str | None,
    settings: tuple[str, ...],
    trials: int | None,
    replicates: int | None,
    seed: int | None,
) -> Wish:
    return Wish(space, design, around, settings, {"trials": trials, "replicates": replicates}, seed)


@functools.cache
def _chosen(*asked: Any) -> Chosen:
    """Checking the larger spaces takes seconds, and pages name the same ones."""
    return choose(_wish(*asked), Path("there is none"))


def _train_one(path: Path, chosen: Chosen, sources: Sources) -> None:
    space = chosen.space
    pinned = {**pinned_sources(sources), **NUMERICS}
    described = described_study(space, sources, chosen.seed, COMMAND)
    study = make_folder(path, {**described, **NUMERICS, **described_plan(space, pinned, chosen.around)})
    corpus = tokenised(sources.corpus, space.example().tasks, sources.encoder, path / "corpus")
    store = LocalStageStore(study.stages)
    materials = Materials(open_tokenised(corpus), sources.encoder, sources.encoder.weights(), store)
    ledger = Ledger(study.journal(build_sampler(space, chosen.seed, 0)), space, pinned, chosen.seed)
    issue = ledger.next()
    assert issue is not None
    for record in Trial(issue.config, materials, study.trial(issue.number)).run():
        ledger.report(issue.number, record)
    ledger.finish(issue.number, "complete")
