# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The port answers who asks properly, whatever others do to it."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from failure_monitor.errors import FailureMonitorError
from failure_monitor.ros.metrics.exposition import CONTENT_TYPE
from failure_monitor.ros.metrics.loopback_server import MAX_CONNECTIONS, LoopbackServer

TEXT = b"# HELP a b\n" * 100_000
"""More than a socket holds."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    server = LoopbackServer(number, lambda: TEXT, content_type=CONTENT_TYPE)
    yield number
    server.close()


def ask(port: int, method: str = "GET", path: str = "/metrics", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def answered(port: int) -> bool:
    """Return whether the text comes, in the end: clients that hold a place lose it in seconds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if ask(port)[1] == TEXT:
                return True
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
    return False


def test_the_text_is_given_and_nothing_else(port):
    response, body = ask(port)
    assert (response.status, body) == (200, TEXT)
    assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    response, body = ask(port, "HEAD")
    assert (response.status, body) == (200, b"")
    assert ask(port, path="/")[0].status == 200
    assert ask(port, path="/metrics?x=1")[0].status == 200
    assert ask(port, path="/etc/passwd")[0].status == 404
    assert ask(port, "POST")[0].status == 405
    assert ask(port, Host="localhost:9")[0].status == 200
    # A page of the web that has its own name lead here.
    assert ask(port, Host="evil.example")[0].status == 403


def test_only_this_machine_is_listened_to(port):
    for address in {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None)}:
        if not address.startswith("127."):
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, port), timeout=5)


def test_while_there_is_no_text_it_says_so():
    number = free_port()
    server = LoopbackServer(number, lambda: None, content_type=CONTENT_TYPE)
    assert ask(number)[0].status == 503
    server.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", number), timeout=5)


def test_a_port_that_another_program_has_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FailureMonitorError, match=f"port {port} of 127.0.0.1 cannot be had"):
            LoopbackServer(port, lambda: TEXT, content_type=CONTENT_TYPE)


SENT = {
    "nothing": b"",
    "half a request": b"GET /metrics HTTP/1.1\r\n",
    "no answer is read": b"GET /metrics HTTP/1.1\r\n\r\n",
    "no end": b"GET /" + b"x" * 1_000_000,
    "no HTTP": bytes(range(256)) * 10 + b"\r\n\r\n",
}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_clients_that_hold_a_place_lose_it(port, sent):
    held = []
    threads = threading.active_count()
    try:
        for _ in range(3 * MAX_CONNECTIONS):
            client = socket.create_connection(("127.0.0.1", port), timeout=5)
            # What has come is not read; what is too large to be sent need not be.
            client.setblocking(False)
            with suppress(OSError):
                client.send(sent)
            held.append(client)
        assert threading.active_count() == threads
        assert answered(port)
    finally:
        for client in held:
            client.close()
