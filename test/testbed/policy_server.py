# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy server that speaks to openpi's client, and a policy whose answers can be told apart.

openpi's own server is not to be had as a package; its messages are these. As a program
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

HORIZON, DIMENSIONS = 5, 2
STATE = "observation/state"


def observed(number: float) -> dict[str, Any]:
    """Return an observation by which its answer is known."""
    return {STATE: np.full(3, number, np.float32), "prompt": "carry"}


class NumberedPolicy:
    """Commands the number that it observes: what is executed shows which observation it is for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.observations: list[dict[str, Any]] = []

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        self.observations.append(obs)
        time.sleep(self.seconds)
        return {"actions": np.full((HORIZON, DIMENSIONS), obs[STATE][0]), "state": obs[STATE]}


class PolicyServer:
    """Serves a policy to openpi's client.

    Attributes:
        policy: what answers.
        metadata: what every new connection is told.
        change: what becomes of an answer before it is sent: the messages that are sent instead,
            arrays packed, bytes and text as they are.
    """

    def __init__(self, policy: Any, metadata: dict[str, Any] | None = None, port: int = 0) -> None:
        from websockets.sync.server import serve

        self.policy = policy
        self.metadata = metadata or {}
        self.change: Callable[[dict[str, Any]], list[Any]] = lambda answer: [answer]
        self._server = serve(self._answer, "127.0.0.1", port, compression=None, max_size=None)
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def _answer(self, connection: Any) -> None:
        from openpi_client import msgpack_numpy
        from websockets.exceptions import ConnectionClosed

        try:
            connection.send(msgpack_numpy.packb(self.metadata))
            while True:
                observation = msgpack_numpy.unpackb(connection.recv())
                begin = time.monotonic()
                answer = dict(self.policy.infer(observation))
                answer["server_timing"] = {"infer_ms": 1e3 * (time.monotonic() - begin)}
                for message in self.change(answer):
                    is_raw = isinstance(message, bytes | str)
                    connection.send(message if is_raw else msgpack_numpy.packb(message))
        except ConnectionClosed:
            return
        except Exception:
            connection.send(traceback.format_exc())
            connection.close(1011)


@contextmanager
def policy_server(
    policy: Any, metadata: dict[str, Any] | None = None, port: int = 0
) -> Iterator[PolicyServer]:
    server = PolicyServer(policy, metadata, port)
    try:
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    sys.stdout.write(f"{PolicyServer(NumberedPolicy(), port=int(sys.argv[1])).port}\n")
    sys.stdout.flush()
    threading.Event().wait()
