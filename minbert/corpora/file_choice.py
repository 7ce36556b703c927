"""Which file of a data folder is which split of which task: by its content, and by its name where that does not decide."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from minbert.config import TaskConfig
from minbert.corpora.cs224n import (
    PLAINEST,
    SPLITS,
    Split,
    closeness,
    label_misfit,
    labels_fit,
    recognise,
    speaks_of,
    split_in_name,
    too_few_classes,
)
from minbert.corpora.tables import other_format, peek_columns, read_table
from minbert.corpora.texts import role_of
from minbert.errors import UserError, did_you_mean
from minbert.files.strangers import what_is

Claims = dict[tuple[str, Split], list[Path]]


class NoNamedFile(UserError):
    """A task's entry names a file that is not in the data folder; ``leaf`` is where it names it."""

    def __init__(self, leaf: str, told: str) -> None:
        super().__init__(f"{leaf}: {told}")
        self.leaf = leaf


def find_files(
    path: Path, tasks: Mapping[str, TaskConfig], notes: list[str]
) -> dict[tuple[str, Split], Path]:
    """The file of every task and split, in the order of tasks and splits.

    Args:
        path: the data folder.
        tasks: whose files are looked for.
        notes: gets a line for each file that was passed over.

    Raises:
        UserError: the folder or a needed file is missing, or two files look like one split.
    """
    try:
        entries = sorted(path.iterdir())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"data folder {path}: {reason}") from None
    if not entries:
        raise UserError(f"data folder {path} is empty")
    named = {
        (name, split): path / task.files[split]
        for name, task in tasks.items()
        for split in SPLITS
        if split in task.files
    }
    for (name, split), file in named.items():
        if not file.is_file():
            hint = did_you_mean(file.name, (entry.name for entry in entries))
            raise NoNamedFile(f"tasks.{name}.files.{split}", f"there is no file {file}{hint}")
    candidates = [file for file in entries if file not in named.values() and not file.name.startswith(".")]
    claims, unclaimed = _claims(candidates, tasks)
    strangers = {file: f"{file.name} ignored: it {reason}" for file, reason in unclaimed.items()}
    ignored: list[str] = []
    found = _settle_all(claims, named, tasks, ignored)
    ignored += [
        f"{file.name} is not read: tasks.{name}.files names another file for {split}"
        for (name, split), files in claims.items()
        if (name, split) in named
        for file in files
    ]
    _demand_train_and_dev(path, tasks, found, [*strangers.values(), *ignored])
    notes += [note for file, note in strangers.items() if role_of(file) is None] + ignored
    return {(name, split): found[name, split] for name in tasks for split in SPLITS if (name, split) in found}


def _claims(candidates: Iterable[Path], tasks: Mapping[str, TaskConfig]) -> tuple[Claims, dict[Path, str]]:
    """Which files say they are which split of which task, and why others were not recognised."""
    claims: Claims = {}
    unclaimed = {}
    for file in candidates:
        if file.is_dir():
            continue
        if not file.is_file():
            unclaimed[file] = f"is {what_is(file)}, not a file"
            continue
        try:
            with file.open("rb") as stream:
                answer = other_format(stream.read(4)) or recognise(file, peek_columns(file), tasks)
        except OSError as error:
            answer = f"can't be read: {error.strerror or error}"
        if isinstance(answer, str):
            unclaimed[file] = answer
        else:
            claims.setdefault(answer, []).append(file)
    return claims, unclaimed


def _settle_all(
    claims: Claims,
    named: Mapping[tuple[str, Split], Path],
    tasks: Mapping[str, TaskConfig],
    ignored: list[str],
) -> dict[tuple[str, Split], Path]:
    """The files of all splits. What decides for one split counts for the next: first those whose labels decide,
    then those whose file's name speaks of the task, and test last."""

    def order(claim: tuple[str, Split]) -> tuple[bool, bool, int, int]:
        name, split = claim
        plainest = max(speaks_of(file, name, tasks) for file in claims[claim])
        return split == "test", len(claims[claim]) == 1, -plainest, SPLITS.index(split)

    found = dict(named)
    for claim in sorted((claim for claim in claims if claim not in named), key=order):
        strangers = {
            file: _of_another_set(file, claim, claims, found, named, tasks) for file in claims[claim]
        }
        ignored += [f"{file.name} ignored: {reason}" for file, reason in strangers.items() if reason]
        if files := [file for file, reason in strangers.items() if not reason]:
            found[claim] = _settle(claim, files, tasks, ignored)
    return found


def _of_another_set(
    file: Path,
    claim: tuple[str, Split],
    claims: Claims,
    found: Mapping[tuple[str, Split], Path],
    named: Container[tuple[str, Split]],
    tasks: Mapping[str, TaskConfig],
) -> str:
    """Why a file that looks like a split of a task is not of the set that its other splits are of; empty where it may be.

    Train or dev may be named of another set than the other is of; test goes with them.
    """
    name, split = claim
    its_own = {other: found[name, other] for other in SPLITS if (name, other) in found}
    settled = [file for other, file in its_own.items() if split == "test" or (name, other) not in named]
    near = max((closeness(file, other) for other in settled), default=2)
    siblings = [
        other
        for its in SPLITS
        for other in claims.get((name, its), ())
        if its != split and closeness(file, other) > near
        if all(closeness(file, other) > closeness(other, one) for one in settled)
    ]
    if siblings:
        reason = f"goes with {siblings[0].name}, not with {settled[0].name}"
    elif too_few_classes(file, name, tasks) and not any(
        too_few_classes(one, name, tasks) for one in its_own.values()
    ):
        reason = "is by its name of the course's other review set, of two classes"
    else:
        return ""
    own = _misfit_of_its_own(file, tasks)
    return own or f"{_looks_like(claim)} {reason}; if it is meant, name it in tasks.{name}.files"


def _looks_like(claim: tuple[str, Split]) -> str:
    return "it looks like {} {}, but".format(*claim)


def _settle(
    claim: tuple[str, Split], files: list[Path], tasks: Mapping[str, TaskConfig], ignored: list[str]
) -> Path:
    """The one file of those that claim a split: the only one whose labels are all the classes, or whose name fits.

    The course hands out a two-class film review set with the columns of the five-class one.
    """
    if len(files) == 1:
        return files[0]
    name, split = claim
    labelled = all(tasks[name].label in peek_columns(file) for file in files)
    if labelled:
        best = [file for file in files if labels_fit(read_table(file), tasks[name], every_class=True)]
        reason = f"it has not all the classes of {name}"
    else:
        plainest = max(speaks_of(file, name, tasks) for file in files)
        best = [file for file in files if speaks_of(file, name, tasks) == plainest]
        reason = f"its name does not speak of {name}" + (" as plainly" if plainest == 2 else "")
    if len(best) != 1:
        both = " and ".join(str(file) for file in files)
        raise UserError(
            f"{both} both look like the {split} split of task {name!r}; name one in tasks.{name}.files"
        )
    ignored += [
        f"{file.name} ignored: {_misfit_of_its_own(file, tasks) or f'{best[0].name} is {name} {split}, and {reason}'}"
        for file in files
        if file != best[0]
    ]
    return best[0]


def _misfit_of_its_own(file: Path, tasks: Mapping[str, TaskConfig]) -> str:
    """Why a file is not of the task that its name speaks of and whose columns it has; empty where there is no such task."""
    columns = peek_columns(file)
    for name, task in tasks.items():
        if speaks_of(file, name, tasks) == PLAINEST and {*task.text, task.label} <= set(columns):
            misfit = label_misfit(read_table(file), task)
            return misfit and f"its name speaks of {name}, but its {misfit}"
    return ""


def _demand_train_and_dev(
    path: Path,
    tasks: Mapping[str, TaskConfig],
    found: Mapping[tuple[str, Split], Path],
    ignored: list[str],
) -> None:
    for name, task in tasks.items():
        for split in ("train", "dev"):
            if (name, split) not in found:
                have = [f"{file.name} is {task_name} {its}" for (task_name, its), file in found.items()]
                near = sorted(ignored, key=lambda note: split_in_name(_file_of(note).name) != split)
                alike = _looks_like((name, split))
                own = [note for note in near if alike in note or speaks_of(_file_of(note), name, tasks)]
                listed = "; ".join((own or [*near, *have])[:4]) or "only folders or hidden files"
                header = ", ".join([*task.text, task.label])
                raise UserError(
                    f"{path}: no {split} file for task {name!r}: expected a tab- or comma-separated file with the columns "
                    f"{header} in its header and {split!r} in its name; found: {listed}"
                )


def _file_of(note: str) -> Path:
    return Path(re.split(r" ignored: | is not read: ", note)[0])
