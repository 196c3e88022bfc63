# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All that the monitor listens to while it is active, put together to decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import JointState

from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.messages.measured_positions import MeasurementError
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.monitor.external_input import ExternalInput
from failure_monitor.ros.monitor.joint_input import JointInput
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.observation_input import ObservationInput
from failure_monitor.ros.monitor.pairing import DecisionPairing, Pair
from failure_monitor.ros.monitor.pending_decision import CHUNKS, EMBEDDING, Observed
from failure_monitor.ros.monitor.policy_input import PolicyInput
from failure_monitor.ros.monitor.positions_input import PositionsInput
from failure_monitor.ros.monitor.rollout_boundaries import RolloutBoundaries
from failure_monitor.ros.monitor.stamp_guard import StampGuard
from failure_monitor.ros.monitor.watched_bundle import WatchedBundle

HALVES_WAITING = 64
"""How many halves of decisions may wait for the other one."""

FRAMES_WAITING = 16
"""Likewise where one half is images, which take memory."""

Take = Callable[[Observed, float, int], None]
"""Given an observation, when it was complete on the monotonic clock, and how many decisions before
it nobody can judge."""


class MonitorInput(Protocol):
    """One kind of input: its topics, and what is amiss with each."""

    settings: MonitorParameters

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """What is listened to."""

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """What is amiss with one of the topics; empty if nothing is."""


class MonitorInputs:
    """Subscriptions, made on activation and destroyed on deactivation."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        watched: WatchedBundle,
        boundaries: RolloutBoundaries,
        *,
        take: Take,
        fail: Callable[[str], None],
    ) -> None:
        """Listen.

        Args:
            node: subscribes.
            settings: name the topics and bound their ages.
            watched: what is expected on them, and which halves of decisions its models make.
            boundaries: what tells when rollouts begin and end.
            take: given every observation.
            fail: told why a message cannot be used.
        """
        self.boundaries = boundaries
        """What tells when rollouts begin and end."""
        self._on_observed = take
        self._fail = fail
        self._missed = 0
        self._last_complete: float | None = None
        bundle, models = watched.bundle, watched.models
        guard = StampGuard(node, fail=fail, restart=self._on_clock_set_back)
        # First: of messages that wait, the executor takes those of older subscriptions, and a
        # score or position that came before its decision must be known with it.
        self._external = ExternalInput(node, settings, bundle.external_topics)
        self._positions = PositionsInput(node, settings, watched.positions_topic)
        self._observations: ObservationInput | None = None
        if models.cameras:
            self._observations = ObservationInput(
                node,
                settings,
                watched.cameras,
                watched.made,
                guard,
                joints=models.takes_joints,
                has_rate=CHUNKS not in models.published_halves,
                take=self._on_frames,
            )
        self._joints = JointInput(node, settings, also=self._on_joints)
        self._policy = PolicyInput(
            node,
            settings,
            bundle.policy,
            models.published_halves,
            guard,
            take=self._on_half,
            refuse=self._on_malformed,
        )
        self._pairing: DecisionPairing | None = None
        if CHUNKS in models.published_halves:
            self._pairing = DecisionPairing(FRAMES_WAITING if models.cameras else HALVES_WAITING)
        self._inputs: tuple[MonitorInput, ...] = (
            self._policy,
            self._external,
            self._positions,
            self._joints,
            *(() if self._observations is None else (self._observations,)),
        )

    @property
    def unpaired(self) -> int:
        """How many messages lacked the other half of their decision."""
        return 0 if self._pairing is None else self._pairing.unpaired

    @property
    def rollout_runs(self) -> bool:
        """Whether decisions are expected."""
        return self._policy.is_expected

    def use(self, settings: MonitorParameters) -> None:
        """Bound ages by these from now on."""
        for part in self._inputs:
            part.settings = settings

    def start_rollout(self) -> None:
        """Expect decisions, and forget what waits; stamps may begin anew."""
        self._policy.is_expected = True
        self._begin_anew()

    def end_rollout(self) -> None:
        """Expect no decisions until the next rollout."""
        self._policy.is_expected = False

    def _begin_anew(self) -> None:
        self._missed = 0
        self._last_complete = None
        self._policy.start_rollout()
        if self._pairing is not None:
            self._pairing.start_rollout()
        if self._observations is not None:
            self._observations.start_rollout()

    def _on_clock_set_back(self) -> None:
        self._positions.forget()
        self._begin_anew()

    def destroy(self) -> None:
        """Stop listening."""
        self.boundaries.destroy()
        for _, topic in self._topics():
            topic.destroy()

    def problems(self, now: float) -> list[str]:
        """All that is amiss now, a sentence for each."""
        told = [part.problem(topic, now) for part, topic in self._topics()]
        told = [*self.boundaries.problems(), *told, self._why_incomplete(now)]
        return [problem for problem in told if problem]

    def diagnose(self, now: float, *, name: str, hardware_id: str) -> list[DiagnosticStatus]:
        """A status for every topic."""
        statuses = []
        for part, topic in self._topics():
            level, message, values = topic.diagnose(now, part.problem(topic, now))
            statuses.append(
                DiagnosticStatus(
                    level=level,
                    name=f"{name}: {topic.name}",
                    message=message,
                    hardware_id=hardware_id,
                    values=key_values(values),
                )
            )
        return statuses

    def _topics(self) -> Iterator[tuple[MonitorInput, MonitoredTopic]]:
        for part in self._inputs:
            for topic in part.topics:
                yield part, topic

    def _why_incomplete(self, now: float) -> str:
        """Why decisions are late, though all that they are made of comes; else empty."""
        limit = self._policy.settings.max_decision_age
        is_late = self._last_complete is None or now - self._last_complete > limit
        needed = [
            topic
            for part in (self._policy, self._observations)
            if part is not None
            for topic in part.topics
        ]
        if not (is_late and self._policy.is_expected) or any(
            topic.stream.is_silent(now, limit) for topic in needed
        ):
            return ""
        if self._observations is not None and (why := self._observations.why_unmatched()):
            return why
        if self._pairing is None or not self._pairing.is_stuck:
            return ""
        return (
            f"messages on {' and '.join(repr(topic.name) for topic in needed)} come with different "
            "stamps: publish both halves of a decision with the stamp of its observation"
        )

    def _on_joints(self, message: JointState) -> None:
        if self._observations is not None:
            self._observations.take_joints(message)

    def _on_frames(self, matched: MatchedMessages, now: float) -> None:
        self._on_half(EMBEDDING, matched.stamp, matched, now)

    def _on_malformed(self, half: str, reason: str) -> None:
        # Chunks make a decision, which none can judge now.
        if half == CHUNKS or self._pairing is None:
            self._missed += 1
        self._fail(reason)

    def _on_half(self, half: str, stamp: int, value: Any, now: float) -> None:
        if self._pairing is None:
            self._on_complete(Pair(stamp, value, None, missed=0), now)
            return
        pair = (
            self._pairing.chunks(stamp, value)
            if half == CHUNKS
            else self._pairing.embedding(stamp, value)
        )
        if pair is not None:
            self._on_complete(pair, now)

    def _on_complete(self, pair: Pair, now: float) -> None:
        self._last_complete = now
        self._missed += pair.missed
        # Without a position or score that the rule asks for it is not judged, as `problems` says,
        # and a decision all the same.
        try:
            positions = self._positions.at(pair.stamp)
        except MeasurementError:
            self._missed += 1
            return
        if any(self._external.problem(topic, now) for topic in self._external.topics):
            self._missed += 1
            return
        missed, self._missed = self._missed, 0
        observed = Observed(
            pair.stamp, pair.embedding, pair.chunks, positions, self._external.values()
        )
        self._on_observed(observed, now, missed)
