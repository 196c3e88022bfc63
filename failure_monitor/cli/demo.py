# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor demo`."""

from __future__ import annotations

import subprocess
import sys

import typer

from failure_monitor.cli.app import app, plain_errors
from failure_monitor.missing_package import require_package


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
@plain_errors
def demo(context: typer.Context) -> None:
    """Watch a simulated robot and its policy, undisturbed and perturbed (--help for options)."""
    for package in ("rclpy", "metaworld", "matplotlib", "rosbags", "torch"):
        require_package(package)
    # A process of its own: the command line stays free of ROS.
    done = subprocess.run([sys.executable, "-m", "failure_monitor.demo", *context.args])
    raise typer.Exit(done.returncode)
