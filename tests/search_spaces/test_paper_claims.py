"""The papers' claims: each is there with its words, place and numbers, and the numbers follow from the tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from analysis.claim_forms import Contrast as Weighted
from tests.search_spaces.listed_papers import run_of, space
from tests.search_spaces.paper_tables import TABLES, TASKS
from trainables.spaces.claims import Claim, Contrast

# By claim: section, then the sizes by metric in their order; ``?`` is no number, an empty text no contrast.
CLAIMS = {
    "0.1": ("5.2", "plain .488"),
    "0.2": ("5.2", "plain .001, plain .021"),
    "0.3": ("6.2", "sst -.171, qqp -.110, sts .015"),
    "0.4": ("abstract", "qqp -.001, sts .002"),
    "0.5": ("6.2", "memory ?, plain -.006"),
    "0.6": ("6.1", "sst ?, qqp ?, sts ?"),
    "0.7": ("6.1", ""),
    "0.8": ("6.1", "sts .875, qqp .384"),
    "0.9": ("6.1", "plain -.009"),
    "0.10": ("4", "plain -.028"),
    "0.11": ("5.2", "plain -.006"),
    "1.1": ("4.4", "plain .078"),
    "1.2": ("4.4", "plain .03"),
    "1.3": ("4.4", "sst -.03, sts .13, sst 0, sts .13"),
    "1.4": ("4.4", "plain .02"),
    "1.5": ("6", "sst -.39"),
    "1.6": ("4.4", "plain .18, plain .35"),
    "1.7": ("3.3", ""),
    "1.8": ("3.2", ""),
    "1.9": ("3", ""),
    "1.10": ("6", "sts .16"),
    "1.11": ("6", "plain .012, plain -.012"),
    "1.12": ("table 1", "plain .023"),
    "2.1": ("6.5", "sts .191"),
    "2.2": ("6.4", "qqp .048"),
    "2.3": ("6.3", "sst .012"),
    "2.4": ("6.3", "sst -.018"),
    "2.5": ("6.4", "sst .030, qqp .010, sts .019"),
    "2.6": ("6.4", "qqp -.049, sts .037"),
    "2.7": ("6.5", "sts .308"),
    "2.8": ("6.6", "sst -.393, sts -.465, qqp 0"),
    "2.9": ("4.3", "sts .355"),
    "2.10": ("7", "sst -.049, qqp -.065, sts -.154"),
    "3.1": ("abstract", "sts .478, sts .434"),
    "3.2": ("5.4", "overall .002, overall -.004, overall -.004"),
    "3.3": ("5.4", "overall -.003, overall -.003, sts .022, sts -.008"),
    "3.4": ("4.2", "sts -.108, sts -.068"),
    "3.5": ("5.4", "overall .092"),
    "3.6": ("6", "sts ?"),
    "3.7": ("3", ""),
    "3.8": ("5.2", ""),
    "4.1": ("4.2.1", "overall .072"),
    "4.2": ("4.2.1", "overall -.001"),
    "4.3": ("4.2.2", "overall .062"),
    "4.4": ("4.2.2", "overall .036"),
    "4.5": ("6", "overall .008, overall .007, overall .015"),
    "4.6": ("4.2.5", "overall .013, overall .001, overall .014, overall .005, overall .005, overall .019"),
    "4.7": ("4.2.5", "overall .014, overall .005, overall .012"),
    "4.8": ("5.4", "overall .016, overall .025"),
    "4.9": ("5.4", "qqp ?, sts ?"),
    "4.10": ("5.1", "seconds -14400"),
}
# Claims that the tables contradict, or whose printed size does not follow: words of the note that says so.
CONTRADICTED = {
    "0.4": "contradicts the abstract",
    "0.9": ".009 less",
    "1.3": ".49 against .52",
    "1.11": "contradicts the gain",
    "2.10": "less than fine-tuning",
    "3.3": "+.022",
}
UNEQUAL = {"4.8": "+.026"}
BY_FORMULA = {"4.1": "+.074", "4.2": "gains .007"}
PAPERS = dict(zip("01234", TABLES, strict=True))
EVERY = [(PAPERS[name[0]], name) for name in CLAIMS]


def claim(paper: str, name: str) -> Claim:
    return space(paper).claims[name]


def contrasts() -> Iterator[tuple[str, str, Contrast]]:
    yield from ((paper, name, each) for paper, name in EVERY for each in claim(paper, name).contrasts)


def reported(paper: str, name: str, contrast: Contrast, average: bool) -> float | None:
    """The contrast in the table's numbers; averages from its average column or from the tasks' scores."""
    total = 0.0
    for run, weight in Weighted.model_validate(contrast.model_dump()).weights().items():
        scores = dict(run_of(paper, run).reported)
        value = score(scores, contrast.metric, average)
        train = scores.get("train")
        if value is None:
            return None
        if contrast.gap:
            assert isinstance(train, dict) and train[contrast.metric] is not None
            value = train[contrast.metric] - value
        total += weight * value
    return total


def score(scores: dict[str, object], metric: str, average: bool) -> float | None:
    if metric in TASKS or average:
        found = scores.get(metric)
        return found if isinstance(found, float | int) else None
    tasks = [scores.get(task) for task in TASKS]
    if any(not isinstance(each, float | int) for each in tasks):
        return None
    sst, qqp, sts = (float(each) for each in tasks)  # type: ignore[arg-type]
    return (sst + qqp + (sts if metric == "plain" else (sts + 1) / 2)) / 3


def test_every_claim_is_there_in_its_order() -> None:
    assert [name for paper in TABLES for name in space(paper).claims] == list(CLAIMS)
    for paper in TABLES:
        measurable = [name for name, own in space(paper).claims.items() if own.contrasts]
        assert len(measurable) >= 6, paper


@pytest.mark.parametrize(("paper", "name"), EVERY, ids=CLAIMS)
def test_a_claim_has_its_words_place_and_numbers(paper: str, name: str) -> None:
    found = claim(paper, name)
    sizes = [f"{one.metric} {'?' if one.size is None else f'{one.size:g}'}" for one in found.contrasts]
    section, expected = CLAIMS[name]
    given = [text.split() for text in expected.split(", ") if text]
    assert sizes == [f"{metric} {size if size == '?' else f'{float(size):g}'}" for metric, size in given]
    assert found.section == section
    assert len(found.says.split()) >= 4
    assert bool(found.not_measured) == (not given)


def test_sizes_follow_from_the_runs_reported_scores_except_where_a_note_says_otherwise() -> None:
    followed, unequal = 0, set()
    for paper, name, contrast in contrasts():
        if contrast.size is None or contrast.space or contrast.metric in ("seconds", "memory"):
            continue
        computed = [
            value for average in (True, False)
            if (value := reported(paper, name, contrast, average)) is not None
        ]  # fmt: skip
        assert computed, (name, contrast)
        if min(abs(value - contrast.size) for value in computed) <= 0.0005 + 1e-9:
            followed += 1
        else:
            unequal.add(name)
    assert followed > 60
    assert unequal == set(UNEQUAL)
    for name, words in {**UNEQUAL, **BY_FORMULA}.items():
        assert any(words in note for note in claim(PAPERS[name[0]], name).note)


def test_sizes_agree_with_what_is_said_except_where_a_note_says_otherwise() -> None:
    against = set()
    for _, name, contrast in contrasts():
        if contrast.size is not None:
            low, high = Weighted.model_validate(contrast.model_dump()).region
            if not low <= contrast.size <= high:
                against.add(name)
    assert against == set(CONTRADICTED)
    for name, words in CONTRADICTED.items():
        assert any(words in note for note in claim(PAPERS[name[0]], name).note), name


def test_matched_pairs_differ_in_what_the_claim_is_about_alone() -> None:
    columns = {row.name: row.cells for row in TABLES["multitask_embeddings"]}
    for name, place, counts in (("1.1", 1, [8]), ("1.11", 3, [6, 4])):
        pairs = [contrast.pairs for contrast in claim("multitask_embeddings", name).contrasts]
        assert [len(set(each)) for each in pairs] == counts
        for one, other in (pair for each in pairs for pair in each):
            differing = [
                at for at, (a, b) in enumerate(zip(columns[one], columns[other], strict=True)) if a != b
            ]
            assert differing == [place], (one, other)
            assert (columns[one][place], columns[other][place]) in (("mean", "cls"), ("y", "n"))
    (interaction,) = claim("multitask_embeddings", "1.12").contrasts
    smart = claim("multitask_embeddings", "1.11").contrasts
    assert (interaction.pairs, interaction.than) == (smart[0].pairs, smart[1].pairs)


def test_the_pooler_of_one_paper_is_set_against_the_mean_of_another() -> None:
    (mean,) = claim("multitask_embeddings", "1.1").contrasts
    pooler = claim("robust_embeddings", "0.6").contrasts
    assert [each.metric for each in pooler] == list(TASKS)
    for each in pooler:
        assert each.space == "papers/multitask_embeddings"
        assert each.pairs == tuple((second, first) for first, second in mean.pairs)


def test_all_forms_of_a_claim_occur() -> None:
    every = [contrast for _, _, contrast in contrasts()]
    assert {each.direction for each in every} == {"up", "down", "equal", "not_up", "not_down"}
    assert all(
        any(getattr(each, form) for each in every)
        for form in ("pairs", "than", "gap", "error_from", "space", "margin")
    )
    assert {"seconds", "memory", "plain", "overall", *TASKS} == {each.metric for each in every}
    assert any(len(each.a) > 1 for each in every)
