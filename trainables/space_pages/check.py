"""Everything that a search would refuse of a space, its data and encoder included, without searching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from minbert.config import TaskConfig
from minbert.corpora.file_choice import NoNamedFile
from minbert.corpora.texts import Role, texts_needed
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.sources import Sources, resolve
from trainables.chosen_space import Chosen, Wish, choose
from trainables.designs.design import build_design
from trainables.spaces.counting import count, shown
from trainables.spaces.run_checks import identify
from trainables.spaces.space import NO_FACTOR, Space


class Checker:
    """Checks spaces against one data folder and encoder, which are read once where spaces have the same tasks."""

    def __init__(self, data: str, encoder: str, default_data: str | None, settings: Sequence[str]) -> None:
        """Say what spaces are checked with.

        Args:
            data: a data folder, or ``auto``.
            encoder: a checkpoint's folder or hub id, or ``auto``.
            default_data: the data folder that the environment names.
            settings: ``PATH=VALUE``, laid over every space.
        """
        self._where = (data, encoder, default_data)
        self._settings = tuple(settings)
        self._read: list[tuple[Mapping[str, TaskConfig], Mapping[str, Role], Sources]] = []

    def check(self, name_or_path: str) -> str:
        """Read a space as a search would; one line on what was found.

        Raises:
            UserError: what a search would refuse.
        """
        chosen = choose(Wish(name_or_path, None, None, self._settings, {}, None), Path())
        space = chosen.space
        with naming_the_line(space):
            sources = self._sources(space.example().tasks, further_texts(space))
        check_data(space.representatives, sources)
        runs = build_design(space, lambda params: identify(space, params, {})).runs
        found = f"{name_or_path}: ok: {_found(space, runs)}"
        return "; ".join([found, *_passed_over(chosen), _on(sources)])

    def _sources(self, tasks: Mapping[str, TaskConfig], texts: Mapping[str, Role]) -> Sources:
        """Data and encoder for these tasks and texts."""
        for known_tasks, known_texts, sources in self._read:
            if (known_tasks, known_texts) == (tasks, texts):
                return sources
        data, encoder, default_data = self._where
        sources = resolve(data, encoder, tasks, default_data, texts)
        self._read.append((tasks, texts, sources))
        return sources


@contextmanager
def naming_the_line(space: Space) -> Iterator[None]:
    """Let a data file that is not there be told with the line of the space that names it.

    Raises:
        UserError: it is not there.
    """
    try:
        yield
    except NoNamedFile as error:
        raise UserError(f"{space.written.where(error.leaf)}: {error}") from None


def further_texts(space: Space) -> dict[str, Role]:
    """Further text files of the data folder that configurations of the space read.

    Raises:
        UserError: two stages take one file for different things.
    """
    texts: dict[str, Role] = {}
    for config in space.representatives:
        for name, role in texts_needed(config).items():
            if texts.setdefault(name, role) != role:
                raise UserError(
                    f"{space.source}: {name!r} is read as {role} and as {texts[name]}: a file is one of them"
                )
    return texts


def _found(space: Space, runs: int) -> str:
    planned = f"{runs} run{'s' if runs > 1 else ''} by the design {space.settings.design}"
    if space.runs.rows:
        return planned
    if not space.factors:
        return f"{planned}, {NO_FACTOR}"
    counted = count(space)
    bound = "" if counted.exact else "at most "
    continuous = f" and {counted.continuous} continuous" if counted.continuous else ""
    return f"{planned}, {_counted(len(space.factors), 'factor')} with {bound}{_counted(counted.discrete, 'combination')}{continuous}"


def _counted(number: int, name: str) -> str:
    return f"{shown(number)} {name}{'s' * (number != 1)}"


def _passed_over(chosen: Chosen) -> list[str]:
    """Settings that some runs of a list do not go with, and stay without."""
    runs: dict[str, list[str]] = {}
    for setting, run, _ in chosen.passed_over:
        runs.setdefault(setting, []).append(repr(run))
    return [f"{setting} not for {', '.join(names)}" for setting, names in runs.items()]


def _on(sources: Sources) -> str:
    if sources.data_bundled:
        return "data: the bundled corpus"
    return f"data: {sources.corpus.path}"
