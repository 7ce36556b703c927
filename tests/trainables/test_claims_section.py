"""The claims of a listed space: what is read, what is refused with its line, and what they do not change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from minbert.errors import UserError
from minbert.yaml_reader import dump_yaml, parse_value
from trainables.spaces.claims import claims_to_yaml
from trainables.spaces.space import Space, load_space
from trainables.studies.study_description import described_plan

HEAD = """\
description: d
search: {design: listed}
runs:
  exp 1: {}
  exp 2: {set: {pooling: cls}}
  both: {members: {sst: exp 1, qqp: exp 2, sts: exp 2}}
"""
CLAIMS = """\
claims:
  "1.1":
    says: the mean is better
    section: "4.4"
    contrasts:
      - {a: exp 2, b: [exp 1, both], metric: plain, direction: up, size: .1, size_from: text}
      - {pairs: [[exp 2, exp 1]], than: [[both, exp 1]], metric: sts, direction: equal, margin: .02}
    note: one
  "1.10":
    says: and faster
    section: abstract
    not_measured: nobody looked
"""


def load(folder: Path, content: str) -> Space:
    path = folder / "x.yaml"
    path.write_text(content, encoding="utf-8")
    return load_space(str(path))


def refusal(folder: Path, content: str) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, content)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


def test_claims_are_read_with_their_contrasts(tmp_path: Path) -> None:
    claims = load(tmp_path, HEAD + CLAIMS).claims
    assert list(claims) == ["1.1", "1.10"]
    first, second = claims["1.1"].contrasts
    assert (first.a, first.b, first.size, first.size_from) == (("exp 2",), ("exp 1", "both"), 0.1, "text")
    assert (second.pairs, second.than) == ((("exp 2", "exp 1"),), (("both", "exp 1"),))
    assert (second.margin, second.size) == (0.02, None)
    assert claims["1.1"].note == ("one",)
    assert claims["1.10"].not_measured == "nobody looked"


def test_claims_change_nothing_that_is_trained_and_survive_being_stored(tmp_path: Path) -> None:
    without, told = load(tmp_path, HEAD), load(tmp_path, HEAD + CLAIMS)
    assert without.fingerprint() == told.fingerprint()
    assert "claims" not in without.resolved()
    again = Space.from_resolved(parse_value(dump_yaml(told.resolved()), "study.yaml"))
    assert again == told and again.claims == told.claims
    assert yaml.safe_load(dump_yaml(claims_to_yaml(told.claims))) == told.resolved()["claims"]


def test_study_yaml_holds_the_claims_beside_the_runs(tmp_path: Path) -> None:
    told = load(tmp_path, HEAD + CLAIMS)
    stored = described_plan(told, {})
    assert stored["claims"] == told.resolved()["claims"]
    assert stored["claims"]["1.1"]["contrasts"][1]["than"] == [["both", "exp 1"]]
    assert "claims" not in described_plan(load(tmp_path, HEAD), {})


def test_a_setting_of_the_command_line_keeps_the_claims(tmp_path: Path) -> None:
    told = load(tmp_path, HEAD + CLAIMS)
    assert told.fix("fidelity", "0.5").fix("search.replicates", "3").claims == told.claims


def test_a_space_that_extends_another_adds_claims_to_its_own(tmp_path: Path) -> None:
    load(tmp_path, HEAD + CLAIMS)
    other = tmp_path / "y.yaml"
    other.write_text('extends: x.yaml\nclaims: {"1.2": {says: s, section: "1", not_measured: why}}\n')
    assert list(load_space(str(other)).claims) == ["1.1", "1.10", "1.2"]


CONTRAST = 'claims:\n  "1":\n    says: s\n    section: "1"\n    contrasts:\n      - '
CLAIM = 'claims:\n  "1":\n    '
MISTAKES = {
    "claims: [a]": "x.yaml:7: claims: ['a'] is not a mapping of claims by their numbers",
    CLAIM
    + 'says: s\n    section: "1"\n    not_measured: x\n    say: s': "x.yaml:12: claims.1.say: unknown key 'say'; did you mean 'says'? The keys here are contrasts, not_measured, note, says,",
    CLAIM + "says: s\n    section: 4.4": "x.yaml:10: claims.1.section: 4.4 is not allowed",
    CLAIM + 'says: s\n    section: "1"': "x.yaml:8: claims.1: a claim has either contrasts or not_measured",
    CONTRAST
    + "{a: exp 2, b: exp 3, metric: sst, direction: up}": "x.yaml:12: claims.1.contrasts.0.b.0: there is no run 'exp 3'; did you mean 'exp 2'? The runs are exp 1, exp 2, both",
    CONTRAST
    + "{a: exp 2, b: exp 1, metric: sst, direction: up}\n      - pairs: [[exp 1, exp 2],\n          [exp 4, both]]\n        metric: sst\n        direction: up": "x.yaml:14: claims.1.contrasts.1.pairs.1.0: there is no run 'exp 4'",
    CONTRAST
    + "{a: exp 2, b: exp 1, metric: stss, direction: up}": "x.yaml:12: claims.1.contrasts.0.metric: there is no metric 'stss'; did you mean 'sts'? The metrics are sst, qqp, sts, plain, overall, seconds, memory",
    CONTRAST
    + "{a: exp 2, b: exp 1, metric: sst, direction: higher}": "x.yaml:12: claims.1.contrasts.0.direction: 'higher' is not allowed: the values are up, down, equal, not_up, not_down",
    CONTRAST + "{b: exp 1, metric: sst, direction: up}": "x.yaml:12: claims.1.contrasts.0: a contrast has either a",
    CONTRAST + "{a: exp 1, metric: sst, direction: up}": "x.yaml:12: claims.1.contrasts.0: b is missing: only a gap or an error is of one run alone",
    CONTRAST
    + "{a: exp 1, pairs: [[exp 1, exp 2]], metric: sst, direction: up}": "x.yaml:12: claims.1.contrasts.0: a contrast has either a",
    CONTRAST
    + "{a: exp 1, b: exp 2, than: [[exp 1, exp 2]], metric: sst, direction: up}": "x.yaml:12: claims.1.contrasts.0: than needs pairs",
    CONTRAST
    + "{a: exp 2, b: exp 1, metric: sst, direction: up, margin: .1}": "x.yaml:12: claims.1.contrasts.0: margin only goes with equal",
    CONTRAST
    + "{a: exp 2, b: exp 1, metric: seconds, direction: equal}": "x.yaml:12: claims.1.contrasts.0: margin is missing",
    CONTRAST
    + "{a: exp 2, metric: seconds, gap: true, direction: up}": "x.yaml:12: claims.1.contrasts.0: gap does not go with seconds",
    CONTRAST
    + "{a: exp 1, metric: plain, error_from: 300, direction: up}": "x.yaml:12: claims.1.contrasts.0: error_from does not go with plain: it is of one task",
    CONTRAST
    + "{a: exp 1, metric: memory, error_from: 300, direction: up}": "x.yaml:12: claims.1.contrasts.0: error_from does not go with memory",
    CONTRAST
    + "{a: exp 1, metric: sts, gap: true, error_from: 300, direction: up}": "x.yaml:12: claims.1.contrasts.0: error_from does not go with gap",
    CONTRAST
    + "{a: exp 1, metric: sts, error_from: 300, direction: equal}": "x.yaml:12: claims.1.contrasts.0: error_from goes with up and down, not with equal",
    CONTRAST
    + "{a: exp 1, metric: sts, error_from: 0, direction: up}": "x.yaml:12: claims.1.contrasts.0.error_from: 0 is not allowed",
    CONTRAST
    + "{a: exp 2, b: exp 1, metric: sst, direction: up, size: big}": "x.yaml:12: claims.1.contrasts.0.size: 'big' is not allowed",
    CONTRAST
    + "{a: exp 2, b: exp 1, space: papers/multibert, metric: sst, direction: up}": "x.yaml:12: claims.1.contrasts.0.space: there is no packaged space 'papers/multibert'",
    CONTRAST
    + "{a: Ann+Concat, b: exp 1, space: papers/multi_bert, metric: sst, direction: up}": "x.yaml:12: claims.1.contrasts.0.b.0: there is no run 'exp 1': the runs are Ann+Concat, Ann+CoSim,",
}  # fmt: skip


@pytest.mark.parametrize("content", MISTAKES)
def test_a_mistake_is_named_with_its_file_line_and_claim(tmp_path: Path, content: str) -> None:
    message = refusal(tmp_path, HEAD + content + "\n")
    assert message.startswith(MISTAKES[content])


def test_only_a_listed_space_has_claims(tmp_path: Path) -> None:
    content = "search:\n  design: grid\npooling: {choice: [cls, mean]}\n" + CLAIMS
    assert refusal(tmp_path, content).startswith(
        "x.yaml:2: claims: only the design listed has this, not grid"
    )


def test_a_claim_may_be_about_the_runs_of_another_packaged_space(tmp_path: Path) -> None:
    content = (
        CONTRAST + "{a: Ann+Concat, b: Baseline, space: papers/multi_bert, metric: sst, direction: up}\n"
    )
    assert load(tmp_path, HEAD + content).claims["1"].contrasts[0].space == "papers/multi_bert"
