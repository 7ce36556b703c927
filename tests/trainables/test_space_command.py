"""``python -m trainables.space``: what it lists, shows, counts and refuses, and that its page in docs/ is true."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minbert import command_line
from minbert.bundled import CORPUS
from minbert.errors import UserError
from tests.bad_input.test_bad_input import fill
from trainables import search, space
from trainables.designs.combinations import every_setting
from trainables.designs.design import build_design
from trainables.space_pages.parts import read_parts
from trainables.spaces.counting import Count, count
from trainables.spaces.run_checks import identify
from trainables.spaces.space import available_spaces, load_space

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
BAD = yaml.safe_load((ROOT / "tests" / "bad_input" / "spaces.yaml").read_text(encoding="utf-8"))
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the program in this process, in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    for name in ("MINBERT_DATA", "MINBERT_RESULTS", "MINBERT_GPUS_PER_TRIAL", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str, program: Any = space) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        code = command_line.run(program.main)
        return code, *capsys.readouterr()

    return call


def write(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_list_has_every_packaged_space_with_its_numbers(command: Command) -> None:
    code, output, errors = command("list", "--json")
    assert (code, errors) == (0, "")
    found = {each["name"]: each for each in json.loads(output)}
    assert list(found) == available_spaces()
    assert found["heads"] | {"file": ""} == {
        "name": "heads", "design": "grid", "runs": 27, "factors": 5, "file": "",
        "description": "How should a pair of sentences be compared, and how much does reading both in one pass buy?",
    }  # fmt: skip
    assert [found[name]["runs"] for name in ("essentials", "full_ablation", "samplers")] == [50, 24, 39]
    assert found["papers/multi_bert"]["factors"] == 0
    assert all(Path(each["file"]).is_file() for each in found.values())


@pytest.mark.parametrize("name", ["heads", "essentials", "confounds", "contrastive"])
def test_parts_and_the_whole_reading_agree(name: str) -> None:
    parts, whole = read_parts(name).space, load_space(name)
    assert parts.tree() == whole.tree()
    assert parts.fingerprint() == whole.fingerprint()


def test_show_prints_factors_levels_conditions_and_what_is_not_default(command: Command) -> None:
    code, output, errors = command("show", "full_ablation")
    assert (code, errors) == (0, "")
    for line in (
        "factors: 49, of which 2 are continuous; combinations of the others: 10,967,578,951,680",
        "├── shared_dropout: 0 | 0.3  when shared_layer is all",
        "│   │   │   ├── hidden_layers: 0 to 2  when tasks.qqp.head.kind is concat or cross",
        "│   │   ├── kind = multitask",
        "│   │   └── learning_rate = 0.001  (default 5e-05)",
        "│   │   ├── learning_rate: 1e-05 to 0.002, logarithmic",
    ):
        assert line in output.splitlines()
    assert "max_length" not in output  # its default
    assert "epochs = 3" not in output  # written, and the default


def test_show_says_where_each_leaf_of_an_extended_space_stands(command: Command, tmp_path: Path) -> None:
    write(
        tmp_path,
        "pooling: {choice: [mean, cls]}\nmax_length: 64\nstages: {finetune: {epochs: 3}}\n",
        "base.yaml",
    )
    write(tmp_path, "extends: base.yaml\n\npooling: mean\nshared_layer: {choice: [none, all]}\n")
    _, output, _ = command("show", "own.yaml")
    assert output.splitlines()[1] == "file: own.yaml, which extends base.yaml"
    assert "pooling = mean  [own.yaml:3, over base.yaml:1]" in output
    assert "max_length = 64  (default 128)  [base.yaml:2]" in output
    assert "shared_layer: none | all  [own.yaml:4]" in output
    assert "epochs" not in output


def test_show_names_factors_whose_condition_was_taken_away(command: Command, tmp_path: Path) -> None:
    write(tmp_path, "extends: samplers\nstages: {finetune: {sampler: {kind: merged}}}\n")
    _, output, _ = command("show", "own.yaml")
    assert re.search(r"never drawn, as the conditions cannot hold here: stages\.finetune\.pcgrad, ", output)


def test_show_prints_the_runs_of_a_list_in_brief(command: Command) -> None:
    _, output, _ = command("show", "papers/multi_bert")
    assert "rows: 7, with 8 claims of paper 003: Multi-BERT" in output
    line = next(line for line in output.splitlines() if line.startswith("Baseline"))
    assert "  sts.head.kind=dot, finetune.sampler.kind=round_robin, finetune.sampler.end=smallest" in line
    assert max(map(len, output.splitlines())) < 200


@pytest.mark.parametrize(
    "text",
    [
        "pooling: {choice: [mean, max]}\n",
        "max_length: -3\npooling: {choice: [mean, cls]}\n",
        "stages: {finetune: {learning_rat: 1}}\n",
        "search: {design: listed}\n",
        "search: {design: grid}\nstages: {finetune: {dropout: {uniform: [0, 0.5]}}}\n",
    ],
)
def test_show_refuses_what_is_wrong_by_itself(text: str, command: Command, tmp_path: Path) -> None:
    write(tmp_path, text)
    code, output, errors = command("show", "own.yaml")
    assert (code, output) == (2, "")
    assert re.fullmatch(r"error: own\.yaml:\d: [^\n]+\n", errors)


def test_show_of_hundreds_of_factors_with_conditions_needs_no_enumeration(
    command: Command, tmp_path: Path
) -> None:
    stages = {
        f"s{number}": {
            "kind": "multitask",
            "epochs": {"int": [0, 10**4]},
            "batch_size": {"choice": [8, 16], "when": {f"stages.s{number}.epochs": [1, 2]}},
            "dropout": {"uniform": [0, 0.5], "when": {f"stages.s{number}.batch_size": 8}},
        }
        for number in range(40)
    }
    write(tmp_path, yaml.safe_dump({"stages": stages}, sort_keys=False))
    code, output, _ = command("show", "own.yaml")
    each = (10**4 + 1 - 2) + 2 * 2
    assert code == 0
    assert f"40 are continuous; combinations of the others: about 10^{40 * math.log10(each):.0f}" in output
    assert count(read_parts("own.yaml").space) == Count(each**40, 40)


def test_settings_are_counted_without_going_through_those_that_conditions_ask_for(tmp_path: Path) -> None:
    stages = {
        f"s{number}": {
            "kind": "multitask",
            "epochs": {"int": [0, 1]},
            "batch_size": {"choice": [8, 16], "when": {f"stages.s{number}.epochs": 1}},
        }
        for number in range(60)
    }
    own = write(tmp_path, yaml.safe_dump({"stages": stages}, sort_keys=False))
    assert read_parts(str(own)).space.combinations() == 3**60


def test_conditions_that_overlap_too_much_are_counted_from_above(tmp_path: Path) -> None:
    stages: dict[str, Any] = {f"s{at}": {"kind": "multitask", "epochs": {"int": [0, 1]}} for at in range(40)}
    for at in range(40):
        for leaf, other in (
            ("batch_size", at * 7 + 3),
            ("warmup_steps", at * 11 + 5),
            ("max_grad_norm", at + 1),
        ):
            when = {f"stages.s{at}.epochs": 1, f"stages.s{other % 40}.epochs": 1}
            stages[f"s{at}"][leaf] = {"choice": [1, 2], "when": when}
    space = read_parts(str(write(tmp_path, yaml.safe_dump({"stages": stages}, sort_keys=False)))).space
    counted = count(space)
    assert counted == Count(2**160, 0, exact=False)


CHOICES = st.sampled_from(["choice", "int"])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_counting_agrees_with_going_through_every_setting(data: st.DataObject, tmp_path: Path) -> None:
    """Factors of several stages, with conditions on any of the earlier ones."""
    tree: dict[str, Any] = {}
    earlier: list[tuple[str, list[Any]]] = []
    for at in range(data.draw(st.integers(2, 6))):
        leaf = ("batch_size", "warmup_steps", "micro_batch_size")[at % 3]
        stage = tree.setdefault(f"s{at // 3}", {"kind": "multitask", "epochs": 0})
        levels = [1, 2, 3][: data.draw(st.integers(1, 3))]
        kind = data.draw(CHOICES) if len(levels) > 1 else "choice"
        node: dict[str, Any] = {kind: levels if kind == "choice" else [1, levels[-1]]}
        asked = data.draw(st.lists(st.sampled_from(earlier), max_size=3, unique_by=str)) if earlier else []
        for path, values in asked:
            node.setdefault("when", {})[path] = data.draw(
                st.lists(st.sampled_from(values), min_size=1, unique=True)
            )
        stage[leaf] = node
        earlier.append((f"stages.s{at // 3}.{leaf}", levels))
    read = read_parts(str(write(tmp_path, yaml.safe_dump({"stages": tree})))).space
    assert count(read).discrete == sum(1 for _ in every_setting(read))
    assert count(read).discrete == read.combinations()


def test_check_says_what_it_found_in_a_line_a_file(command: Command, tmp_path: Path) -> None:
    write(tmp_path, "pooling: {choice: [mean, max]}\n", "bad.yaml")
    write(tmp_path, "pooling: mean\n", "none.yaml")
    write(tmp_path, "pooling: {choice: [mean]}\n", "one.yaml")
    write(tmp_path, "pooling: {choice: [mean, cls]}\nstages: {finetune: {dropout: {uniform: [0, 0.5]}}}\n")
    code, output, errors = command(
        "check", "own.yaml", "bad.yaml", "none.yaml", "one.yaml", "heads", "nothing"
    )
    assert code == 2
    assert output.splitlines() == [
        "own.yaml: ok: 24 runs by the design optuna, 2 factors with 2 combinations and 1 continuous; "
        "data: the bundled corpus",
        "none.yaml: ok: 24 runs by the design optuna, no factor: they differ by seed alone; data: the bundled corpus",
        "one.yaml: ok: 24 runs by the design optuna, 1 factor with 1 combination; data: the bundled corpus",
        "heads: ok: 27 runs by the design grid, 5 factors with 27 combinations; data: the bundled corpus",
    ]
    assert [line[:40] for line in errors.splitlines()] == [
        "error: bad.yaml:1: pooling: 'max' is not",
        "error: there is no search space 'nothing",
    ]
    names = ["bad.yaml", "none.yaml", "one.yaml", "own.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    "name",
    ["levels that exclude each other", "factor without effect", "fixed leaf without effect", "extends itself",
     "grid over a range of numbers", "condition that never holds", "empty file", "bytes that are no text"],
)  # fmt: skip
def test_check_refuses_what_a_search_refuses(name: str, command: Command, tmp_path: Path) -> None:
    fill(tmp_path / "space.yaml", BAD[name])
    code, output, errors = command("check", "./space.yaml")
    assert (code, output) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", errors)
    for pattern in BAD[name]["says"]:
        assert re.search(pattern, errors)


def test_check_lays_settings_over_the_space_first(command: Command, tmp_path: Path) -> None:
    write(tmp_path, "search: {design: grid}\npooling: {choice: [mean, cls]}\n")
    assert "1 run by" in command("check", "own.yaml", "--set", "pooling=cls")[1]
    code, _, errors = command("check", "own.yaml", "--set", "pooling=max")
    assert code == 2
    assert errors.startswith("error: own.yaml: --set pooling=max: ")


def test_check_names_the_line_that_names_a_missing_data_file(command: Command, tmp_path: Path) -> None:
    text = "extends: heads\ntasks:\n  sst:\n    files: {dev: ids-sst-dve.csv}\n"
    (tmp_path / "own.yaml").write_text(text)
    code, _, errors = command("check", "own.yaml", "--data", str(CORPUS))
    assert code == 2
    assert errors == (
        f"error: own.yaml:4: tasks.sst.files.dev: there is no file {CORPUS / 'ids-sst-dve.csv'}; "
        "did you mean 'ids-sst-dev.csv'?\n"
    )


def test_check_looks_at_data_and_encoder(command: Command, tmp_path: Path) -> None:
    write(tmp_path, "max_length: {choice: [64, 512]}\n")
    code, _, errors = command("check", "own.yaml")
    assert (code, errors) == (
        2,
        "error: own.yaml: max_length: 512 is more than the encoder's 128 positions\n",
    )
    folder = shutil.copytree(CORPUS, tmp_path / "given")
    (folder / "sentences.txt").unlink()
    code, _, errors = command(
        "check", "contrastive", "--data", "given", "--encoder", str(CORPUS.parent / "encoder")
    )
    assert code == 2
    assert re.fullmatch(r"error: contrastive: [^\n]*sentences[^\n]*\n", errors)


@pytest.mark.parametrize(
    "arguments",
    [(), ("show",), ("check",), ("list", "more"), ("show", ""), ("show", "a" * 300), ("show", "nowhere.yaml"),
     ("show", "../search_spaces"), ("check", "--set"), ("check", "heads", "--data", "nowhere"), ("shwo", "heads"),
     ("check", "heads", "--set", "pooling"), ("show", "Überraum")],
)  # fmt: skip
def test_odd_arguments_are_answered_in_one_line(arguments: tuple[str, ...], command: Command) -> None:
    code, output, errors = command(*arguments)
    assert (code, output) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", errors)


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m trainables.space show full_ablation | head -c 10"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("full_ablat", "")
    assert ended.returncode == 0


def test_what_a_terminal_cannot_show_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def says() -> int:
        print("größer")
        raise UserError("kein Maß")

    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert command_line.run(says) == 2
    for stream, shown in ((sys.stdout, "gr??er\n"), (sys.stderr, "error: kein Ma?\n")):
        stream.seek(0)
        assert stream.read() == shown


def test_a_terminal_without_unicode_gets_a_tree_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = write(tmp_path, "description: Überraum – größer?\npooling: {choice: [mean, cls]}\n")
    monkeypatch.setattr(sys, "argv", ["space", "show", str(own)])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert command_line.run(space.main) == 0
    sys.stdout.seek(0)
    output = sys.stdout.read()
    assert output.startswith("own: ?berraum ? gr??er?\n")
    assert "`-- pooling: mean | cls\n" in output


BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_and_command_of_the_page_works(command: Command, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "analysis" / "notebooks" / "example_study", tmp_path / "results" / "essentials")
    output, run = "", 0
    for kind, text in BLOCKS:
        if kind == "yaml":
            write(tmp_path, text, text.splitlines()[0].removeprefix("# "))
        elif kind == "text":
            assert [line for line in text.splitlines() if line not in output.splitlines()] == []
        else:
            output = ""
            for line in text.splitlines():
                words = shlex.split(line.partition(" > ")[0], comments=True)
                assert words[:2] == ["python", "-m"]
                program = {"trainables.space": space, "trainables.search": search}[words[2]]
                assert program is space or "--dry-run" in words
                code, said, errors = command(*words[3:], program=program)
                assert (code, errors) == (0, ""), line
                output, run = output + said, run + 1
            if "list" in text:
                assert re.search(r"^heads +grid +27 +5  How should a pair of sentences", output, re.MULTILINE)
                assert re.search(r"^papers/multi_bert +listed +7 +–  Annealed", output, re.MULTILINE)
    assert run > 8
    assert len(PAGE.splitlines()) <= 150


def test_a_space_of_the_page_is_needed_with_its_condition(command: Command, tmp_path: Path) -> None:
    text = next(text for kind, text in BLOCKS if kind == "yaml" and "layers.yaml" in text)
    write(tmp_path, "".join(line for line in text.splitlines(keepends=True) if "when:" not in line))
    code, _, errors = command("check", "own.yaml")
    assert code == 2
    assert "is not possible" in errors


def test_runs_are_those_of_the_design(tmp_path: Path) -> None:
    from trainables.space_pages.runs import runs_of  # noqa: PLC0415

    text = "search: {design: grid, trials: 7, replicates: 2}\nmax_length: {int: [32, 127]}\n"
    small = read_parts(str(write(tmp_path, text.replace("127", "33")))).space
    assert runs_of(small) == build_design(small, lambda params: identify(small, params, {})).runs == 4
    assert runs_of(read_parts(str(write(tmp_path, text))).space) == 7
    large = text.replace("127", "500").replace("trials: 7, ", "") + "pooling: {choice: [mean, cls, pooler]}\n"
    assert runs_of(read_parts(str(write(tmp_path, large))).space) == 469 * 3 * 2
