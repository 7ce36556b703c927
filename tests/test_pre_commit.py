"""The hooks of .pre-commit-config.yaml name commands of the environment and options that these have."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIG = Path(__file__).parents[1] / ".pre-commit-config.yaml"
REPOSITORIES: list[dict[str, Any]] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repos"]
HOOKS: list[dict[str, Any]] = [hook for repository in REPOSITORIES for hook in repository["hooks"]]


def test_no_hook_is_fetched() -> None:
    assert {repository["repo"] for repository in REPOSITORIES} == {"local"}
    assert {hook["language"] for hook in HOOKS} == {"system"}


@pytest.mark.parametrize("hook", HOOKS, ids=[hook["id"] for hook in HOOKS])
def test_a_hook_passes_a_good_file(hook: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text('"""Nothing."""\n')
    command = [*shlex.split(hook["entry"]), *hook.get("args", ())]
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(command[0], path=places)
    assert program is not None, f"{command[0]}: no such command"
    # Without a file's name the hook itself would go through the whole project.
    run = subprocess.run(
        [program, *command[1:], "good.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
