"""The journal of a study that is begun or continued: whose it is, and what it lost."""

from __future__ import annotations

from typing import Any

import optuna
from rich.console import Console

from minbert.files.journal_owner import OF, owner
from trainables.designs.sampler import build_sampler
from trainables.spaces.space import Space
from trainables.studies.journal import refuse_another_journal, torn
from trainables.studies.ledger import Ledger
from trainables.studies.study import StudyFolder


def open_ledger(
    folder: StudyFolder, space: Space, seed: int, pinned: dict[str, Any], console: Console
) -> Ledger:
    """Open a study's journal; folders of trials that it does not know are moved out of the way.

    Args:
        folder: of the study.
        space: that it searches.
        seed: of the study.
        pinned: data, encoder and numerics that every trial gets.
        console: where it is said what was lost.

    Raises:
        UserError: the journal is damaged, is of another study, or its trials were computed otherwise.
    """
    if lost := torn(folder.path):
        console.print(lost, markup=False, highlight=False)
    study = folder.journal(build_sampler(space, seed, 0))
    _refuse_another_journal(study, folder)
    trials = study.get_trials(deepcopy=False)
    if moved := folder.set_aside({trial.number for trial in trials if "config_id" in trial.user_attrs}):
        told = f"{', '.join(moved[:3])}{' …' * (len(moved) > 3)}: not in the journal, which lost its end"
        console.print(f"trials {told}; moved to {folder.path / 'set_aside'}", markup=False, highlight=False)
    study.sampler = build_sampler(space, seed, len(trials))
    ledger = Ledger(study, space, pinned, seed)
    if ledger.beyond:
        count = f"{ledger.target} trials in all, more than the {ledger.target - ledger.beyond} asked for"
        console.print(
            f"trials that were interrupted are finished, too: {count}", markup=False, highlight=False
        )
    return ledger


def _refuse_another_journal(study: optuna.Study, folder: StudyFolder) -> None:
    """Note in the journal which study it is of; what study.yaml says alone may be another one's."""
    if OF not in study.user_attrs:
        study.set_user_attr(OF, owner(folder.spec))
    refuse_another_journal(folder.path, folder.spec, study.user_attrs[OF])
