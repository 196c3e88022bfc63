# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Asks an HTTP address, whoever answers there.

Time and bytes of an answer are bounded, whatever arrives and however slowly. No redirect is
followed, so that neither key nor pictures go anywhere else. No error repeats what the other side
said: it may contain the key.
"""

from __future__ import annotations

import io
import ipaddress
import os
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from failure_monitor.errors import FailureMonitorError, UsageError

MAX_ANSWER = 1_000_000
"""Bytes of an answer, its head among them."""

KEY = r"[!-~]{1,4096}"
"""A regular expression for keys: no space and no line end, which would be another header."""

VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
"""A regular expression for names of environment variables."""

PIECE = 16384
"""Bytes of a question that are sent at a time."""


class ChatError(FailureMonitorError):
    """There is no answer, or none that can be used."""


@dataclass(frozen=True)
class Address:
    """An HTTP address of an OpenAI-compatible service.

    Attributes:
        host: the name of the machine, or its number.
        port: its port; None for the usual one.
        path: what the paths of the service begin with.
        is_encrypted: whether it is https.
    """

    host: str
    port: int | None
    path: str
    is_encrypted: bool

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def address_of(url: str) -> Address:
    """Return the address that a URL names, such as `https://api.example.com/v1`.

    Raises:
        UsageError: it names none. It is not repeated, as it may contain a key.
    """
    expected = "expected one such as https://api.example.com/v1 or http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"the parameter 'url' is no address: {expected}") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            f"the parameter 'url' has more than a host and a path: {expected}, and name the "
            "environment variable of a key by 'api_key_variable'"
        )
    is_plain = re.fullmatch(r"[!-~]+", url)
    if parts.scheme not in ("http", "https") or not host or not is_plain:
        raise UsageError(f"the parameter 'url' is no address: {expected}")
    return Address(host, port, parts.path.rstrip("/"), parts.scheme == "https")


def key_in_environment(variable: str, address: Address) -> str:
    """Return the key that an environment variable holds; empty if none is named.

    Raises:
        UsageError: it holds none, or the key would be sent where others can read it. What should
            be a name is not repeated, as somebody may have written the key there.
    """
    if not variable:
        return ""
    if not re.fullmatch(VARIABLE, variable):
        raise UsageError(
            "the parameter 'api_key_variable' is no name of an environment variable: set it to "
            "one such as OPENAI_API_KEY, and that variable to the key"
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(
            "the environment variable that 'api_key_variable' names is empty or not set: set it "
            "to the key, or leave the parameter empty"
        )
    if not re.fullmatch(KEY, key):
        raise UsageError(
            "the environment variable that 'api_key_variable' names holds a space or another "
            "character that no key has: set it to the key alone"
        )
    if not address.is_encrypted and not address.is_here:
        raise UsageError(
            "the parameter 'url' begins with http://, so that others could read the key: use "
            "https://, or leave 'api_key_variable' empty"
        )
    return key


@dataclass(frozen=True)
class ChatClient:
    """Asks one service.

    Attributes:
        address: of the service.
        key: sent to it and to nobody else; empty for none.
        timeout: seconds for an answer.
    """

    address: Address
    key: str = field(repr=False)
    timeout: float

    def complete(self, body: bytes) -> bytes:
        """Post a question to `chat/completions`, and return the answer.

        Raises:
            ChatError: there was none in time, or it is too large, a redirect or an error.
        """
        end = time.monotonic() + self.timeout
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        connection = self._connection()
        try:
            connection.connect()
            path, pieces = f"{self.address.path}/chat/completions", _pieces(body, connection, end)
            connection.request("POST", path, pieces, headers)
            connection.response_class = _bounded_response(end)
            response = connection.getresponse()
            # Never without a number: http.client takes memory for whatever length is claimed.
            answer = response.read(MAX_ANSWER) if response.status == 200 else b""
        except (TimeoutError, _TooLateError):
            raise ChatError(f"it has not answered within {self.timeout:g} s") from None
        except _TooLargeError:
            raise ChatError(f"its answer has more than {MAX_ANSWER} bytes") from None
        except OSError as error:
            reason = error.strerror if error.errno is not None else type(error).__name__
            raise ChatError(f"it cannot be reached ({reason})") from None
        except (HTTPException, ValueError) as error:
            raise ChatError(f"its answer is no HTTP ({type(error).__name__})") from None
        finally:
            connection.close()
        if response.status != 200:
            raise ChatError(_why_not(response.status))
        return answer

    def _connection(self) -> HTTPConnection:
        address = self.address
        if address.is_encrypted:
            return HTTPSConnection(
                address.host,
                address.port,
                timeout=self.timeout,
                context=ssl.create_default_context(),
            )
        return HTTPConnection(address.host, address.port, timeout=self.timeout)


def _pieces(body: bytes, connection: HTTPConnection, end: float) -> Iterator[bytes]:
    """Yield a question in pieces, until a time of the monotonic clock.

    Encrypted, one call sends piece by piece, and has its time for each of them.
    """
    for start in range(0, len(body), PIECE):
        left = end - time.monotonic()
        if left <= 0:
            raise _TooLateError
        connection.sock.settimeout(left)
        yield body[start : start + PIECE]


def _why_not(status: int) -> str:
    remedy = "look at its own log"
    if 300 <= status < 400:
        remedy = "it sends elsewhere, which is not followed; name the right address by 'url'"
    elif status in (401, 403):
        remedy = "look at the key in the environment variable that 'api_key_variable' names"
    elif status == 404:
        remedy = "look at 'url' and 'model'"
    elif status == 429:
        remedy = "it is asked too often, or the account is empty"
    return f"it answers with status {status}: {remedy}"


class _TooLateError(Exception):
    """The time for an answer is over."""


class _TooLargeError(Exception):
    """An answer has too many bytes."""


class _BoundedStream(io.RawIOBase):
    """What arrives from a socket, until its time is over or it is too much."""

    def __init__(self, stream: Any, sock: Any, end: float) -> None:
        self._stream, self._socket, self._end = stream, sock, end
        self._left = MAX_ANSWER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived, or wait for it until the time is over."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise _TooLateError
        self._socket.settimeout(left)
        count: int | None = self._stream.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise _TooLargeError
        return count

    def close(self) -> None:
        """Close the stream of the socket, too."""
        self._stream.close()
        super().close()


def _bounded_response(end: float) -> Any:
    """Return what reads a response, until a time of the monotonic clock."""

    class BoundedResponse(HTTPResponse):
        def __init__(self, sock: Any, *arguments: Any, **settings: Any) -> None:
            super().__init__(sock, *arguments, **settings)
            # Below all parsing: a length of -1 makes http.client read on without end.
            stream = _BoundedStream(self.fp.detach(), sock, end)  # type: ignore[attr-defined]
            self.fp = io.BufferedReader(stream)

    return BoundedResponse
