"""What is behind a study's numbers, and the command that continues it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from analysis.continuing import continuing
from analysis.study import Study
from minbert.errors import UserError

_NAMED_APART = ("fidelity", "search.", "device", "precision", "threads")
"""Settings of a command line that are told elsewhere or that change no result much."""


def setting(study: Study) -> str:
    """What all runs have in common: data, encoder, fidelity, and what the command line set for them."""
    counts = ", ".join(
        f"{task} {own['train']:,}" for task, own in example_counts(study).items() if "train" in own
    )
    examples = f" (training examples: {counts})" if counts else ""
    changed = ", ".join(set_for_all(study))
    return (
        f"{data_name(study)}{examples}, with {encoder_name(study)}, fidelity {fidelity(study):g}"
        f"{f'; set for all runs: {changed}' if changed else ''}"
    )


def data_name(study: Study) -> str:
    """The end of the data folder's path."""
    data = _mapping(study.meta, "data")
    return (
        "the bundled miniature data" if data.get("bundled") else _end_of(data.get("path")) or "unknown data"
    )


def encoder_name(study: Study) -> str:
    """The hub's name of a downloaded encoder, else the end of its folder's path."""
    encoder = _mapping(study.meta, "encoder")
    if encoder.get("bundled"):
        return "the bundled miniature encoder"
    parts = Path(str(encoder.get("path") or "")).parts
    if len(parts) > 2 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].removeprefix("models--").replace("--", "/")
    return _end_of(encoder.get("path")) or str(encoder.get("name") or "an unknown encoder")


def fidelity(study: Study) -> float:
    """The share of their steps that runs take, 1 where the study does not tell."""
    found = _mapping(study.meta, "space").get("fidelity")
    return float(found) if isinstance(found, int | float) else 1.0


def example_counts(study: Study) -> Mapping[str, Mapping[str, int]]:
    """How many examples each task has in each split; empty for studies that were begun before this was stored."""
    stored = _mapping(_mapping(study.meta, "data"), "examples")
    return {
        task: {split: count for split, count in _mapping(stored, task).items() if isinstance(count, int)}
        for task in stored
    }


def set_for_all(study: Study) -> list[str]:
    """``path=value`` of every ``--set`` of the study's command that changes what is trained, but for the fidelity.

    Raises:
        UserError: the stored command is none.
    """
    try:
        words = shlex.split(str(study.meta.get("command") or ""))
    except ValueError as error:
        raise UserError(f"{study.path / 'study.yaml'}: damaged at command: {error}") from None
    after = [word for flag, word in pairwise(words) if flag == "--set"]
    after += [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    return [text for text in after if not text.startswith(_NAMED_APART)]


def lost_journal(study: Study) -> str:
    """A sentence where trials have folders and the journal knows of none; else empty."""
    if len(study.trials):
        return ""
    folders = len(study.unknown_folders)
    if not folders:
        return ""
    file = study.path / "journal.log"
    state = "is gone" if not file.exists() else "is empty" if not file.stat().st_size else "tells of no trial"
    return f"{folders} trial folder{'s are' if folders > 1 else ' is'} there, but journal.log {state}"


def unfinished(study: Study) -> str:
    """``3 of 24 trials``, those that ended of those asked for; empty where none is to come."""
    states = study.trials["state"]
    ended = int(states.isin(("complete", "pruned", "failed")).sum())
    told = (
        study.meta.get(name) for name in ("trials", "exhausted")
    )  # the space may have fewer than were asked for
    target = min((count for count in told if isinstance(count, int)), default=len(states))
    return f"{ended} of {target} trials" if ended < max(target, len(states)) else ""


def refuse_lost_journal(study: Study) -> None:
    """Raise where nothing can be computed because the journal is lost.

    Raises:
        UserError: trials have folders and the journal knows of none.
    """
    if lost := lost_journal(study):
        raise UserError(f"{study.path}: {lost}; it is the only account of them: bring it back from a copy")


def facts(study: Study, metric: str) -> list[tuple[str, str]]:
    """What the study's numbers rest on, as (name, text); unknown facts are left out."""
    meta = study.meta
    data, encoder = _mapping(meta, "data"), _mapping(meta, "encoder")
    settings = ", ".join(
        f"{name} {meta[name]}" for name in ("device", "precision", "threads") if name in meta
    )
    kinds = "; ".join(f"{name}: {info.kind}" for name, info in study.tasks.items())
    known = [
        ("Data", _source(data)),
        ("Notes on the data", "; ".join(str(note) for note in data.get("notes") or ())),
        ("Overlap of train, dev and test", _plain(data.get("overlap"))),
        ("Examples", _plain(example_counts(study))),
        ("Encoder", _source(encoder)),
        ("Fidelity", f"{fidelity(study):g}"),
        ("Set for all runs", ", ".join(set_for_all(study))),
        ("Tasks", kinds),
        ("Seed", str(meta.get("seed", ""))),
        ("Replicates", str(meta.get("replicates", ""))),
        ("Selection", f"{meta.get('selection', '')}; tables quote {metric}"),
        ("Computed with", settings),
        ("Taken over", _taken_over(meta)),
        ("Versions", _plain(meta.get("versions"))),
        ("Space", str(_mapping(meta, "space").get("description") or study.name).strip()),
    ]
    return [(name, value) for name, value in known if value]


def _taken_over(meta: dict[str, Any]) -> str:
    """What of the trials another study had trained, whose cost is not this one's."""
    origin = _mapping(meta, "forked_from")
    if not origin.get("trials"):
        return ""
    return f"{origin['trials']} trials from {_end_of(origin.get('study'))}, which paid for them"


def bundled_warning(study: Study) -> str:
    """The sentence that scores on bundled data or encoder need; empty for one's own."""
    parts = [name for name in ("data", "encoder") if _mapping(study.meta, name).get("bundled")]
    if not parts:
        return ""
    verb = "is" if len(parts) == 1 else "are"
    return (
        f"The {' and the '.join(parts)} {verb} the bundled miniature, made to try the program out: "
        "these scores are not the papers' and cannot be compared with them."
    )


def continue_command(study: Study) -> str:
    """The command that continues the study: the one stored with it, or one made from what is stored; it names the folder that the study lies in."""
    stored = study.meta.get("command")
    if stored:
        return continuing(study.path, str(stored))
    words = [
        "python",
        "-m",
        "trainables.search",
        "--space",
        _space_argument(study),
        "--study",
        str(study.path),
    ]
    for name in ("data", "encoder"):
        source = _mapping(study.meta, name)
        if source.get("path") and not source.get("bundled"):
            words += [f"--{name}", str(source["path"])]
    for name in ("trials", "replicates", "seed"):
        if name in study.meta:
            words += [f"--{name}", str(study.meta[name])]
    return shlex.join(words)


def _space_argument(study: Study) -> str:
    """The space's name when it is one of the project's own, else the path of its file."""
    source = str(_mapping(study.meta, "space").get("source") or "")
    return study.name if not source or Path(source).parent.name == "search_spaces" else source


def _source(source: dict[str, Any]) -> str:
    name = source.get("path") or source.get("name") or ""
    fingerprint = f" (fingerprint {str(source['fingerprint'])[:16]})" if source.get("fingerprint") else ""
    return f"{name}{', bundled' if source.get('bundled') else ''}{fingerprint}"


def _end_of(path: object) -> str:
    """The last two parts of a path; the last one is often just ``model`` or ``data``."""
    return "/".join(part for part in Path(str(path or "")).parts[-2:] if part != "/")


def _mapping(meta: dict[str, Any], name: str) -> dict[str, Any]:
    found = meta.get(name)
    return found if isinstance(found, dict) else {}


def _plain(value: object) -> str:
    if isinstance(value, dict):
        inner = (
            f"{key} ({_plain(item)})" if isinstance(item, dict) else f"{key} {_plain(item)}"
            for key, item in value.items()
        )
        return ", ".join(inner)
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    return "" if value is None else str(value)
