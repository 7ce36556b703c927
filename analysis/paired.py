"""Differences between runs of one replicate, which share their seed and differ in one factor."""

from __future__ import annotations

import pandas as pd


def paired_differences(levels: pd.DataFrame, trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row a level and replicate that both it and its base completed: factor, level, replicate, difference.

    ``levels``: ``one_factor.planned_levels``; ``difference`` is ``metric`` of the level's run minus that of
    the base's. A level that trains exactly as the base does has no row. Of a run repeated, the last counts.
    """
    complete = trials[(trials["state"] == "complete") & trials[metric].notna()]
    runs = complete.sort_values("number").drop_duplicates(["config_id", "replicate"], keep="last")
    runs = runs[["config_id", "replicate", metric]]
    bases = levels[levels["base"]].set_index("factor")["config_id"]
    changed = levels[~levels["base"].astype(bool)]
    changed = changed.assign(base_id=changed["factor"].map(bases))
    changed = changed[changed["config_id"] != changed["base_id"]]
    pairs = changed.merge(runs, on="config_id").merge(
        runs, left_on=["base_id", "replicate"], right_on=["config_id", "replicate"], suffixes=("", "_base")
    )
    pairs = pairs.assign(difference=pairs[metric] - pairs[f"{metric}_base"])
    return pairs[["factor", "level", "replicate", "difference"]].reset_index(drop=True)
