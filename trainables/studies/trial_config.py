"""The configuration of a trial as its folder has it."""

from __future__ import annotations

from pathlib import Path

import pydantic

from minbert.canonical import run_name
from minbert.config import TrainConfig
from minbert.errors import UserError
from minbert.yaml_reader import read_yaml


def stored_config(file: Path) -> TrainConfig:
    """Read a trial's configuration, which is whole: laid over no defaults.

    Raises:
        UserError: the file is missing or damaged, or is no configuration of this version of the program.
    """
    try:
        return TrainConfig.model_validate(read_yaml(file).data)
    except pydantic.ValidationError:
        raise UserError(f"{file}: is no configuration of this version of the program") from None


def misnamed(config: TrainConfig, run: str) -> str:
    """What is odd about a configuration that does not give the name that its study has for the trial; or empty.

    Args:
        config: as the trial's folder has it.
        run: configuration and seed, as the journal has them.
    """
    if run_name(config) == run:
        return ""
    return (
        "its config.yaml does not give the name that its study has for it: it was trained by another version of "
        "the program, or the file was changed"
    )
