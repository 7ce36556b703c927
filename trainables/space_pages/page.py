"""A search space as a tree: what is drawn, what is fixed, under which conditions, and where each was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from minbert.config import MultitaskStage, SimCSEStage, SupervisedSimCSEStage, TrainConfig
from minbert.dotted import get, leaves
from minbert.yaml_reader import Document
from trainables.space_pages.parts import Parts
from trainables.space_pages.runs import runs_of
from trainables.spaces.counting import count, shown
from trainables.spaces.distributions import Factor, label, same
from trainables.spaces.runs import Run
from trainables.spaces.space import Space
from trainables.spaces.trees import Layers

_LONGEST = 120
"""Characters of what a run sets."""
_STAGES = (MultitaskStage, SimCSEStage, SupervisedSimCSEStage)


def show_space(parts: Parts) -> Group:
    """What a space asks, how it is searched, and everything in it that differs from the defaults.

    Raises:
        UserError: the space does not fit its design.
    """
    space = parts.space
    documents = _documents(space)
    tree = Tree(Text("fixed for all runs" if space.runs.rows else "what is drawn and what is fixed (=)"))
    branches = {"": tree}
    for path, text in _entries(space, documents):
        section, _, _ = path.rpartition(".")
        _branch(branches, section).add(text)
    shown: list[RenderableType] = [
        Text(f"{space.name}: {' '.join(space.description.split())}".removesuffix(": ")),
        Text(f"file: {', which extends '.join(str(document.path) for document in documents)}"),
        Text(_design(space)),
        Text(_size(space)),
        tree,
    ]
    if parts.never:
        shown.append(Text(f"never drawn, as the conditions cannot hold here: {', '.join(parts.never)}"))
    return Group(*shown, *([_runs_table(space)] if space.runs.rows else []))


def _design(space: Space) -> str:
    settings = space.settings
    parts = [f"design: {settings.design}", f"runs: {shown(runs_of(space))}"]
    if settings.replicates > 1:
        parts.append(f"{settings.replicates} of each configuration")
    if settings.design == "optuna":
        random = f", after {settings.startup_trials} at random" if settings.sampler == "tpe" else ""
        parts.append(f"sampler: {settings.sampler}{random}")
    if settings.early_stopping is not None:
        grace, reduction = settings.early_stopping.grace_epochs, settings.early_stopping.reduction
        parts.append(f"early stopping: from epoch {grace}, one in {reduction} goes on")
    if settings.base:
        levels = (f"{path} {label(level)}" for path, level in settings.base.items())
        parts.append(f"base: {', '.join(levels)}")
    return "; ".join(parts)


def _size(space: Space) -> str:
    """How many factors there are, and in how many combinations."""
    if space.runs.rows:
        claims = f", with {len(space.claims)} claims" if space.claims else ""
        source = f" of paper {space.paper.name}: {space.paper.title}" if space.paper else ""
        return f"rows: {len(space.runs.rows)}{claims}{source}"
    counted = count(space)
    at_most = "" if counted.exact else "at most "
    if not counted.continuous:
        return f"factors: {len(space.factors)}; combinations: {at_most}{shown(counted.discrete)}"
    several = "is" if counted.continuous == 1 else "are"
    return (
        f"factors: {len(space.factors)}, of which {counted.continuous} {several} continuous; "
        f"combinations of the others: {at_most}{shown(counted.discrete)}"
    )


def _entries(space: Space, documents: list[Document]) -> Iterator[tuple[str, Text]]:
    """Every line of the tree with its path, in the order of the configuration."""
    found: dict[str, Text] = {}
    for factor in space.factors if not space.runs.rows else ():
        found[factor.path] = _drawn(factor)
    for path, value in leaves(space.base).items():
        usual = _default(space, path)
        told = usual != () and _equal(usual, value)
        if not told or len(_layers_with(documents, path)) > 1:
            default = "" if usual in ((), None) else f"  (default {label(usual)})"
            found[path] = Text(f"{_name(path)} = {label(value)}{'' if told else default}")
    order = list(leaves(TrainConfig().model_dump(mode="json")))
    top = list(TrainConfig.model_fields)
    for path in sorted(found, key=lambda path: (top.index(path.partition(".")[0]), _rank(order, path), path)):
        place = _place(documents, path)
        yield path, found[path].append(f"  [{place}]", "dim") if place else found[path]


def _drawn(factor: Factor) -> Text:
    text = Text(f"{_name(factor.path)}: ").append(factor.shown(" | "), "bold")
    conditions = (f"{path} is {' or '.join(map(label, values))}" for path, values in factor.when.items())
    when = " and ".join(conditions)
    return text.append(f"  when {when}", "italic") if when else text


def _default(space: Space, path: str) -> Any:
    """The value that a leaf has where nothing is written; an empty tuple where it has none."""
    usual = leaves(TrainConfig().model_dump(mode="json"))
    section, _, rest = path.partition(".")
    name, _, leaf = rest.partition(".")
    if path not in usual and section == "stages" and leaf != "kind":
        kinds = {each.model_fields["kind"].default: each for each in _STAGES}
        model = kinds.get(get(space.base, f"stages.{name}.kind", None))
        return () if model is None else leaves(model().model_dump(mode="json")).get(leaf, ())
    return usual.get(path, ())


def _equal(one: Any, other: Any) -> bool:
    return other is None or same(one, other)


def _rank(order: list[str], path: str) -> int:
    """Where a path stands among the defaults; what is not there, at the end of the nearest part of it that is."""
    while path:
        places = [at for at, other in enumerate(order) if other == path or other.startswith(path + ".")]
        if places:
            return places[-1]
        path = path.rpartition(".")[0]
    return len(order)


def _branch(branches: dict[str, Tree], section: str) -> Tree:
    if section not in branches:
        above, _, name = section.rpartition(".")
        branches[section] = _branch(branches, above).add(Text(name))
    return branches[section]


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _documents(space: Space) -> list[Document]:
    layers = space.written.layers if isinstance(space.written, Layers) else ()
    return [layer for layer in layers if isinstance(layer, Document)]


def _layers_with(documents: list[Document], path: str) -> list[Document]:
    return [document for document in documents if document.knows(path)]


def _place(documents: list[Document], path: str) -> str:
    """Where a leaf comes from, when there are several files, and what it stands over."""
    if len(documents) < 2:
        return ""
    names = [document.path.name for document in documents]
    short = len(set(names)) == len(names)
    places = [
        f"{document.path.name if short else document.path}:{document.line(path)}"
        for document in _layers_with(documents, path)
    ]
    return ", over ".join(places)


def _runs_table(space: Space) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("what it sets", no_wrap=True, overflow="ellipsis", max_width=_LONGEST)
    for name, run in space.runs.rows.items():
        table.add_row(Text(name), Text(_of_run(run)))
    return table


def _of_run(run: Run) -> str:
    if run.members:
        return "scores of " + ", ".join(f"{other} ({task})" for task, other in run.members.items())
    parts = [f"{kind} {other}" for kind, other in (("same as", run.same_as), ("like", run.like)) if other]
    changes = leaves(run.set).items()
    parts += [
        f"{path.removeprefix('stages.').removeprefix('tasks.')}={label(value)}" for path, value in changes
    ]
    return ", ".join(parts) or "nothing else"
