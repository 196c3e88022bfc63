# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line's calibration, run as a user would, beside whatever else is starting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from failure_monitor.demo.interrupts import uninterrupted
from failure_monitor.errors import FailureMonitorError

POSITION_NAMES = "dx,dy,dz"
"""The demo's actions that span positions; the fourth is the gripper's effort."""


def calibrate_arguments(
    bags: Path,
    bundle: Path,
    *,
    executed_actions: int,
    rule: str,
    window: int,
    alpha: float,
    scores: str,
) -> list[str]:
    """Return the arguments of `failure-monitor`, without `--scores` if none are named."""
    return [
        "calibrate",
        str(bags),
        *("--output", str(bundle)),
        *("--rule", rule),
        *(("--scores", scores) if scores else ()),
        *("--window", str(window)),
        *("--alpha", f"{alpha:g}"),
        *("--action-kind", "delta"),
        *("--position-names", POSITION_NAMES),
        *("--executed-actions", str(executed_actions)),
    ]


class CalibrationProcess:
    """A calibration that runs."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        """Start it; what it prints goes to a file."""
        self._log = log
        with log.open("w") as output:
            # A session of its own, so that its workers end with it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "failure_monitor.cli", *arguments],
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            )

    def wait(self) -> str:
        """Return its results when it is done.

        Raises:
            FailureMonitorError: it failed.
        """
        results, _ = self._process.communicate()
        if self._process.returncode != 0:
            output = self._log.read_text().split("failure-monitor: ")[-1].strip().splitlines()
            why = output[-1] if output else "it printed no reason"
            raise FailureMonitorError(f"the calibration failed: {why} (see {self._log})")
        return results

    def stop(self) -> None:
        """End it and its workers, if they still run."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.communicate()


@contextmanager
def calibration(arguments: Sequence[str], log: Path) -> Iterator[CalibrationProcess]:
    """Start a calibration; it ends with the context, done or not."""
    process = None
    try:
        with uninterrupted():
            process = CalibrationProcess(arguments, log)
        yield process
    finally:
        if process is not None:
            process.stop()
