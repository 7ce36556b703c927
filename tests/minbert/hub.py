"""A hub of the tests' own, on loopback, that speaks the hub's addresses and headers.

Small files lie in it, large ones are redirected to another origin, as to the hub's CDN.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
from tokenizers import BertWordPieceTokenizer

from minbert.hub.catalogue import ENTRIES, Entry

LARGE = (".parquet", ".csv", ".txt", ".safetensors")


@dataclass
class FakeHub:
    """What the hub holds, what is wrong with it, and what it was asked."""

    files: dict[str, bytes]
    endpoint: str = ""
    cdn: str = ""
    cut: dict[str, list[int]] = field(default_factory=dict)
    """By the end of a file's path: after how many bytes its next answers break off."""
    stalls: dict[str, int] = field(default_factory=dict)
    """After how many bytes an answer neither goes on nor ends."""
    corrupt: set[str] = field(default_factory=set)
    status: dict[str, int] = field(default_factory=dict)
    page: bool = False
    sizes: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    """Method, path, Range and Authorization of every request."""

    def of(self, table: dict[str, Any], path: str) -> Any:
        return next((value for end, value in table.items() if path.endswith(end)), None)

    def downloads(self) -> list[tuple[str, str | None]]:
        """Path and Range of what was asked for with its content, without redirects."""
        return [
            (path, span)
            for method, path, span, _ in self.asked
            if method == "GET" and not self.redirects(path)
        ]

    def redirects(self, path: str) -> bool:
        return path.endswith(LARGE) and not path.startswith("/cdn/")


@contextmanager
def served(files: Mapping[str, bytes]) -> Iterator[FakeHub]:
    """A running hub that holds ``files``."""
    fake = FakeHub(dict(files))
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake)) for _ in range(2)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    fake.endpoint, fake.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    yield fake
    for server in servers:
        server.shutdown()
        server.server_close()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = urlsplit(self.path).path  # of the whole address where we are asked as a proxy
            hub.asked.append((self.command, path, self.headers["Range"], self.headers["Authorization"]))
            content = hub.files.get(path.removeprefix("/cdn"))
            if hub.page:
                return self._say(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Log in</html>")
            if content is None or (status := hub.of(hub.status, path)):
                code = "EntryNotFound" if content is None else ""
                return self._say(404 if content is None else status, {"X-Error-Code": code}, b"no")
            if path.startswith("/cdn/"):
                return self._send(path, content, {})
            common = {"X-Repo-Commit": path.split("/resolve/")[1].split("/")[0]}
            if hub.redirects(path):
                size = hub.of(hub.sizes, path) or len(content)
                linked = {
                    "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                    "X-Linked-Size": str(size),
                }
                return self._say(302, {**common, **linked, "Location": f"{hub.cdn}/cdn{path}"}, b"")
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            return self._send(path, content, {**common, "ETag": f'"{blob}"'})

        def _send(self, path: str, content: bytes, headers: dict[str, str]) -> None:
            body = (
                bytes([content[0] ^ 1]) + content[1:]
                if hub.of(dict.fromkeys(hub.corrupt, True), path)
                else content
            )
            begin = int((self.headers["Range"] or "bytes=0-")[6:-1])
            if begin:
                headers = {**headers, "Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}
            self._say(206 if begin else 200, headers, body[begin:], path)

        def _say(self, status: int, headers: dict[str, str], body: bytes, path: str = "") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if breaks := hub.of(hub.cut, path):
                body = body[: breaks.pop(0)]
                self.close_connection = True
            if (most := hub.of(hub.stalls, path)) is not None:
                self.wfile.write(body[:most])
                time.sleep(30)
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def miniature(encoder: Path) -> dict[str, bytes]:
    """A few rows of every file of the catalogue and an encoder, by their paths on the hub."""
    words = ("ba", "be", "bi", "bo", "bu")

    def text(number: int) -> str:
        return f"{words[number % 5]} {words[number // 5 % 5]} {words[number // 25 % 5]}"

    def pairs(one: str, two: str, labels: list[Any], dtype: str, begin: int) -> bytes:
        texts = [text(begin + number) for number in range(len(labels))]
        columns = {
            one: texts,
            two: [f'a "{each}"\n x' for each in texts],
            "label": pd.Series(labels, dtype=dtype),
        }
        return pd.DataFrame({**columns, "idx": range(len(labels))}).to_parquet()

    scores = [round(0.2 * (number % 26), 1) for number in range(40)]
    tokenizer = BertWordPieceTokenizer(str(encoder / "vocab.txt")).to_str().encode()
    contents = {
        **{
            ("sst", f"{split}.jsonl"): "".join(
                json.dumps({"text": text(begin + number), "label": number % 5, "label_text": "x"}) + "\n"
                for number in range(count)
            ).encode()
            for split, count, begin in (("train", 40, 0), ("dev", 20, 40), ("test", 8, 60))
        },
        ("qqp", "qqp/train-00000-of-00001.parquet"): pairs("question1", "question2", [0, 1] * 40, "int64", 0),
        ("qqp", "qqp/validation-00000-of-00001.parquet"): pairs(
            "question1", "question2", [1, 0] * 10, "int64", 80
        ),
        ("sts", "stsb/train-00000-of-00001.parquet"): pairs("sentence1", "sentence2", scores, "float32", 0),
        ("sts", "stsb/validation-00000-of-00001.parquet"): pairs(
            "sentence1", "sentence2", scores, "float32", 40
        ),
        ("sts", "stsb/test-00000-of-00001.parquet"): pairs(
            "sentence1", "sentence2", [-1.0] * 9, "float32", 90
        ),
        (
            "nli",
            "nli_for_simcse.csv",
        ): b'sent0,sent1,hard_neg\nba be,"be, he said ""bi""",bo\nbi,bo,bu\nbi,,bu\n',
        ("wiki", "wiki1m_for_simcse.txt"): "".join(f"{text(number)}\n" for number in range(90)).encode(),
        ("bert-base-uncased", "tokenizer.json"): tokenizer,
        ("bert-base-uncased", "tokenizer_config.json"): b'{"do_lower_case": true}',
        **{
            ("bert-base-uncased", name): (encoder / name).read_bytes()
            for name in ("config.json", "vocab.txt", "model.safetensors")
        },
    }
    assert set(contents) == {(entry.name, path) for entry in ENTRIES for path in entry.paths}
    return {on_the_hub(entry, path): contents[entry.name, path] for entry in ENTRIES for path in entry.paths}


def on_the_hub(entry: Entry, path: str) -> str:
    prefix = "/datasets" if entry.repository.kind == "dataset" else ""
    return f"{prefix}/{entry.repository.name}/resolve/{entry.repository.revision}/{path}"
