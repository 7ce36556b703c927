"""What README and the pages of docs/ tell is there: commands, snippets, links, files, make targets."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import itertools
import re
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.documentation.pages import FENCE, ROOT, TEXTS, commands, fences, inline, prose, python_commands
from trainables.search_options import search_parser

OWN = ("minbert", "trainables", "analysis", "benchmarks")
FOLDERS = (*OWN, "tests", "docs", "search_spaces", "cluster", ".ci")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


class Parsed(Exception):
    """The parser took the arguments."""


def parse(module: str, arguments: list[str]) -> None:
    """Give arguments to a module's own parser, and go no further.

    Raises:
        UserError, SystemExit: it does not take them.
    """
    with pytest.MonkeyPatch.context() as patched:
        for name in ("parse_args", "parse_intermixed_args"):
            patched.setattr(argparse.ArgumentParser, name, _stopping(getattr(argparse.ArgumentParser, name)))
        patched.setattr(sys, "argv", [module, *arguments])
        main = getattr(importlib.import_module(module), "main", None)
        with pytest.raises(Parsed):
            runpy.run_module(module, run_name="__main__") if main is None else main()


def _stopping(parse_them: Callable[..., object]) -> Callable[..., None]:
    def parse_and_stop(parser: argparse.ArgumentParser, *given: object, **named: object) -> None:
        parse_them(parser, *given, **named)
        raise Parsed

    return parse_and_stop


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def missing_links(page: str) -> list[str]:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            missing.append(target)
    return missing


def missing_files(page: str) -> list[str]:
    """Files and folders of the repository that are named in backticks or in a command, and are not there."""
    named = [*inline(page), *(word for words in commands(page) for word in words)]
    paths = (re.fullmatch(r"((?:[\w.-]+/)+[\w.-]*)(?:::\w+)?", name) for name in named)
    found = {match[1] for match in paths if match and match[1].split("/")[0] in FOLDERS}
    return sorted(path for path in found if not (ROOT / path).exists())


def missing_imports(code: str) -> list[str]:
    """Imports of a snippet that do not exist; it must compile."""
    missing = []
    for node in ast.walk(ast.parse(code)):
        names = {alias.name: "" for alias in node.names} if isinstance(node, ast.Import) else {}
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}": alias.name for alias in node.names}
        missing += [whole for whole, name in names.items() if not _is_there(whole, name)]
    return missing


def _is_there(whole: str, name: str) -> bool:
    module = whole.removesuffix(f".{name}") if name else whole
    if module.split(".")[0] not in OWN:
        return importlib.util.find_spec(module.split(".")[0]) is not None
    if importlib.util.find_spec(module) is None:
        return False
    return not name or hasattr(importlib.import_module(module), name)


def unknown_spaces(page: str) -> list[str]:
    """Names after ``--space`` that are no space of the project's and no file that a reader writes."""
    given = [
        after
        for _, arguments in python_commands(page)
        for before, after in itertools.pairwise(arguments)
        if before == "--space"
    ]
    own = [name for name in given if not name.endswith(".yaml") and not name.isupper()]
    return [name for name in own if not (ROOT / "search_spaces" / f"{name}.yaml").is_file()]


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_is_taken_by_its_parser(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for module, arguments in python_commands(page):
        if not arguments or module.split(".")[0] not in OWN:
            assert importlib.util.find_spec(module), module  # named, or not ours
        else:
            parse(module, [word for word in arguments if word != "…"])
    assert not unknown_spaces(page)


@pytest.mark.parametrize("page", TEXTS)
def test_every_make_target_exists(page: str) -> None:
    named = {word for words in commands(page) if words[0] == "make" for word in words[1:]}
    assert named <= TARGETS


@pytest.mark.parametrize("page", TEXTS)
def test_every_snippet_of_python_compiles_and_imports_what_exists(page: str) -> None:
    for code in fences(page, "python"):
        assert missing_imports(code) == [], code


@pytest.mark.parametrize("page", TEXTS)
def test_every_snippet_of_yaml_is_yaml(page: str) -> None:
    for text in fences(page, "yaml"):
        assert isinstance(yaml.safe_load(text), Mapping), text


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_and_every_file_that_is_named_exists(page: str) -> None:
    assert missing_links(page) == []
    assert missing_files(page) == []


def test_what_is_looked_for_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = "\n".join(
        [
            "See [a](gone.md), [b](#gone), [c](README.md#on-real-data), `minbert/gone.py`, `minbert/heads.py`.",
            "```", "python -m minbert.train --config FILE --uot DIR | head  # a comment", "make gone test", "```",
            "`ray exec x 'python -m trainables.search --space gone'`",
        ]
    )  # fmt: skip
    monkeypatch.setitem(TEXTS, "README.md", page)
    monkeypatch.chdir(tmp_path)
    assert missing_links("README.md") == ["gone.md", "#gone"] and missing_files("README.md") == [
        "minbert/gone.py"
    ]
    found = dict(python_commands("README.md"))
    assert found == {
        "minbert.train": ["--config", "FILE", "--uot", "DIR"],
        "trainables.search": ["--space", "gone"],
    }
    assert unknown_spaces("README.md") == ["gone"]
    with pytest.raises(Exception, match=r"--out|--uot"):
        parse("minbert.train", found["minbert.train"])
    assert ["make", "gone", "test"] in list(commands("README.md"))
    assert missing_imports("from minbert.heads import Gone, build_head\nimport nowhere") == [
        "minbert.heads.Gone",
        "nowhere",
    ]


def test_readme_and_docs_hold_commands_and_snippets() -> None:
    assert sum(len(python_commands(page)) for page in TEXTS) > 40
    assert sum(len(fences(page, "python")) for page in TEXTS) >= 4


def test_every_option_of_the_search_is_documented() -> None:
    parser = search_parser("")
    options = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    documented = set(re.findall(r"--[a-z][a-z-]+", TEXTS["docs/options.md"]))
    assert options - {"--help"} <= documented


def test_readme_leads_to_every_page() -> None:
    pages = {page for page in TEXTS if page.startswith("docs/")}
    assert {page for page in pages if f"]({page}" not in TEXTS["README.md"]} == set()
