# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes and the command line as executables, which handle signals before they import them.

An import takes up to a second, and a signal in it would end the process with a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

from failure_monitor.missing_package import MissingPackageError, missing_packages_named
from failure_monitor.ros.common.signals import watch_signals

INTERRUPTED = 130
"""Exit code of what Ctrl-C has ended, as shells have it."""


def monitor_node() -> None:
    """Run the monitor."""
    _run("failure_monitor.ros.monitor.node")


def displays_node() -> None:
    """Run the displays."""
    _run("failure_monitor.ros.displays.node")


def gate_node() -> None:
    """Run the gate."""
    _run("failure_monitor.ros.gate.node")


def record_node() -> None:
    """Run the recorder."""
    _run("failure_monitor.ros.recording.record_node")


def incident_recorder_node() -> None:
    """Run the incident recorder."""
    _run("failure_monitor.ros.recording.incident_recorder_node")


def judge_node() -> None:
    """Run the judge node."""
    _run("failure_monitor.ros.judging.node")


def metrics_node() -> None:
    """Run the metrics node."""
    _run("failure_monitor.ros.metrics.node")


def robot_node() -> None:
    """Run the demo's robot."""
    _run("failure_monitor.demo.robot_node")


def policy_node() -> None:
    """Run the demo's policy."""
    _run("failure_monitor.demo.policy_node")


def command_line() -> None:
    """Run `failure-monitor`."""
    _run_interruptible("failure_monitor.cli")


def demo_director() -> None:
    """Run the director of the demo."""
    _run_interruptible("failure_monitor.demo.director")


def _run_interruptible(module: str) -> None:
    """Import a program and run it; an interrupt before it runs, or after, ends it in silence."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    main = import_module(module).main
    signal.signal(signal.SIGINT, before)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _leave(number: int, frame: FrameType | None) -> None:
    # An error that an import raises is taken for that of the module by some.
    os._exit(INTERRUPTED)


def _run(module: str) -> None:
    watch_signals()
    try:
        with missing_packages_named():
            node = import_module(module)
    except MissingPackageError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    node.main()
