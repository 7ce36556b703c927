"""Disks that fail: a small file system in a file, mounted for one test, that can be frozen, broken and taken away.

Permissions stop nobody who is root, and a full or broken disk is nothing that can be mocked: these are real ones.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SHUT_DOWN = 0x8004587D  # FS_IOC_SHUTDOWN of linux/fs.h
_NOTHING_FIRST = struct.pack("I", 2)
_TOOLS = ("mount", "umount", "losetup", "mkfs.ext4", "fsfreeze")


def why_no_disks() -> str | None:
    """What these tests lack here; None where they can run."""
    if os.geteuid():
        return "mounting a disk needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def call(*command: str | Path) -> bool:
    """Whether a command succeeded."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Disk:
    """A file system in the file ``image``, to be seen in ``folder``."""

    image: Path
    folder: Path

    @classmethod
    def make(cls, place: Path, megabytes: int = 160) -> Disk | None:
        """A new one, mounted; None where the machine lends no loop device."""
        disk = cls(place / "disk.image", place / "disk")
        disk.folder.mkdir()
        with disk.image.open("wb") as file:
            file.truncate(megabytes * 2**20)
        if not call("mkfs.ext4", "-q", disk.image) or not disk.mount():
            return None
        (disk.folder / "lost+found").rmdir()  # a study may be a disk's only content
        return disk

    def mount(self, *options: str) -> bool:
        """Bring it where it is seen; a read-only one after an error is writable again."""
        if self._is_held():
            shutil.copyfile(self.image, copy := self.image.with_suffix(".copy"))
            copy.replace(self.image)
        return call("mount", "-o", ",".join(("loop", "errors=remount-ro", *options)), self.image, self.folder)

    def unmount(self) -> None:
        """Take it away; programs that have files open there keep those."""
        call("sync", "-f", self.folder)  # whoever holds it may do so for long
        subprocess.run(["umount", "-l", self.folder], check=True)

    def _is_held(self) -> bool:
        """Whether it is still mounted somewhere: another test's namespace of mounts has what was mounted when it was made."""
        attached = subprocess.run(["losetup", "-j", self.image], check=True, capture_output=True)
        return bool(attached.stdout.strip())

    def freeze(self) -> None:
        """Let whoever writes there wait."""
        subprocess.run(["fsfreeze", "-f", self.folder], check=True)

    def thaw(self) -> bool:
        """Let them go on."""
        return call("fsfreeze", "-u", self.folder)

    def become_read_only(self) -> None:
        """As the kernel makes a disk with an error: at once, also for files that are open for writing."""
        source = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", self.folder], check=True, capture_output=True, text=True
        )
        Path("/sys/fs/ext4", Path(source.stdout.strip()).name, "trigger_fs_error").write_text("1")

    def lose_power(self) -> None:
        """From now on all that is asked of it is an input/output error, and what nobody had waited for is not on it."""
        place = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(place, _SHUT_DOWN, _NOTHING_FIRST)
        finally:
            os.close(place)
