# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A connection to openpi's policy server in which everything ends in time.

openpi's own client does the talking. Its `recv()` has no time-out, and neither has sending to a
server that no longer reads, so requests are made in a thread that may stay behind: then the whole
connection is given up, and an answer that comes late is not read.
"""

from __future__ import annotations

import concurrent.futures
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from failure_monitor.missing_package import missing_packages_named
from failure_monitor.policies.openpi.messages import InvalidAnswerError, PolicyServerError

Result = TypeVar("Result")

CLOSING = 1.0
"""Seconds that closing a connection in order may take."""


class ServerSilentError(PolicyServerError):
    """The policy server did not answer in time."""


class ServerUnreachableError(PolicyServerError):
    """There is no policy server, or the connection to it broke."""


class InvalidObservationError(PolicyServerError):
    """An observation that cannot be sent."""


class _ObservationPacker:
    """Packs observations, so that what is wrong with one is not taken for the server's fault."""

    def __init__(self, packer: Any) -> None:
        self._packer = packer

    def pack(self, observation: dict[str, Any]) -> Any:
        """Return an observation as bytes.

        Raises:
            InvalidObservationError: it holds what openpi cannot send.
        """
        try:
            return self._packer.pack(observation)
        except Exception as error:
            raise InvalidObservationError(
                f"the observation cannot be sent ({_short(error)}): give numpy arrays of numbers, "
                "texts, and lists and dictionaries of these"
            ) from error


class Connection:
    """One connection, from its first message to its end; it is never mended."""

    def __init__(self, host: str, port: int | None, api_key: str | None, timeout: float) -> None:
        """Connect, and receive the server's metadata.

        Args:
            host: the server's host or its `ws://` address, as openpi's client takes it.
            port: the server's port.
            api_key: for servers that ask for one.
            timeout: seconds for connecting and again for the metadata.

        Raises:
            PolicyServerError: there is no server, or it is no policy server.
        """
        self.address = f"{host}:{port}" if port is not None else host
        try:
            with ExitStack() as stack:
                self._client = _client_class()(host, port, api_key, stack, timeout)
                self._stack = stack.pop_all()
                self._requests = _Caller()
        except TimeoutError as error:
            raise ServerSilentError(
                f"the policy server at {self.address} did not answer within {timeout:g} s: check "
                "that it runs and what lies between"
            ) from error
        except OSError as error:
            raise ServerUnreachableError(
                f"there is no policy server at {self.address} ({error}): start it, or correct the "
                "address"
            ) from error
        except Exception as error:
            if _is_end(error):
                raise ServerUnreachableError(
                    f"what answers at {self.address} ended the connection before it stated "
                    f"anything ({_short(error)}): wait until the server has started, or correct "
                    "the address"
                ) from error
            raise InvalidAnswerError(
                f"what answers at {self.address} is no policy server of openpi "
                f"({_short(error)}): correct the address"
            ) from error

    @property
    def metadata(self) -> dict[str, Any]:
        """What the server stated when the connection began."""
        metadata = self._client.get_server_metadata()
        return metadata if isinstance(metadata, dict) else {"metadata": metadata}

    def ask(self, observation: dict[str, Any], timeout: float) -> Any:
        """Send an observation and return the answer.

        Raises:
            PolicyServerError: there is none in time, or it is unreadable; give the connection up.
        """
        self._reject_waiting_answer()
        answer = self._requests.submit(lambda: self._client.infer(observation))
        try:
            return answer.result(timeout)
        except Exception as error:
            if answer.done() and answer.exception() is error:
                raise _sentence(error, self.address) from error
        raise ServerSilentError(
            f"the policy server at {self.address} did not answer within {timeout:g} s: check its "
            "load and the network, or allow more time (answer_timeout, first_answer_timeout)"
        )

    def _reject_waiting_answer(self) -> None:
        try:
            self._client.socket.recv(timeout=0)
        except TimeoutError:
            return
        except Exception as error:
            raise _sentence(error, self.address) from error
        raise InvalidAnswerError(
            f"the policy server at {self.address} sent an answer without a request, so answers "
            "and observations no longer belong together: check what serves the policy"
        )

    def close(self) -> None:
        """Close the connection in order, and end whatever still waits for the server."""
        concurrent.futures.wait([_in_thread(self._stack.close)], CLOSING)
        self.abandon()

    def abandon(self) -> None:
        """End the connection at once, whatever sends, waits or arrives."""
        with suppress(OSError, AttributeError):
            self._client.socket.socket.shutdown(socket.SHUT_RDWR)
        self._requests.end()
        _in_thread(self._stack.close)


def _client_class() -> type[Any]:
    """Return openpi's client with time-outs on what it does when it connects."""
    with missing_packages_named():
        import websockets.sync.client
        from openpi_client import msgpack_numpy, websocket_client_policy

    class Client(websocket_client_policy.WebsocketClientPolicy):  # type: ignore[misc]
        """openpi's client, whose one connection is closed by somebody else."""

        _packer: Any

        def __init__(
            self,
            host: str,
            port: int | None,
            api_key: str | None,
            stack: ExitStack,
            timeout: float,
        ) -> None:
            """Connect."""
            self._stack = stack
            self._timeout = timeout
            self.socket: Any = None
            super().__init__(host, port, api_key)
            self._packer = _ObservationPacker(self._packer)

        def _wait_for_server(self) -> tuple[Any, dict[str, Any]]:
            headers = {"Authorization": f"Api-Key {self._api_key}"} if self._api_key else None
            self.socket = self._stack.enter_context(
                websockets.sync.client.connect(
                    self._uri,
                    compression=None,
                    max_size=None,
                    additional_headers=headers,
                    open_timeout=self._timeout,
                    close_timeout=CLOSING,
                )
            )
            return self.socket, msgpack_numpy.unpackb(self.socket.recv(timeout=self._timeout))

    return Client


class _Caller:
    """Makes calls in a thread of its own, which the process does not wait for at its end.

    A thread for each request would take longer than the request does.
    """

    def __init__(self) -> None:
        """Start the thread."""
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="policy server", daemon=True).start()

    def submit(self, call: Callable[[], Result]) -> concurrent.futures.Future[Result]:
        """Make a call after those before it."""
        future: concurrent.futures.Future[Result] = concurrent.futures.Future()

        def make() -> None:
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(make)
        return future

    def end(self) -> None:
        """End the thread after the calls so far."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            # What is kept until the next one may be an observation of many images.
            del call


def _in_thread(call: Callable[[], Result]) -> concurrent.futures.Future[Result]:
    """Make a call in a thread that ends with it."""
    caller = _Caller()
    future = caller.submit(call)
    caller.end()
    return future


def _sentence(error: Exception, address: str) -> PolicyServerError:
    """Return what went wrong in a request as an error for the user."""
    if isinstance(error, PolicyServerError):
        return error
    if isinstance(error, RuntimeError):
        last = str(error).strip().splitlines()[-1:] or ["no reason given"]
        return InvalidAnswerError(
            f"the policy at {address} failed: {last[0]}: the server's log has the traceback"
        )
    if isinstance(error, OSError) or type(error).__module__.startswith("websockets"):
        return ServerUnreachableError(
            f"the connection to the policy server at {address} broke ({_short(error)}): check "
            "that the server runs and what lies between"
        )
    return InvalidAnswerError(
        f"the policy server at {address} sent what is no answer of openpi ({_short(error)}): "
        "check what serves the policy, and that both sides have the same openpi-client"
    )


def _is_end(error: BaseException | None) -> bool:
    """Return whether a connection failed because the other side ended it."""
    return error is not None and (
        isinstance(error, EOFError)
        or type(error).__name__.startswith("ConnectionClosed")
        or _is_end(error.__cause__)
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
