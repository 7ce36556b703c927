"""Mistakes and signed errors against what can be counted in a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.scoring import Floats
from analysis.significance import holm, mean_interval
from analysis.wording import Texts, Vocabulary, characters, polarity, unknown_words, word_overlap

GROUP_COLUMNS = ["feature", "group", "n", "label", "error", "low", "high", "over", "mistakes"]
MISTAKE_COLUMNS = ["feature", "group", "n", "mistakes", "low", "high"]
TREND_COLUMNS = ["feature", "n", "rho", "rho_at_label", "p", "p_holm"]


@dataclass(frozen=True)
class Feature:
    """Something counted in every example."""

    name: str
    values: Floats
    """(examples,)"""
    edges: tuple[float, ...]
    """Ascending lower bounds of the groups; the first group has all that is below the second one's."""
    groups: tuple[str, ...]


def text_features(
    texts: Texts, vocabulary: Vocabulary | None = None, lexicon: Mapping[str, int] | None = None
) -> list[Feature]:
    """What can be counted: length always, overlap of pairs, unknown words and polarity where these are given."""
    length = ("under 50", "50 to 99", "100 to 199", "200 to 299", "300 and more")
    found = [Feature("characters", characters(texts), (0, 50, 100, 200, 300), length)]
    if len(texts) == 2:
        names = ("under 25%", "25 to 50%", "50 to 75%", "75% and more")
        found.append(Feature("word overlap", word_overlap(texts), (0, 0.25, 0.5, 0.75), names))
    if vocabulary:
        counted = unknown_words(texts, vocabulary)
        found.append(Feature("unknown words", counted, (0, 1, 2, 4), ("none", "1", "2 or 3", "4 and more")))
    if lexicon:
        signs = ("more negative", "as many", "more positive")
        found.append(Feature("polarity words", polarity(texts, lexicon), (-math.inf, 0, 1), signs))
    return found


def error_by_group(examples: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """One row a feature and group that has examples: n, mean label, mean signed error with its 95% interval,
    over (share predicted above the label) and mistakes (share of wrong answers; for regression, where no
    answer is exactly right, the mean size of the error)."""
    rows = [(name, group, *_group(own)) for name, group, own in _groups(examples, features)]
    return pd.DataFrame(rows, columns=GROUP_COLUMNS)


def mistakes_by_group(examples: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """One row a feature and group that has examples: n and mistakes (share of wrong answers) with its 95% interval
    (Wilson). All that can be said of classes in no order."""
    rows = []
    for name, group, own in _groups(examples, features):
        wrong = int((own["mistake"] > 0).sum())
        around = stats.binomtest(wrong, len(own)).proportion_ci(method="wilson")
        rows.append((name, group, len(own), wrong / len(own), float(around.low), float(around.high)))
    return pd.DataFrame(rows, columns=MISTAKE_COLUMNS)


def error_trends(examples: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """One row a feature: n, Spearman's rho between it and the signed error, the same at equal labels, its p.

    Errors depend on the label (of the highest one they can only be below), and so may lengths; so p,
    Holm-corrected over the features, is that of the partial correlation given the label. All are NaN
    for a feature that is the same in every example.
    """
    label, error = examples["label"].to_numpy(np.float64), examples["error"].to_numpy(np.float64)
    rows = []
    for feature in features:
        rows.append((feature.name, len(error), *_trend(feature.values, error, label)))
    found = pd.DataFrame(rows, columns=TREND_COLUMNS[:-1])
    return found.assign(p_holm=holm(found["p"].to_numpy(np.float64)))


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's r of two (n,) arrays; 0 when one of them has one value only."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _groups(examples: pd.DataFrame, features: Sequence[Feature]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Every feature's groups that have examples, with these."""
    for feature in features:
        at = np.searchsorted(feature.edges[1:], feature.values, side="right")
        for place, group in enumerate(feature.groups):
            own = examples[at == place]
            if len(own):
                yield feature.name, group, own


def _group(own: pd.DataFrame) -> tuple[int, float, float, float, float, float, float]:
    error = own["error"].to_numpy(np.float64)
    mean = float(error.mean())
    low, high = mean_interval(mean, error)
    over = float((error > 0).mean())
    return len(own), float(own["label"].mean()), mean, low, high, over, float(own["mistake"].mean())


def _trend(values: Floats, error: Floats, label: Floats) -> tuple[float, float, float]:
    """rho, rho at equal labels, p."""
    if len(values) < 2 or np.ptp(values) == 0:
        return math.nan, math.nan, math.nan
    rho = _rho(values, error)
    partial = _partial(rho, _rho(values, label), _rho(error, label))
    return rho, partial, _p_value(partial, len(error) - 3)


def _rho(x: Floats, y: Floats) -> float:
    """Spearman's rho, ties sharing their mean rank; 0 when one side has one value only."""
    return correlation(stats.rankdata(x), stats.rankdata(y))


def _partial(xy: float, xz: float, yz: float) -> float:
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(rest) if rest > 1e-12 else 0.0


def _p_value(r: float, df: int) -> float:
    """Two-sided, of a correlation with so many degrees of freedom."""
    if df < 1:
        return math.nan
    return float(2 * stats.t.sf(abs(r) * math.sqrt(df / max(1e-300, 1 - r * r)), df))
