"""YAML files: the dialect, the lines, and one clear message for every mistake."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbert import errors
from minbert.config import MultitaskStage, TrainConfig
from minbert.errors import UserError, nearest_name
from minbert.yaml_reader import dump_yaml, load_config, parse_value, read_record, read_yaml, sealed_yaml


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(folder: Path, content: str | bytes) -> str:
    """The message for a configuration file, without its folder."""
    with pytest.raises(UserError) as caught:
        load_config(write(folder, content))
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


def test_the_nearest_key_is_not_looked_for_in_thousands_of_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[object] = []

    def counted(value: object, allowed: Iterable[object]) -> str:
        sought.append(value)
        return nearest_name(value, allowed)

    monkeypatch.setattr(errors, "nearest_name", counted)
    message = refusal(tmp_path, "poling: cls\n" + "".join(f"key_{number}: 1\n" for number in range(1000)))
    assert "unknown key 'poling'" in message
    assert "unknown key 'poling'; did you mean 'pooling'? The keys here are" in message
    assert message.endswith(" (and 1000 more)")
    assert 1 <= len(sought) < 100


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2.", -2.0),
        (".inf", math.inf),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("TRUE", True),
        ("false", False),
        ("~", None),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-5'", "1e-5"),
        ("{a: [1, x]}", {"a": [1, "x"]}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    parsed = parse_value(text, "--set x")
    assert parsed == value
    assert type(parsed) is type(value)


def test_every_path_has_its_line_and_unknown_ones_that_of_what_encloses_them(tmp_path: Path) -> None:
    document = read_yaml(write(tmp_path, "# note\na:\n  b: 1\n\n  c: [5,\n      6]\nd: {e: 2}\n"))
    assert document.data == {"a": {"b": 1, "c": [5, 6]}, "d": {"e": 2}}
    assert [document.line(path) for path in ("a", "a.b", "a.c", "a.c.1", "d.e")] == [2, 3, 5, 6, 7]
    assert document.line("a.b.nowhere") == 3
    assert document.line("d.x.y") == 7


def test_anchors_are_plain_copies(tmp_path: Path) -> None:
    document = read_yaml(write(tmp_path, "a: &one {b: 1}\nc: *one\n"))
    assert document.data == {"a": {"b": 1}, "c": {"b": 1}}
    assert document.data["a"] is not document.data["c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a:\n  c: 1\n  d: 2\n  c: 3\n", "x.yaml:4: the key 'c' stands here and on line 2"),
        ("pooling: mean\n1: 2\n", "x.yaml:2: a key must be a string, not '1'"),
        ("[a]: 2\n", "x.yaml:1: a key must be a string"),
        ("\na: !!python/object/apply:os.getcwd []\n", "x.yaml:2: the tag 'tag:yaml.org,2002:python"),
        ("a: !mine 1\n", "x.yaml:1: the tag '!mine' is not allowed"),
        ("a: !!int no\n", "x.yaml:1: a: 'no' is not a valid int"),
        ('a: "\\uD800"\n', "x.yaml:1: a: '\\ud800' is not a valid str"),
        ("", "x.yaml:1: expected a mapping of keys to values; the file is empty"),
        ("- 1\n", "x.yaml:1: expected a mapping of keys to values; found [1]"),
        ("a: 1\nb: [1\n", "x.yaml:3: not valid YAML"),
        ("a: 1\n--- \nb: 1\n", "x.yaml:2: not valid YAML: expected a single document"),
        (b"a: 1\nb: \xff\n", "x.yaml:2: not UTF-8 text (byte 0xff)"),
        ("a: 1\n\nb: \x00\n", "x.yaml:3: not valid YAML: the character 0x0"),
        ("a: &a [*a]\n", "x.yaml:1: nested too deeply"),
        ("a: " + "[" * 5000, "x.yaml:1: nested too deeply"),
        (f"a: {'9' * 5000}", "x.yaml:1: a: '999"),
        (
            f"a: {2**64}",
            "x.yaml:1: a: '18446744073709551616' is too large a number: whole ones are below 2**64",
        ),
        (b"a: '" + b"x" * 600_000 + b"'", "x.yaml:1: larger than"),
    ],
)
def test_a_file_outside_the_dialect_is_refused_by_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    assert refusal(tmp_path, content).startswith(message)


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 100000 values" in refusal(tmp_path, "\n".join(lines))


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_a_partial_file_is_laid_over_the_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "pooling: cls\nstages: {finetune: {learning_rate: 1e-4}}\n"))
    finetune = config.stages["finetune"]
    assert isinstance(finetune, MultitaskStage)
    assert (config.pooling, finetune.learning_rate, finetune.epochs) == ("cls", 1e-4, 3)
    assert load_config(write(tmp_path, "{}")) == TrainConfig()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "stages:\n  finetune:\n    learning_rate: -1\n    dropout: 2\n",
            "x.yaml:3: stages.finetune.learning_rate: -1 is not allowed: it must be above 0 (and 1 more)",
        ),
        (
            "\npooling: maen\n",
            "x.yaml:2: pooling: 'maen' is not allowed: the values are mean, cls, pooler; did you mean 'mean'?",
        ),
        (
            "stages:\n  finetune:\n    sampler:\n      kidn: annealed\n",
            "x.yaml:4: stages.finetune.sampler.kidn: unknown key 'kidn'; did you mean 'kind'? The keys here are "
            "end, kind, order, unit, weights",
        ),
        (
            "stages:\n  more: {kind: multitsk}\n",
            "x.yaml:2: stages.more.kind: 'multitsk' is not allowed: the values are multitask, simcse, "
            "supervised_simcse; did you mean 'multitask'?",
        ),
        (
            "stages:\n  more:\n    epochs: 1\n",
            "x.yaml:2: stages.more: kind is missing: write kind: multitask or simcse",
        ),
        (
            "tasks:\n  sst:\n    files:\n      trian: x\n",
            "x.yaml:4: tasks.sst.files.trian: 'trian' is not allowed: the values are train, dev, test; "
            "did you mean 'train'?",
        ),
        ("tasks:\n  nli: {kind: binary, label: l, text: [a]}\n", "x.yaml:2: tasks.nli.head: is missing"),
        (
            "stages:\n  finetune:\n    epochs: 3\n    pcgrad: true\n    sampler: {kind: annealed}\n",
            "x.yaml:4: stages.finetune: pcgrad true does not go with sampler.kind 'annealed'",
        ),
        ("pooling: cls\nrecipe: [a]\n", "x.yaml:2: recipe names the stage 'a'"),
        ("stages: 5\n", "x.yaml:1: stages: 5 is not allowed: it must be a mapping"),
        ("stages:\n  finetune: 4\n", "x.yaml:2: stages.finetune: 4 is not allowed: it must be a mapping"),
        ("seed: 1\nthreads: many\n", "x.yaml:2: threads: 'many' is not allowed: the values are auto; or: "),
        ("recipe: [finetune,\n 3]\n", "x.yaml:2: recipe.1: 3 is not allowed: a text is needed"),
        ("recipe: finetune\n", "x.yaml:1: recipe: 'finetune' is not allowed: a list is needed"),
        ("seed: -1\n", "x.yaml:1: seed: -1 is not allowed: it must be at least 0"),
        ("seed: 1.5\n", "x.yaml:1: seed: 1.5 is not allowed: a whole number is needed"),
        ("fidelity: 2\n", "x.yaml:1: fidelity: 2 is not allowed: it must be at most 1"),
        ("fidelity: much\n", "x.yaml:1: fidelity: 'much' is not allowed: a number is needed"),
        (
            "seed: 1\nlearning_rate: 1\n",
            "x.yaml:2: learning_rate: unknown key 'learning_rate'; did you mean stages.finetune.learning_rate or ",
        ),
        (
            "stages:\n  simcse:\n    max_grad_norm: 1\n    dropuot: 1\n",
            "x.yaml:4: stages.simcse.dropuot: unknown key 'dropuot'; did you mean 'dropout'? The keys",
        ),
        (
            "tasks:\n  sts:\n    head: {weight: 2}\n",
            "x.yaml:3: tasks.sts.head.weight: unknown key 'weight'; did you mean tasks.sts.weight or ",
        ),
        (
            "stages:\n  finetune:\n    kind: simcse\n",
            "x.yaml:2: stages.finetune: the default of this name has a key 'sampler' that does not fit",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_path_value_and_remedy(
    tmp_path: Path, content: str, message: str
) -> None:
    assert refusal(tmp_path, content).startswith(message)


def test_an_unknown_key_lists_the_keys_of_its_own_stage_kind(tmp_path: Path) -> None:
    message = refusal(tmp_path, "stages:\n  simcse:\n    temprature: 1\n")
    assert message.startswith("x.yaml:3: stages.simcse.temprature: unknown key 'temprature'")
    assert "; did you mean 'temperature'? The keys here are " in message
    assert "pcgrad" not in message


@pytest.mark.parametrize("content", ["poling: null", "data: {pahth: ~}", "tasks: {sst: {head: {knd: null}}}"])
def test_an_unknown_key_without_a_value_is_refused_too(tmp_path: Path, content: str) -> None:
    assert "unknown key" in refusal(tmp_path, content)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(
        ["yes", "off", "1e-5", "0o7", "010", "1_000", "null", "~", "", "2020-01-01", "<<", "="]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=plain)
def test_what_is_dumped_reads_back_identically(value: Any) -> None:
    assert repr(parse_value(dump_yaml(value), "dumped")) == repr(value)


def test_a_configuration_survives_dump_and_load(tmp_path: Path) -> None:
    config = TrainConfig(seed=7, pooling="cls")
    assert load_config(write(tmp_path, dump_yaml(config.model_dump(mode="json")))) == config


WRITTEN = {"seed": 7, "learning_rate": 1e-05, "tasks": {"sst": {"text": ["Größe", "off"]}}}


def test_no_flipped_bit_and_no_cut_of_a_sealed_file_changes_what_is_read(tmp_path: Path) -> None:
    whole = sealed_yaml(WRITTEN).encode()
    assert read_yaml(write(tmp_path, whole)).data == read_record(tmp_path / "x.yaml") == WRITTEN
    spoilt = [whole[:length] for length in range(len(whole))]
    for at in range(len(whole)):
        spoilt += [whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for bit in range(8)]
    read = 0
    for content in spoilt:
        try:
            found = read_yaml(write(tmp_path, content)).data
        except UserError:
            continue
        assert found == WRITTEN  # only the mark of the first line was hit
        read += 1
    assert 0 < read < 8 * len("# sha256 of the rest: ")


@pytest.mark.parametrize("read", [read_yaml, read_record])
@pytest.mark.parametrize(
    ("old", "new"), [("seed: 7", "seed: 8"), ("file\nseed", "file seed"), ("\n", "\r\n"), ("off'\n", "off'")]
)
def test_a_sealed_file_that_was_changed_is_refused_with_what_to_do(
    read: Callable[[Path], object], old: str, new: str, tmp_path: Path
) -> None:
    text = sealed_yaml(WRITTEN)
    assert old in text
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, text.replace(old, new)))
    assert str(caught.value) == (
        f"{tmp_path / 'x.yaml'}: damaged: its first line says another content; bring it back from a copy, or remove "
        "that line if you changed the file yourself"
    )


def test_a_file_without_its_first_line_or_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    text = sealed_yaml(WRITTEN)
    assert read_yaml(write(tmp_path, text.partition("\n")[2].replace("7", "8"))).data == {
        **WRITTEN,
        "seed": 8,
    }
    assert read_yaml(write(tmp_path, "\ufeff" + text)).data == WRITTEN
    with pytest.raises(UserError, match="damaged"):
        read_yaml(write(tmp_path, "\ufeff" + text.replace("7", "8")))


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | st.text(alphabet="ab:- \n[]{}&*!|>'\"%0x.e\\U1\t#,?", max_size=60))
def test_arbitrary_content_is_read_or_refused_as_the_users_mistake(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        try:
            document = read_yaml(path)
        except UserError as error:
            str(error).encode()
            assert str(error).startswith(f"{path}:")
        else:
            assert isinstance(document.data, dict)
