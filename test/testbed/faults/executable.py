# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A node as its executable starts it, and the signals that come to it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = {
    "monitor_node": "failure_monitor",
    "displays_node": "failure_monitor_displays",
    "gate_node": "failure_monitor_gate",
    "record_node": "record",
    "incident_recorder_node": "incident_recorder",
    "judge_node": "failure_monitor_judge",
    "metrics_node": "failure_monitor_metrics",
    "robot_node": "robot",
    "policy_node": "policy",
}
"""Executables, and what their nodes are called."""


class Executable:
    """A process whose output is kept."""

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, object] | None = None,
        *,
        output: Any = subprocess.PIPE,
    ) -> None:
        """Start an executable.

        Args:
            name: its name for `ros2 run`.
            parameters: of its node.
            output: where its output goes; by default it is kept.
        """
        arguments = [
            part for key, value in (parameters or {}).items() for part in ("-p", f"{key}:={value}")
        ]
        start = f"from failure_monitor.executables import {name}; {name}()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, "--ros-args", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def handles_signals(self) -> bool:
        """Whether it has got as far as to handle them."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def send(self, number: int) -> None:
        if self.is_running:
            self.process.send_signal(number)

    def ending(self, timeout: float = 15.0) -> tuple[int, str]:
        """Wait for its end; return the exit code and the output."""
        output, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, output or ""


@contextmanager
def executables(*started: Executable) -> Iterator[None]:
    """Kill what still runs at the end of a block."""
    try:
        yield
    finally:
        for one in started:
            if one.is_running:
                one.process.kill()
                one.process.wait()


def send_to_all(started: Mapping[str, Executable], numbers: list[int], gap: float) -> None:
    """Send signals to all of them, one after the other with a gap in seconds."""
    for number in numbers:
        for one in started.values():
            one.send(number)
        time.sleep(gap)


def wait_until_all_handle_signals(started: Mapping[str, Executable]) -> None:
    """Wait until all have started so far, which is before they import their nodes."""
    end = time.monotonic() + 20.0
    while not all(one.handles_signals for one in started.values()):
        assert time.monotonic() < end
        time.sleep(0.005)
