"""The encoder of a study whose trials run on other machines, which need not have it where the driver has it.

The study's folder is what all nodes see, and holds the tokenised corpus already. So the encoder is put beside it, once
a study; a node reads both from there, and each worker process keeps the weights for all of its trials.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from minbert.checkpoint import ENCODER_FILES, EncoderFiles
from minbert.files.durable import publish_folder
from minbert.files.leftovers import clear_unfinished
from minbert.files.sealed import is_intact

FOLDER = "encoder"


def ship_encoder(study: Path, encoder: EncoderFiles) -> Path:
    """The study's own copy of the encoder, made where it is not there whole; workers check its fingerprint.

    Args:
        study: the study's folder.
        encoder: to copy.
    """
    name = encoder.fingerprint[:24]
    folder = study / FOLDER / name
    clear_unfinished(folder.parent)
    if not is_intact(folder, name):
        with publish_folder(folder, of=name) as temporary:
            for file in ENCODER_FILES:
                if (encoder.folder / file).is_file():
                    shutil.copyfile(encoder.folder / file, temporary / file)
    return folder
