"""Sealed folders in an object store, which are written once: corpora, encoders, stages. Their checksums go up last."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from minbert.files.durable import publish_folder
from minbert.files.sealed import CHECKSUMS, is_intact, unsealed_line
from minbert.remote.object_store import ObjectStore


def send_sealed(store: ObjectStore, folder: Path, name: str, anew: bool = False) -> None:
    """Publish a sealed folder under a name, unless it is there.

    Args:
        store, name: where it goes.
        folder: what is sent.
        anew: whether it is sent in any case, as what is there is known not to be whole.
    """
    if not anew and store.read(f"{name}/{CHECKSUMS}") == (folder / CHECKSUMS).read_bytes():
        return
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS):
        store.upload(file, f"{name}/{file.relative_to(folder).as_posix()}")
    store.upload(folder / CHECKSUMS, f"{name}/{CHECKSUMS}")


def fetch_sealed(store: ObjectStore, name: str, folder: Path, of: str | None = None) -> bool:
    """Bring a sealed folder here, unless it is; False where the store does not have it whole.

    Args:
        store, name: where it is.
        folder: where it goes; several processes may bring the same one at once.
        of: what its files have to belong to; None: whatever it is.
    """
    if is_intact(folder, of):
        return True
    seal = store.read(f"{name}/{CHECKSUMS}")
    if seal is None:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with publish_folder(folder, sealed=False, stays=lambda: is_intact(folder, of)) as temporary:
        try:
            for inside in _names(seal):
                store.download(f"{name}/{inside}", temporary / inside)
        except (FileNotFoundError, ValueError):
            pass  # taken away meanwhile, or damaged: it is not intact then
        (temporary / CHECKSUMS).write_bytes(seal)
    return is_intact(folder, of)


def _names(seal: bytes) -> list[str]:
    """The files that a seal names.

    Raises:
        ValueError: it names none, or leads out of its folder.
    """
    files = unsealed_line(seal).get("files")
    names = list(files) if isinstance(files, dict) else []
    if not names or any(
        PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in names
    ):
        raise ValueError("no seal of ours")
    return names
