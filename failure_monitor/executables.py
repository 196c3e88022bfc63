# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes as executables, which handle signals before they import their node.

An import takes up to a second, and a signal in it would end the process with a traceback.
"""

from __future__ import annotations

from importlib import import_module

from failure_monitor.ros.common.signals import watch_signals


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


def robot_node() -> None:
    """Run the demo's robot."""
    _run("failure_monitor.demo.robot_node")


def policy_node() -> None:
    """Run the demo's policy."""
    _run("failure_monitor.demo.policy_node")


def _run(module: str) -> None:
    watch_signals()
    import_module(module).main()
