# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor demo`."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

from failure_monitor.cli.declaration import Remainder
from failure_monitor.demo_data import require_demo_data
from failure_monitor.missing_package import require_package


def demo(arguments: Annotated[list[str], Remainder()]) -> None:
    """Watch a simulated robot and its policy, undisturbed and perturbed (--help for options)."""
    require_demo_data()
    for package in ("rclpy", "metaworld", "matplotlib", "rosbags", "torch"):
        require_package(package)
    # A process of its own: the command line stays free of ROS.
    done = subprocess.run([sys.executable, "-m", "failure_monitor.demo", *arguments])
    raise SystemExit(done.returncode)
