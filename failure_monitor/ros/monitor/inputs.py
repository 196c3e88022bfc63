# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All inputs of the monitor while it is active, combined into decisions."""

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
from failure_monitor.ros.monitor.monitored_bundle import MonitoredBundle
from failure_monitor.ros.monitor.monitored_models import MonitoredModels
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic
from failure_monitor.ros.monitor.observation_input import ObservationInput
from failure_monitor.ros.monitor.pairing import DecisionPairing, Pair
from failure_monitor.ros.monitor.pending_decision import CHUNKS, EMBEDDING, PendingDecision
from failure_monitor.ros.monitor.policy_input import PolicyInput
from failure_monitor.ros.monitor.positions_input import PositionsInput
from failure_monitor.ros.monitor.rollout_boundaries import RolloutBoundaries
from failure_monitor.ros.monitor.stamp_guard import StampGuard

MAX_WAITING_PARTS = 64
"""Number of parts of decisions that may wait for the other one."""

MAX_WAITING_IMAGES = 16
"""The same where one part is images, which take memory."""

OnDecision = Callable[[PendingDecision, float, int], None]
"""Called with a decision, when it was complete on the monotonic clock, and the number of decisions
before it that cannot be scored."""


class MonitorInput(Protocol):
    """One kind of input: its topics, and what is wrong with each."""

    settings: MonitorParameters

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return what is wrong with one of the topics; empty if nothing is."""


class MonitorInputs:
    """Subscriptions, created on activation and destroyed on deactivation."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        monitored: MonitoredBundle,
        boundaries: RolloutBoundaries,
        *,
        on_decision: OnDecision,
        on_fault: Callable[[str], None],
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topics and bound their ages.
            monitored: what is expected on the topics, and which parts of decisions models make.
            boundaries: what starts and ends rollouts.
            on_decision: called with every decision.
            on_fault: called with why a message cannot be used.
        """
        self._boundaries = boundaries
        self._on_decision = on_decision
        self._on_fault = on_fault
        self._missed = 0
        self._last_complete: float | None = None
        models = monitored.models
        guard = StampGuard(node, on_fault=on_fault, on_restart=self._on_clock_set_back)
        # First: of waiting messages the executor takes those of older subscriptions, and a score
        # or position that came before its decision must be known with it.
        self._external = ExternalInput(node, settings, monitored.bundle.external_topics)
        self._positions: PositionsInput | None = None
        if monitored.positions_topic is not None:
            self._positions = PositionsInput(node, settings, monitored.positions_topic)
        self._observations = self._observation_input(node, settings, monitored, guard)
        self._joints = JointInput(node, settings, on_message=self._on_joints)
        self._policy = PolicyInput(
            node,
            settings,
            monitored.bundle.policy,
            models.published_parts,
            guard,
            on_part=self._on_part,
            on_malformed=self._on_malformed,
        )
        self._pairing = _pairing(models)
        self._inputs: tuple[MonitorInput, ...] = (
            self._policy,
            self._external,
            *(() if self._positions is None else (self._positions,)),
            self._joints,
            *(() if self._observations is None else (self._observations,)),
        )

    def _observation_input(
        self,
        node: Node,
        settings: MonitorParameters,
        monitored: MonitoredBundle,
        guard: StampGuard,
    ) -> ObservationInput | None:
        """Return the input of the encoder; None without an encoder."""
        models = monitored.models
        if not models.cameras:
            return None
        return ObservationInput(
            node,
            settings,
            monitored.cameras,
            monitored.black_box,
            guard,
            joints=models.takes_joints,
            has_rate=CHUNKS not in models.published_parts,
            on_observation=self._on_observation,
        )

    @property
    def unpaired(self) -> int:
        """Number of messages without the other part of their decision."""
        return 0 if self._pairing is None else self._pairing.unpaired

    @property
    def is_rollout_running(self) -> bool:
        """Whether decisions are expected."""
        return self._policy.is_expected

    def change_settings(self, settings: MonitorParameters) -> None:
        """Bound ages by changed parameters from now on."""
        for part in self._inputs:
            part.settings = settings

    def start_rollout(self) -> None:
        """Expect decisions, and forget what waits; stamps may start again."""
        self._policy.is_expected = True
        self._forget()

    def end_rollout(self) -> None:
        """Expect no decisions until the next rollout."""
        self._policy.is_expected = False

    def _forget(self) -> None:
        self._missed = 0
        self._last_complete = None
        self._policy.start_rollout()
        if self._pairing is not None:
            self._pairing.start_rollout()
        if self._observations is not None:
            self._observations.start_rollout()

    def _on_clock_set_back(self) -> None:
        if self._positions is not None:
            self._positions.forget()
        self._forget()

    def destroy(self) -> None:
        """Destroy the subscriptions."""
        self._boundaries.destroy()
        for _, topic in self._topics():
            topic.destroy()

    # Problems

    def problems(self, now: float) -> list[str]:
        """Return all present problems, a sentence for each."""
        problems = [part.problem(topic, now) for part, topic in self._topics()]
        problems = [*self._boundaries.problems(), *problems, self._why_incomplete(now)]
        return [problem for problem in problems if problem]

    def diagnose(self, now: float, *, name: str, hardware_id: str) -> list[DiagnosticStatus]:
        """Return a diagnostic status for every topic."""
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
        """Return why decisions are late although their messages come; empty if they are not."""
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
            "stamps: publish embedding and action chunks of a decision with the stamp of its "
            "observation"
        )

    # From messages to decisions

    def _on_joints(self, message: JointState) -> None:
        if self._observations is not None:
            self._observations.add_joints(message)

    def _on_observation(self, matched: MatchedMessages, now: float) -> None:
        self._on_part(EMBEDDING, matched.stamp, matched, now)

    def _on_malformed(self, part: str, reason: str) -> None:
        # Chunks make a decision, and this one cannot be scored.
        if part == CHUNKS or self._pairing is None:
            self._missed += 1
        self._on_fault(reason)

    def _on_part(self, part: str, stamp: int, value: Any, now: float) -> None:
        if self._pairing is None:
            self._on_complete(Pair(stamp, value, None, missed=0), now)
            return
        pair = (
            self._pairing.add_chunks(stamp, value)
            if part == CHUNKS
            else self._pairing.add_embedding(stamp, value)
        )
        if pair is not None:
            self._on_complete(pair, now)

    def _on_complete(self, pair: Pair, now: float) -> None:
        self._last_complete = now
        self._missed += pair.missed
        # Without a position or score that the rule needs, a decision is not scored, but it counts;
        # `problems` explains why.
        try:
            positions = None if self._positions is None else self._positions.at(pair.stamp)
        except MeasurementError:
            self._missed += 1
            return
        if any(self._external.problem(topic, now) for topic in self._external.topics):
            self._missed += 1
            return
        missed, self._missed = self._missed, 0
        pending = PendingDecision(
            pair.stamp, pair.embedding, pair.chunks, positions, self._external.values()
        )
        self._on_decision(pending, now, missed)


def _pairing(models: MonitoredModels) -> DecisionPairing | None:
    """Return the pairing of the policy's messages; None where a sampler makes the chunks."""
    if CHUNKS not in models.published_parts:
        return None
    return DecisionPairing(MAX_WAITING_IMAGES if models.cameras else MAX_WAITING_PARTS)
