"""What is behind a study's numbers, and the command that continues it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from analysis.study import Study


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
        ("Encoder", _source(encoder)),
        ("Tasks", kinds),
        ("Seed", str(meta.get("seed", ""))),
        ("Replicates", str(meta.get("replicates", ""))),
        ("Selection", f"{meta.get('selection', '')}; tables quote {metric}"),
        ("Computed with", settings),
        ("Versions", _plain(meta.get("versions"))),
        ("Space", str(_mapping(meta, "space").get("description") or study.name).strip()),
    ]
    return [(name, value) for name, value in known if value]


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
    """The command that continues the study: the one stored with it, or one made from what is stored."""
    stored = study.meta.get("command")
    if stored:
        return str(stored)
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
    name = source.get("name") or source.get("path") or ""
    fingerprint = f" (fingerprint {str(source['fingerprint'])[:16]})" if source.get("fingerprint") else ""
    return f"{name}{', bundled' if source.get('bundled') else ''}{fingerprint}"


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
