"""An object store for tests: moto's S3 on loopback, in a process of its own, that can be taken away and brought back."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

BUCKET = "studies"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class S3:
    """A server of S3 with one bucket, whose content is kept while it is paused."""

    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and make the bucket."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self._ask("PUT", f"/{BUCKET}")
                return
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline and self.process.poll() is None, "moto did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """Leads pyarrow there."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}"}

    def url(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"

    def copy(self, name: str, folder: Path) -> Path:
        """Everything below a name as a plain folder, as whoever copies a study would do it."""
        files, base = FileSystem.from_uri(self.url(name))
        folder.mkdir(parents=True)
        copy_files(base, str(folder), files, LocalFileSystem())
        return folder

    def _ask(self, method: str, path: str) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        urllib.request.urlopen(request, timeout=5).close()
