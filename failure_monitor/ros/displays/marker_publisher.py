# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the markers, on a timer and only while somebody looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from visualization_msgs.msg import Marker, MarkerArray

from failure_monitor.decision import PolicyFormat
from failure_monitor.display.chunk_paths import (
    CartesianAxes,
    axes_among,
    check_axes,
    disagreement,
    paths,
)
from failure_monitor.errors import UsageError
from failure_monitor.monitoring.score_history import levels
from failure_monitor.monitoring.view import MonitorView
from failure_monitor.ros.common.parameters import declare
from failure_monitor.ros.displays.frame_watch import FrameWatch
from failure_monitor.ros.displays.markers import Fan, Layout, ScoreBar, delete_all, markers

MARKERS_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

LIVES = 3
"""Periods that a marker lives: when the monitor is gone, so is what it drew."""

NO_AXES = "none"
"""In place of the axes: chunks are not drawn."""


class MarkerPublisher:
    """`~/markers`."""

    def __init__(self, node: Node, view: Callable[[], MonitorView]) -> None:
        """Declare the parameters, and publish from now on.

        Args:
            node: publishes.
            view: what there is to see, asked at every publication.

        Raises:
            UsageError: the node is given a value of another type or out of bounds.
        """
        self._view = view
        self._axes_wanted, self._cartesian, self._apart = _declare_fan(node)
        self._layout, self._period = _declare_layout(node)
        self._frames = FrameWatch(node, self._layout.frame)
        self._drawn: set[tuple[str, int]] | None = None
        self._fan_problem = ""
        self._publisher = node.create_publisher(MarkerArray, "~/markers", MARKERS_QOS)
        # Steady: what is seen must not freeze with a clock that is simulated or stepped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(self._period, self._publish, clock=steady)

    def problem(self) -> str:
        """Why something cannot be seen in RViz; empty if all can."""
        return "; ".join(filter(None, (self._fan_problem, self._frames.problem())))

    def _publish(self) -> None:
        if self._publisher.get_subscription_count() == 0:
            if self._drawn is not None:
                # Or who looks later would first see what was, as if it were.
                self._publisher.publish(MarkerArray(markers=[delete_all(self._layout.frame)]))
            self._drawn = None
            return
        self._frames.start()
        view = self._view()
        drawn = markers(
            view.status,
            _bars(view),
            self._fan(view),
            self._layout,
            seconds=view.history.seconds,
        )
        self._publisher.publish(MarkerArray(markers=[*self._removed(drawn), *drawn]))

    def _removed(self, drawn: list[Marker]) -> list[Marker]:
        """What takes away markers of before that are not drawn any more; all, the first time."""
        before, self._drawn = self._drawn, {(marker.ns, marker.id) for marker in drawn}
        if before is None:
            return [delete_all(self._layout.frame)]
        return [
            Marker(header=drawn[0].header, ns=namespace, id=number, action=Marker.DELETE)
            for namespace, number in sorted(before - self._drawn)
        ]

    def _fan(self, view: MonitorView) -> Fan | None:
        self._fan_problem = ""
        if view.decision is None or view.policy is None:
            return None
        axes = self._axes(view.policy)
        if axes is None:
            return None
        found = paths(view.decision, view.policy, axes)
        if np.isnan(found[:, 0, 0]).all():
            self._fan_problem = "no sampled chunk leads to a place that can be drawn"
        return Fan(found, disagreement(found, self._apart), view.chosen, view.trusted)

    def _axes(self, policy: PolicyFormat) -> CartesianAxes | None:
        if self._axes_wanted == (NO_AXES,):
            return None
        try:
            if self._axes_wanted:
                check_axes(self._axes_wanted, policy.action_names)
        except UsageError as error:
            self._fan_problem = f"'markers.axes': {error}"
            return None
        names = self._axes_wanted or axes_among(policy.action_names)
        return replace(self._cartesian, names=names) if names else None


def _bars(view: MonitorView) -> list[ScoreBar]:
    if view.verdict is None:
        return []
    now = time.monotonic()
    return [
        ScoreBar(name, level, view.history.curve(name, now))
        for name, level in levels(view.verdict).items()
    ]


def _declare_layout(node: Node) -> tuple[Layout, float]:
    """The layout, and the seconds between two publications."""
    rate = declare(
        node,
        "markers.rate",
        5.0,
        "markers a second, while somebody subscribes",
        bounds=(0.2, 30.0),
        read_only=True,
    )
    layout = Layout(
        frame=declare(
            node,
            "markers.frame",
            "base_link",
            "the frame of Cartesian action chunks, and of what is drawn",
            read_only=True,
        ),
        panel=_three(
            node, "markers.panel", [0.0, 0.0, 1.0], "where the panel of scores stands, in metres"
        ),
        yaw=declare(
            node,
            "markers.yaw",
            0.0,
            "where the panel looks, in radians about z; 0 is along x",
            bounds=(-7.0, 7.0),
            read_only=True,
        ),
        size=declare(
            node,
            "markers.size",
            0.05,
            "height of a line of text, in metres",
            bounds=(0.001, 10.0),
            read_only=True,
        ),
        seconds=LIVES / rate,
    )
    if not layout.frame:
        raise UsageError(f"{node.get_name()}: the parameter 'markers.frame' is empty: name a frame")
    return layout, 1 / rate


def _declare_fan(node: Node) -> tuple[tuple[str, ...], CartesianAxes, float]:
    """The axes that were asked for, how actions become places, and what counts as apart."""
    axes = declare(
        node,
        "markers.axes",
        [""],
        "the actions that move the tool along x, y and z; [''] looks for names such as dx, dy, dz; "
        "['none'] draws no chunks",
        read_only=True,
    )
    metres = declare(
        node,
        "markers.metres",
        1.0,
        "metres that an action of 1 stands for",
        bounds=(1e-9, 1e3),
        read_only=True,
    )
    start = _three(
        node,
        "markers.start",
        [0.0, 0.0, 0.0],
        "where chunks of deltas or velocities begin, in metres, if nobody measures it",
    )
    apart = declare(
        node,
        "markers.apart",
        0.05,
        "metres from the middle at which a sample is drawn as disagreeing",
        bounds=(1e-6, 1e3),
        read_only=True,
    )
    return tuple(name for name in axes if name), CartesianAxes((), metres, start), apart


def _three(
    node: Node, name: str, default: list[float], description: str
) -> tuple[float, float, float]:
    values = declare(node, name, default, description, read_only=True)
    if len(values) != 3 or not np.isfinite(values).all():
        raise UsageError(
            f"{node.get_name()}: the parameter '{name}' is {list(values)}, expected x, y and z"
        )
    x, y, z = values
    return x, y, z
