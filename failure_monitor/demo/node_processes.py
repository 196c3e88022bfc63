# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes as separate processes on a ROS domain of their own."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from failure_monitor.errors import FailureMonitorError

GRACE = 10.0
"""Seconds that a node has to end after SIGINT."""

POLL = 0.1
"""Seconds between two queries of the graph."""


def private_domain() -> dict[str, str]:
    """Environment of a ROS graph that no other graph on the machine or its network joins.

    A domain that ROS_DOMAIN_ID names already is kept.
    """
    # Above 101 Linux hands the domain's ports out to others; few people count beyond 10.
    domain = os.environ.get("ROS_DOMAIN_ID", str(random.randint(20, 101)))
    return {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


class NodeProcesses:
    """Starts nodes of the package as processes and ends all of them on leaving the context."""

    def __init__(self, environment: Mapping[str, str], log: IO[str]) -> None:
        """Start nodes with these variables added and their output going to `log`."""
        self._environment = {**os.environ, **environment}
        self._log = log
        self._processes: list[tuple[str, subprocess.Popen]] = []

    def start(
        self,
        module: str,
        parameters: Mapping[str, object] | None = None,
        remappings: Mapping[str, str] | None = None,
        *,
        parameter_file: Path | None = None,
    ) -> None:
        """Start `failure_monitor.<module>` with ROS parameters and remappings."""
        arguments = ["--ros-args"]
        if parameter_file is not None:
            arguments += ["--params-file", str(parameter_file)]
        for name, value in (parameters or {}).items():
            arguments += ["-p", f"{name}:={_yaml(value)}"]
        for name, target in (remappings or {}).items():
            arguments += ["-r", f"{name}:={target}"]
        process = subprocess.Popen(
            [sys.executable, "-m", f"failure_monitor.{module}", *arguments],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )
        self._processes.append((module, process))

    def check(self) -> None:
        """Stop with an error if a node has ended by itself."""
        for module, process in self._processes:
            code = process.poll()
            if code is not None:
                raise FailureMonitorError(
                    f"failure_monitor.{module} ended by itself with exit code {code}: "
                    "see its output"
                )

    def wait_while(self, missing: Callable[[], Sequence[str]], timeout: float) -> None:
        """Return once nothing is missing; `missing` returns a clause for each missing thing.

        Raises:
            FailureMonitorError: something is still missing in the end, or a node has ended.
        """
        deadline = time.monotonic() + timeout
        while found := missing():
            self.check()
            if time.monotonic() > deadline:
                raise FailureMonitorError(
                    f"{', '.join(found)} after {timeout:.0f} s: see the output of the nodes, and "
                    "that they run on the same ROS_DOMAIN_ID"
                )
            time.sleep(POLL)

    def stop(self) -> None:
        """End all nodes: SIGINT first, SIGKILL for one that does not listen."""
        for _, process in self._processes:
            process.send_signal(signal.SIGINT)
        for _, process in self._processes:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def __enter__(self) -> "NodeProcesses":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return str(value)
