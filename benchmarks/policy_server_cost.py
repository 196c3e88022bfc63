# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What watching costs openpi's client per answer, and how long a dead server is believed.

Needs openpi-client, as `make test-lerobot` installs it:

    PYTHONPATH=test .venv-lerobot/bin/python benchmarks/policy_server_cost.py
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count

import numpy as np
from testbed.policy_server import observed, policy_server

from failure_monitor.policies.openpi.client import PolicyServerError, TappedClient
from failure_monitor.policies.openpi.messages import KEY
from failure_monitor.policy_description import PolicyDescription

ANSWERS, DEATHS, TIMEOUT = 1000, 20, 0.5
SAMPLES, HORIZON, DIMENSIONS, WIDTH = 16, 50, 14, 2048
IMAGES = {f"image_{camera}": np.zeros((224, 224, 3), np.uint8) for camera in range(3)}


class LargePolicy:
    """Answers at once, with arrays of the sizes of a pi0."""

    def __init__(self, *, is_watched: bool) -> None:
        self._chunks = np.random.default_rng(0).normal(size=(SAMPLES, HORIZON, DIMENSIONS))
        self._is_watched = is_watched

    def infer(self, obs):
        self._chunks = np.roll(self._chunks, 1, axis=0)
        answer = {"actions": self._chunks[0].astype(np.float32)}
        if self._is_watched:
            answer[KEY] = {
                "request": obs.get(KEY, {}).get("request"),
                "embedding": np.zeros(WIDTH, np.float32),
                "chunks": self._chunks.astype(np.float32),
            }
        return answer


def report_milliseconds(clients: dict[str, Callable[[dict], object]]) -> None:
    """Print what an answer takes, asked in turn: what runs beside changes all the time."""
    observation = {**observed(1.0), **IMAGES}
    times = {name: [] for name in clients}
    for _ in range(ANSWERS):
        for name, infer in clients.items():
            begin = time.perf_counter()
            infer(observation)
            times[name].append(1e3 * (time.perf_counter() - begin))
    for name, taken in times.items():
        print(f"{name:42} median {np.median(taken):7.2f}  p99 {np.percentile(taken, 99):7.2f}")


def costs() -> None:
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    description = {KEY: PolicyDescription(policy="pi0").to_json()}
    print(f"milliseconds per answer, {ANSWERS} answers, three images of 224 x 224")
    with (
        policy_server(LargePolicy(is_watched=False)) as server,
        policy_server(LargePolicy(is_watched=True), description) as watching,
    ):
        tapped, watched = (
            TappedClient("127.0.0.1", port, on_decision=lambda *given: None)
            for port in (server.port, watching.port)
        )
        report_milliseconds(
            {
                "openpi's client": WebsocketClientPolicy("127.0.0.1", server.port).infer,
                "TappedClient, server knows nothing": tapped.infer,
                f"TappedClient, {SAMPLES} chunks of a WatchedPolicy": watched.infer,
            }
        )


def time_until_noticed(death: signal.Signals) -> float:
    command = [sys.executable, "-m", "testbed.policy_server", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())
        client = TappedClient("127.0.0.1", port, answer_timeout=TIMEOUT)
        client.infer(observed(1.0))
        begin = time.perf_counter()
        process.send_signal(death)
        try:
            for number in count():
                client.infer(observed(number))
        except PolicyServerError:
            return time.perf_counter() - begin
        finally:
            process.kill()
    raise AssertionError


def deaths() -> None:
    print(
        f"milliseconds from a server's death to the error, {DEATHS} times, {TIMEOUT:g} s allowed"
    )
    for name, death in (("killed", signal.SIGKILL), ("frozen", signal.SIGSTOP)):
        times = 1e3 * np.array([time_until_noticed(death) for _ in range(DEATHS)])
        print(f"{name:42} median {np.median(times):7.2f}  worst {times.max():7.2f}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    costs()
    deaths()
