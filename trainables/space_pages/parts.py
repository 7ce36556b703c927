"""A space as its file says it, for looking at: every level is checked by itself, and not yet with the others.

That takes milliseconds where putting all levels together takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pydantic

from minbert.errors import UserError
from minbert.yaml_reader import Located, problems
from trainables.spaces.checks import check_conditions, ordered, without_unreachable
from trainables.spaces.claims import check_claims
from trainables.spaces.distributions import stored
from trainables.spaces.files import locate, read_layers
from trainables.spaces.one_factor import check_base
from trainables.spaces.run_checks import check_runs
from trainables.spaces.settings import SearchSettings
from trainables.spaces.space import Space
from trainables.spaces.trees import At, Layers


@dataclass(frozen=True)
class Parts:
    """A space of which only single levels were checked.

    Attributes:
        space: the space.
        never: factors of the files that are not drawn, as their conditions can no longer hold.
    """

    space: Space
    never: tuple[str, ...] = ()


def read_parts(name_or_path: str) -> Parts:
    """Read a packaged space by its name or a file by its path.

    Raises:
        UserError: there is no such space, a part of it cannot be read, or a level is not of the schema.
    """
    path, name = locate(name_or_path)
    tree, documents = read_layers(path)
    empty = Space(name, path, "", SearchSettings(), {}, (), Layers(tuple(documents)))
    space = empty.redrafted(tree).with_search(tree.get("search") or {})
    if space.runs.rows:
        configs = check_runs(space)
        check_claims(space.claims, space.written, space.runs.rows, configs[0].tasks)
        return Parts(replace(space, representatives=configs))
    check_conditions(space)
    check_base(space)
    reachable = without_unreachable(replace(space, factors=ordered(space)))
    _check_levels(reachable)
    left = {factor.path for factor in reachable.factors}
    return Parts(reachable, tuple(each.path for each in space.factors if each.path not in left))


def _check_levels(space: Space) -> None:
    """Refuse fixed leaves and levels that are wrong whatever stands beside them."""
    first = {each.path: stored(each.distribution.levels()[0]) for each in space.factors if not each.when}
    for path, text in _wrong(space, first).items():
        if not any(factor.owns(path) for factor in space.factors):
            raise _refusal(space.written, path, text)
    for factor in space.factors:
        for index, level in enumerate(factor.distribution.levels()):
            for path, text in _wrong(space, {**first, factor.path: stored(level)}).items():
                if factor.owns(path):
                    at = f"{factor.path}.{factor.distribution.kind}.{index}"
                    raise _refusal(At(space.written, factor.path, at), path, text)


def _wrong(space: Space, params: Mapping[str, Any]) -> dict[str, str]:
    """What the schema refuses of single leaves, by path."""
    try:
        space.build(params)
    except pydantic.ValidationError as error:
        return {each.path: each.text for each in problems(error) if not each.crossing}
    return {}


def _refusal(written: Located, path: str, text: str) -> UserError:
    return UserError(f"{written.where(path)}: {path}: {text}")
