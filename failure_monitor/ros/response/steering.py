# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes how fast a policy or controller may go, how far, and along which chunk.

~/speed_scale       Float64 in [0, 1], repeated; 0 while nothing is permitted
~/trusted_horizon   Int32, how many leading actions of the newest decision's chunks to trust
~/chosen_chunk      PointCloud2 of height 1, with the observation's stamp
"""

from __future__ import annotations

import time
from dataclasses import asdict

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Header, Int32

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Decision, Verdict
from failure_monitor.errors import UsageError
from failure_monitor.monitoring.alarm import AlarmStatus
from failure_monitor.monitoring.response.chosen_chunk import SampleScore, chosen_chunk
from failure_monitor.monitoring.response.speed_scale import SpeedScale, SpeedSettings
from failure_monitor.monitoring.response.table import Reaction
from failure_monitor.monitoring.response.trusted_horizon import TrustedHorizon
from failure_monitor.parameters.response import FIRST, ResponseParameters
from failure_monitor.ros.common.messages import action_chunks_message, stamp_message
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS


class Steering:
    """The publishers of speed scale, trusted horizon and chosen chunk."""

    def __init__(self, node: Node, settings: ResponseParameters) -> None:
        """Publish on this node."""
        self._node = node
        self._choice = settings.chosen_chunk
        self._speed_scale = SpeedScale(SpeedSettings(**asdict(settings.speed)))
        self._bundle: Bundle | None = None
        self._action_names: tuple[str, ...] = ()
        self._horizons: dict[str, TrustedHorizon | None] = {}
        self._chooser: SampleScore | None = None
        self._speed_publisher = node.create_publisher(Float64, "~/speed_scale", LATCHED_QOS)
        self._horizon_publisher = node.create_publisher(Int32, "~/trusted_horizon", DECISION_QOS)
        self._chunk_publisher: Publisher | None = None
        if self._choice != FIRST:
            self._chunk_publisher = node.create_publisher(
                PointCloud2, "~/chosen_chunk", DECISION_QOS
            )

    def open(self, bundle: Bundle) -> None:
        """Steer by what a bundle holds.

        Raises:
            UsageError: it does not hold the score that chooses chunks.
        """
        able = bundle.sample_scores
        if self._choice != FIRST and self._choice not in able:
            raise UsageError(
                f"the parameter 'chosen_chunk' is '{self._choice}', which the bundle does not "
                f"hold: calibrate with --choose-by {self._choice}, or choose by {', '.join(able)}"
            )
        self._bundle, self._chooser = bundle, able.get(self._choice)
        self._action_names, self._horizons = bundle.policy.action_names, {}

    @property
    def has_subscriber(self) -> bool:
        """Whether anything receives the speed scale, as a gate does that slows commands."""
        return bool(self._speed_publisher.get_subscription_count())

    def publish_speed_scale(self, status: AlarmStatus, verdict: Verdict | None) -> None:
        """Publish how fast to go; called at every heartbeat."""
        level = 0.0 if verdict is None else verdict.level
        speed = self._speed_scale.update(status.reaction, level, time.monotonic())
        self._speed_publisher.publish(Float64(data=speed))

    def advise(self, decision: Decision, stamp: int, task: str, status: AlarmStatus) -> None:
        """Publish how far to trust a decision's chunks, and which of them to execute.

        Args:
            decision: the decision, which was scored.
            stamp: the stamp of its observation, in nanoseconds.
            task: the task that is run.
            status: the alarm's after the decision.
        """
        if self._bundle is None:
            return
        if task not in self._horizons:
            self._horizons[task] = self._bundle.trusted_horizon(task)
        horizon = self._horizons[task]
        trusted = None if horizon is None else horizon(decision.chunks)
        if status.reaction == Reaction.REPLAN:
            trusted = 1 if trusted is None else min(trusted, 1)
        if trusted is not None:
            self._horizon_publisher.publish(Int32(data=trusted))
        if self._chooser is None or self._chunk_publisher is None:
            return
        chosen = chosen_chunk(self._chooser, decision)
        header = Header(stamp=stamp_message(stamp))
        message = action_chunks_message(decision.chunks[[chosen]], self._action_names, header)
        self._chunk_publisher.publish(message)
