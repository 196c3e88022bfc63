# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the markers, on a timer and only while somebody looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from failure_monitor.parameters.displays import NO_AXES, MarkerParameters
from failure_monitor.parameters.parameter import named
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.displays.frame_watch import FrameWatch
from failure_monitor.ros.displays.markers import Fan, Layout, ScoreBar, delete_all, markers

MARKERS_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

LIVES = 3
"""Periods that a marker lives: when the monitor is gone, so is what it drew."""


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
        settings = load_parameters(node, MarkerParameters, prefix="markers.")
        self._axes_wanted, self._apart = named(settings.axes), settings.apart
        self._cartesian = CartesianAxes((), settings.metres, _position(settings.start))
        self._layout = Layout(
            frame=settings.frame,
            panel=_position(settings.panel),
            yaw=settings.yaw,
            size=settings.size,
            seconds=LIVES / settings.rate,
        )
        self._period = 1 / settings.rate
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


def _position(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z
