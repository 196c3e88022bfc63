# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What `inspect` shows of joints that a bundle needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import JointsSection
from failure_monitor.cli.inspected_bundle import bundle_tables


def test_the_joints_that_a_bundle_needs_are_shown_with_their_topics(
    bundle: Bundle, bundle_folder: Path
) -> None:
    joints = JointsSection(
        quantities=("elbow/effort", "finger/position"), topics=("/joint_states", "/gripper")
    )
    needing = replace(bundle, description=replace(bundle.description, joints=joints))
    console = Console(width=200)
    with console.capture() as shown:
        for table in bundle_tables(needing, bundle_folder, "0" * 64, []):
            console.print(table)
    assert "elbow/effort, finger/position on /joint_states, /gripper" in shown.get()
