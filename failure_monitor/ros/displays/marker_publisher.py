# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the markers, on a timer and only while there is a subscriber."""

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
from failure_monitor.display.view import MonitorView
from failure_monitor.errors import UsageError
from failure_monitor.parameters.displays import MARKERS, NO_AXES, MarkerParameters
from failure_monitor.parameters.parameter import named
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.displays.chunk_fan import Fan
from failure_monitor.ros.displays.frame_watch import FrameWatch
from failure_monitor.ros.displays.marker_parts import Layout, delete_all
from failure_monitor.ros.displays.markers import markers
from failure_monitor.ros.displays.score_panel import ScoreBar

MARKERS_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

LIFETIME_PERIODS = 3
"""Periods after which a marker vanishes unless it is published again, as when this node dies."""


class MarkerPublisher:
    """The publisher of a monitor's markers."""

    def __init__(self, node: Node, topic: str, view: Callable[[], MonitorView]) -> None:
        """Declare the parameters, and start to publish.

        Args:
            node: the node that publishes.
            topic: the topic's name.
            view: returns what to draw; called for every publication.

        Raises:
            UsageError: a parameter has another type or is out of bounds.
        """
        self._view = view
        settings = load_parameters(node, MarkerParameters, prefix=MARKERS)
        self._given_axes, self._apart = named(settings.axes), settings.apart
        self._cartesian = CartesianAxes((), settings.metres, _position(settings.start))
        self._layout = Layout(
            frame=settings.frame,
            panel=_position(settings.panel),
            yaw=settings.yaw,
            size=settings.size,
            seconds=LIFETIME_PERIODS / settings.rate,
        )
        self._period = 1 / settings.rate
        self._frames = FrameWatch(node, self._layout.frame)
        self._drawn: set[tuple[str, int]] | None = None
        self._fan_problem = ""
        self.policy: PolicyFormat | None = None
        """The format of the policy's decisions; None while it is unknown, then no fan is drawn."""
        self._publisher = node.create_publisher(MarkerArray, topic, MARKERS_QOS)
        # Steady: the markers must not freeze with a clock that is simulated or stepped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(self._period, self._publish, clock=steady)

    def problem(self) -> str:
        """Return why something is not visible in RViz; empty if everything is."""
        return "; ".join(filter(None, (self._fan_problem, self._frames.problem())))

    def _publish(self) -> None:
        if self._publisher.get_subscription_count() == 0:
            if self._drawn is not None:
                # Otherwise a later subscriber would first see the old state.
                self._publisher.publish(MarkerArray(markers=[delete_all(self._layout.frame)]))
            self._drawn = None
            return
        self._frames.start()
        view = self._view()
        drawn = markers(
            view.text,
            _bars(view),
            self._fan(view),
            self._layout,
            seconds=view.history.seconds,
        )
        self._publisher.publish(MarkerArray(markers=[*self._removed(drawn), *drawn]))

    def _removed(self, drawn: list[Marker]) -> list[Marker]:
        """Return what deletes markers that are no longer drawn; the first time all of them."""
        before, self._drawn = self._drawn, {(marker.ns, marker.id) for marker in drawn}
        if before is None:
            return [delete_all(self._layout.frame)]
        return [
            Marker(header=drawn[0].header, ns=namespace, id=number, action=Marker.DELETE)
            for namespace, number in sorted(before - self._drawn)
        ]

    def _fan(self, view: MonitorView) -> Fan | None:
        self._fan_problem = ""
        sampled, policy = view.sampled, self.policy
        if sampled is None or policy is None:
            return None
        axes = self._axes(policy)
        if axes is None:
            return None
        if sampled.names != policy.action_names:
            self._fan_problem = (
                f"the chunks have the actions {', '.join(sampled.names)}, the bundle has "
                f"{', '.join(policy.action_names)}: name the monitor's bundle"
            )
            return None
        found = paths(sampled, policy, axes)
        if np.isnan(found[:, 0, 0]).all():
            self._fan_problem = "no sampled chunk leads to a position that can be drawn"
        return Fan(found, disagreement(found, self._apart), sampled.chosen, sampled.trusted)

    def _axes(self, policy: PolicyFormat) -> CartesianAxes | None:
        if self._given_axes == (NO_AXES,):
            return None
        try:
            if self._given_axes:
                check_axes(self._given_axes, policy.action_names)
        except UsageError as error:
            self._fan_problem = f"'markers.axes': {error}"
            return None
        names = self._given_axes or axes_among(policy.action_names)
        return replace(self._cartesian, names=names) if names else None


def _bars(view: MonitorView) -> list[ScoreBar]:
    now = time.monotonic()
    return [
        ScoreBar(name, level, view.history.curve(name, now)) for name, level in view.levels.items()
    ]


def _position(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z
