"""What a search says before it begins: which data it takes, and what of its space does not go together."""

from __future__ import annotations

from rich.console import Console

from minbert.sources import Sources
from trainables.chosen_space import Chosen
from trainables.spaces.run_checks import coinciding


def say_what_is_searched(console: Console, chosen: Chosen, sources: Sources, data: str) -> None:
    """Print a line for everything that a user might not expect.

    Args:
        console: where to.
        chosen: the space.
        sources: data and encoder.
        data: as the command line named them.
    """
    if sources.data_bundled and data == "auto":
        console.print(sources.notice())
    lines = [*_of_sources(sources), *_of_same_runs(chosen), *_of_settings(chosen)]
    lines += [f"left out: {factor} {level}: {reason}" for factor, level, reason in chosen.left_out]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _of_sources(sources: Sources) -> list[str]:
    lines = [f"data: {note}" for note in sources.corpus.notes]
    lines += [f"encoder: {sources.encoder.note}"] if sources.encoder.note else []
    shared = [
        f"{task} {split} {count}"
        for task, splits in sources.corpus.overlap.items()
        for split, count in splits.items()
        if count
    ]
    if shared:
        lines.append("data: examples whose text also stands in train: " + ", ".join(shared))
    return lines


def _of_same_runs(chosen: Chosen) -> list[str]:
    """Settings of the command line may make runs the same that the file keeps apart."""
    rows = chosen.space.runs.rows
    others = coinciding(chosen.space) if rows else {}
    same = [f"{name} as {other}" for name, other in others.items() if rows[name].same_as is None]
    return [f"--set makes runs the same, which run once: {', '.join(same)}"] if same else []


def _of_settings(chosen: Chosen) -> list[str]:
    """Settings of the command line that runs do not go with: the runs, and why."""
    runs: dict[tuple[str, str], list[str]] = {}
    for setting, name, reason in chosen.passed_over:
        runs.setdefault((setting, reason), []).append(repr(name))
    return [f"{setting}: not for {', '.join(names)}: {reason}" for (setting, reason), names in runs.items()]
