# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether commands that listen to ROS can do so; the command line itself stays free of it."""

from __future__ import annotations

from importlib.util import find_spec

from failure_monitor.errors import FailureMonitorError


class NoListenerError(FailureMonitorError):
    """ROS is missing, or the program that listens to it has ended."""

    @classmethod
    def ended(cls, code: int) -> NoListenerError:
        """Return the error of a listener that ended by itself."""
        return cls(f"what listens to ROS ended by itself with exit code {code}: see its output")


def require_ros() -> None:
    """Reject an environment without ROS.

    Raises:
        NoListenerError: it is not found.
    """
    if find_spec("rclpy") is None:
        raise NoListenerError(
            "ROS 2 is not found (there is no Python package 'rclpy'): source its setup file, such "
            "as /opt/ros/jazzy/setup.bash, or install its wheels (docs/installation.md)"
        )
