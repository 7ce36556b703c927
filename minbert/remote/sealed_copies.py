"""Sealed folders in an object store, which are written once: corpora, encoders, stages. Their checksums go up last."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from minbert.files.durable import publish_folder
from minbert.files.sealed import CHECKSUMS, is_intact, unsealed_line
from minbert.files.strangers import check_names
from minbert.remote.object_store import ObjectStore


def send_sealed(store: ObjectStore, folder: Path, name: str, anew: bool = False) -> None:
    """Publish a sealed folder under a name; where it is there already, only what it lacks.

    Args:
        store, name: where it goes.
        folder: what is sent.
        anew: whether it is sent in any case, as what is there is known not to be whole.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    files = {f"{name}/{path.relative_to(folder).as_posix()}": path for path in paths}
    if not anew and store.read(f"{name}/{CHECKSUMS}") == (folder / CHECKSUMS).read_bytes():
        there = {each: stored.size for each, stored in store.names(name).items()}
        files = {each: path for each, path in files.items() if there.get(each) != path.stat().st_size}
        if not files:
            return
    for each, path in files.items():
        store.upload(path, each)
    store.upload(folder / CHECKSUMS, f"{name}/{CHECKSUMS}")


def fetch_sealed(store: ObjectStore, name: str, folder: Path, of: str | None = None) -> bool:
    """Bring a sealed folder here, unless it is; False where the store does not have it whole.

    What is damaged there is removed, as it is of no use to anybody: so whoever sends the folder next sends it again.

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
    try:
        sums = _sums(seal)
    except ValueError:
        return False
    damaged = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    with publish_folder(folder, sealed=False, stays=lambda: is_intact(folder, of)) as temporary:
        with suppress(FileNotFoundError):  # taken away meanwhile: it is not intact then
            for inside, sha256 in sums.items():
                if store.download(f"{name}/{inside}", temporary / inside) != sha256:
                    damaged.append(f"{name}/{inside}")
        (temporary / CHECKSUMS).write_bytes(seal)
    if damaged and store.read(f"{name}/{CHECKSUMS}") == seal:  # else it was sent anew just now
        store.delete(damaged)
    return is_intact(folder, of)


def _sums(seal: bytes) -> dict[str, str]:
    """The files that a seal names, with their checksums.

    Raises:
        ValueError: it names none, or leads out of its folder.
    """
    files = unsealed_line(seal).get("files")
    if not isinstance(files, dict) or not files:
        raise ValueError("no seal of ours")
    check_names([*files, CHECKSUMS])
    return files
