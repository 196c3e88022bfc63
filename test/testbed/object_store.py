# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An S3-compatible server on loopback, and a proxy before it that fails as networks do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

BUCKET = "robots"


@contextmanager
def s3_server() -> Iterator[str]:
    """Yield the address of a server with a bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def require_users(endpoint: str, after: int) -> None:
    """Let the server take so many requests more, and then those of users alone: it has none."""
    text = {"Content-Type": "text/plain"}
    reset = Request(f"{endpoint}/moto-api/reset-auth", str(after).encode(), text, method="POST")
    urlopen(reset, timeout=30).close()


class Proxy(ThreadingHTTPServer):
    """Passes requests on, until it is told to fail.

    Attributes:
        truncates: whether the content of objects ends early.
        stalls: whether objects are not answered at all.
        requests: how many bytes of objects it gave, by their path.
    """

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = endpoint.removeprefix("http://")
        self.truncates = False
        self.stalls = False
        self.given: dict[str, int] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def proxy_before(endpoint: str) -> Iterator[Proxy]:
    proxy = Proxy(endpoint)
    Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        self._pass()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _pass(self) -> None:
        proxy = self.server
        path = self.path.partition("?")[0]
        is_object = self.command == "GET" and path.count("/") > 1 and "list-type" not in self.path
        while is_object and proxy.stalls:
            time.sleep(0.1)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behind = HTTPConnection(proxy.behind, timeout=60)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        if self.command != "HEAD" and answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if is_object:
            proxy.given[path] = proxy.given.get(path, 0) + len(content)
            if proxy.truncates:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.connection.shutdown(SHUT_RDWR)
                return
        if self.command != "HEAD":
            self.wfile.write(content)
