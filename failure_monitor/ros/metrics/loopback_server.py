# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An HTTP server of one text, for programs of the same machine; every client costs little."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from failure_monitor.errors import FailureMonitorError

ADDRESS = "127.0.0.1"

PATHS = ("/metrics", "/")

MAX_CONNECTIONS = 16
"""Clients at a time; who comes beyond that is cut off at once."""

MAX_REQUEST = 8192
"""Bytes of a request."""

TIMEOUT = 2.0
"""Seconds in which a request must be complete, and likewise its answer taken."""

END_TIMEOUT = 1.0
"""Seconds for which `close` waits."""

OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Hosts by which a request may name this machine: pages of the web know none of them."""


class LoopbackServer:
    """Answers with a text, on a thread of its own."""

    def __init__(self, port: int, text: Callable[[], bytes | None], *, content_type: str) -> None:
        """Listen, on this machine's own address alone.

        Args:
            port: the port.
            text: returns the text, from any thread; None while there is none.
            content_type: of the text.

        Raises:
            FailureMonitorError: the port cannot be had.
        """
        self._text = text
        self._content_type = content_type
        self._open = 0
        try:
            self._socket = socket.create_server((ADDRESS, port), backlog=MAX_CONNECTIONS)
        except OSError as error:
            raise FailureMonitorError(
                f"port {port} of {ADDRESS} cannot be had ({error.strerror or error}): name "
                "another, or end the program that has it"
            ) from None
        self._loop = asyncio.new_event_loop()
        self._ends = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="metrics port", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(END_TIMEOUT)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(
            self._serve, sock=self._socket, limit=MAX_REQUEST, backlog=MAX_CONNECTIONS
        )
        await self._ends.wait()
        server.close()
        clients = asyncio.all_tasks() - {asyncio.current_task()}
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        if self._open >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._open += 1
        try:
            # All of the answer must be taken, as what is left would lie here for ever.
            transport.set_write_buffer_limits(high=0)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT)
            writer.write(self._answer(head))
            await asyncio.wait_for(writer.drain(), TIMEOUT)
            writer.close()
        except asyncio.LimitOverrunError:
            writer.write(_response("431 Request Header Fields Too Large"))
            writer.close()
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, OSError):
            transport.abort()
        except asyncio.CancelledError:
            transport.abort()
            raise
        finally:
            self._open -= 1

    def _answer(self, head: bytes) -> bytes:
        request, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if not all(map(_is_own_name, _hosts(lines))):
            return _response("403 Forbidden")
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", more="Allow: GET, HEAD\r\n")
        if path not in PATHS:
            return _response("404 Not Found")
        text = self._text()
        if text is None:
            return _response("503 Service Unavailable")
        answer = _response("200 OK", text, f"Content-Type: {self._content_type}\r\n")
        return answer if method == "GET" else answer[: len(answer) - len(text)]


def _hosts(lines: list[str]) -> list[str]:
    fields = (line.partition(":") for line in lines)
    return [host.strip() for name, _, host in fields if name.strip().lower() == "host"]


def _is_own_name(host: str) -> bool:
    """Return whether a request's host, with or without a port, is this machine."""
    return host in OWN_NAMES or host.rpartition(":")[0] in OWN_NAMES


def _response(status: str, body: bytes = b"", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
