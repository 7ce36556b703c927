"""The runs of a listed study and the source they come from, as study.yaml holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from analysis.study import Study
from minbert.errors import UserError

RUN = "run"
"""Name of the factor that says which run a trial is of."""


class Run(BaseModel):
    """A row of the source's table: trained itself, trained as another row, or composed of others' tasks."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trained_as: str | None = None
    """The run whose trials are this one's; None for a composite row."""
    members: Mapping[str, str] | None = None
    """By task: the run that a composite row has its score from."""
    reported: Mapping[str, float | Mapping[str, float | None] | None] = {}
    interpretation: tuple[str, ...] = ()
    note: tuple[str, ...] = ()

    def scores(self, split: str | None = None) -> dict[str, float]:
        """The scores that the source reports of the row, on dev or on ``split``, by task or average."""
        found = self.reported if split is None else self.reported.get(split)
        return (
            {name: float(one) for name, one in found.items() if isinstance(one, int | float)}
            if isinstance(found, Mapping)
            else {}
        )


def runs_of(study: Study) -> dict[str, Run]:
    """The listed runs of a study by name, in their order; none when its space lists none.

    Raises:
        UserError: the section is damaged.
    """
    file = study.path / "study.yaml"
    try:
        runs = TypeAdapter(dict[str, Run]).validate_python(study.meta.get("runs") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("runs", *first["loc"]))
        raise UserError(f"{file}: damaged at {where}: {first['msg']}") from None
    trained = {name for name, run in runs.items() if run.trained_as is not None}
    for name, run in runs.items():
        if run.members is None and run.trained_as is None:
            raise UserError(f"{file}: damaged at runs.{name}: it has neither trained_as nor members")
        for task, member in (run.members or {}).items():
            if member not in trained:
                raise UserError(f"{file}: damaged at runs.{name}.members.{task}: there is no run {member!r}")
    if runs and all(factor.path != RUN for factor in study.factors):
        raise UserError(f"{file}: damaged at factors: it lists runs and has no factor {RUN!r}")
    return runs


def trained_runs(runs: Mapping[str, Run], name: str, tasks: Sequence[str]) -> dict[str, str]:
    """The run that was trained for each task of a row of the table; a composite row may lack some."""
    row = runs[name]
    if row.members is not None:
        return {task: str(runs[member].trained_as) for task, member in row.members.items()}
    return dict.fromkeys(tasks, str(row.trained_as))


def paper_of(study: Study) -> Mapping[str, Any]:
    """What study.yaml says of the paper that the runs come from; empty when they come from none.

    Raises:
        UserError: the section is damaged.
    """
    paper = study.meta.get("paper") or {}
    if not isinstance(paper, dict):
        raise UserError(f"{study.path / 'study.yaml'}: damaged at paper: it should hold a mapping")
    return paper
