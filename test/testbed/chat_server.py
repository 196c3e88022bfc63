# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for an OpenAI-compatible service: one that answers, and ones that do all else."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[[socket.socket, bytes], None]
"""Answers a request, given its head and body, on a connection."""


class ChatServer:
    """Listens on a loopback port, and keeps what it was sent."""

    def __init__(self, *answers: Answer, encryption: ssl.SSLContext | None = None) -> None:
        """Listen.

        Args:
            answers: to one request after the other; the last one to all that follow.
            encryption: with a certificate; None to listen without.
        """
        self._answers = answers
        self._encryption = encryption
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        scheme = "http" if self._encryption is None else "https"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    @property
    def questions(self) -> list[dict]:
        return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in self.requests]

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        # The other side may give up at any time.
        with connection, suppress(OSError):
            if self._encryption is not None:
                connection = self._encryption.wrap_socket(connection, server_side=True)
            request = _request(connection)
            answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
            self.requests.append(request)
            answer(connection, request)


def _request(connection: socket.socket) -> bytes:
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ),
            0,
        )
        if found and len(body) >= length:
            return data
        more = connection.recv(65536)
        if not more:
            return data
        data += more


def reply(body: bytes | str, status: str = "200 OK", *headers: str) -> Answer:
    """Return an answer with this body."""
    content = body.encode() if isinstance(body, str) else body

    def answer(connection: socket.socket, request: bytes) -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
        connection.sendall("\r\n".join(head).encode() + content)

    return answer


def completion(text: object) -> str:
    """Return a chat completion with this text."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


def stream(first: bytes, again: bytes, pause: float = 0.0) -> Answer:
    """Return an answer that never ends."""

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(first)
        stops = threading.Event()
        while not stops.wait(pause):
            connection.sendall(again)

    return answer


@contextmanager
def chat_server(
    *answers: Answer, encryption: ssl.SSLContext | None = None
) -> Iterator[ChatServer]:
    server = ChatServer(*answers, encryption=encryption)
    try:
        yield server
    finally:
        server.close()
