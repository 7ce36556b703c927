"""What a user may have meant who names a folder that is no study."""

from __future__ import annotations

from pathlib import Path

from minbert.errors import nearest_name

RESULTS = Path("results")
"""Where searches put their studies."""
_SHOWN = 5


def near_studies(folder: Path) -> str:
    """``; did you mean results/full_ablation?``, or the studies that lie in the folder; empty where there are none."""
    inside = _studies(folder)
    if inside:
        more = f" and {len(inside) - _SHOWN} more" if len(inside) > _SHOWN else ""
        return f"; studies in it: {', '.join(map(str, list(inside.values())[:_SHOWN]))}{more}"
    for place in (folder.parent, RESULTS):
        named = _studies(place)
        nearest = nearest_name(folder.name, named)
        if nearest:
            return f"; did you mean {named[nearest]}?"
    return ""


def _studies(folder: Path) -> dict[str, Path]:
    """Folders of the studies in a folder, by name."""
    try:
        return {file.parent.name: file.parent for file in sorted(folder.glob("*/study.yaml"))}
    except OSError:
        return {}
