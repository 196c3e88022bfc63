# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A TCP connection between two programs of this machine, to be broken in every way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 65536


class BrokenLink:
    """Listens in front of a server, and passes on what both sides send.

    Attributes:
        port: where it listens.
        delay: seconds by which what the server sends is late; of connections that are made later.
        rate: bytes per second from the server; None means all that there are.
        is_dead: whether nothing passes any more, while the connections stay.
        is_deaf: whether nothing is even read from the client.
        garbage: what is sent to the client instead of what the server sends next.
        half: whether only half of what the server sends next passes, and then nothing.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.rate: float | None = None
        self.is_dead = False
        self.is_deaf = False
        self.garbage: bytes | None = None
        self.half = False
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections off."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_deaf or self.is_dead:
                    self._ends.append(client)
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                self._ends += [client, server]
                for source, sink, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._pass_on,
                        args=(source, sink, is_answer, self.delay),
                        daemon=True,
                    ).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, is_answer: bool, delay: float
    ) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                while self.is_deaf:
                    time.sleep(0.01)
                if self.is_dead:
                    continue
                if is_answer:
                    time.sleep(delay)
                    data = self._spoilt(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _spoilt(self, data: bytes) -> bytes:
        if self.rate is not None:
            time.sleep(len(data) / self.rate)
        if self.garbage is not None:
            data, self.garbage = self.garbage, None
        if self.half:
            data, self.half, self.is_dead = data[: len(data) // 2], False, True
        return data


@contextmanager
def broken_link(target: int) -> Iterator[BrokenLink]:
    link = BrokenLink(target)
    try:
        yield link
    finally:
        link.close()
