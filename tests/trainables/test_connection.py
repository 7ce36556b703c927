"""How Ray is started; in processes of their own, as Ray leaves traces in the one that starts it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from minbert.errors import UserError
from trainables.machines import connection
from trainables.machines.connection import start_ray

START = "from trainables.machines.connection import start_ray; from minbert.command_line import run; run(lambda: start_ray(None))"


def test_a_scratch_folder_that_ray_cannot_use_is_named() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", START],
        env=environment | {"RAY_TMPDIR": "/proc"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.startswith("error: RAY_TMPDIR /proc: Ray cannot write there: "), done.stderr
    assert "; set RAY_TMPDIR to " in done.stderr


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of something that listens, and answers a connection so."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as taken:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    answer(taken.enter_context(server.accept()[0]))

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


def drip(taken: socket.socket) -> None:
    """As a server that wants to be waited for."""
    with contextlib.suppress(OSError):
        for _ in range(100):
            taken.sendall(b"\0")
            threading.Event().wait(0.05)


STRANGERS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "says nothing": (lambda taken: None, "what listens there says nothing"),
    "drips": (drip, "what listens there is something else|what listens there says nothing"),
    "hangs up": (lambda taken: taken.close(), "what listens there is something else|Connection reset by peer|Broken pipe"),
    "mail": (lambda taken: taken.sendall(b"220 mail.example ESMTP\r\n"), "what listens there is something else"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_listens_at_the_address_and_is_not_ray_is_no_cluster(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.3)
    answer, said = STRANGERS[kind]
    with (
        listening(answer) as address,
        pytest.raises(UserError, match=rf"^--address {address}: no Ray cluster answers there \(({said})\)$"),
    ):
        start_ray(address)


def test_a_web_server_at_the_address_is_no_cluster() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with pytest.raises(
            UserError, match=rf"{address}: no Ray .* \(what listens there is something else\)"
        ):
            start_ray(f"ray://{address}")
