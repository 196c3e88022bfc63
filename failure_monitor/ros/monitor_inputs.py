# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All that the monitor listens to while it is active, put together to decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from failure_monitor.bundle import Bundle
from failure_monitor.ros.diagnostics import key_values
from failure_monitor.ros.external_input import ExternalInput, external_topics
from failure_monitor.ros.joint_input import JointInput
from failure_monitor.ros.monitor_parameters import MonitorParameters
from failure_monitor.ros.monitored_topic import MonitoredTopic
from failure_monitor.ros.observed import Observed
from failure_monitor.ros.pairing import Pair
from failure_monitor.ros.policy_input import PolicyInput
from failure_monitor.ros.rollout_boundaries import RolloutBoundaries

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
        bundle: Bundle,
        boundaries: RolloutBoundaries,
        *,
        take: Take,
        fail: Callable[[str], None],
    ) -> None:
        """Listen.

        Args:
            node: subscribes.
            settings: name the topics and bound their ages.
            bundle: what is expected on them.
            boundaries: what tells when rollouts begin and end.
            take: given every observation.
            fail: told why a message cannot be used.
        """
        self.boundaries = boundaries
        """What tells when rollouts begin and end."""
        self._on_observed = take
        self._missed = 0
        # First: of messages that wait, the executor takes those of older subscriptions, and a
        # score that came before its decision must be known with it.
        self._external = ExternalInput(node, settings, external_topics(bundle))
        self._joints = JointInput(node, settings)
        self._policy = PolicyInput(node, settings, bundle.policy, take=self._on_pair, fail=fail)
        self._inputs: tuple[MonitorInput, ...] = (self._policy, self._external, self._joints)

    @property
    def unpaired(self) -> int:
        """How many messages lacked the other half of their decision."""
        return self._policy.pairing.unpaired

    def use(self, settings: MonitorParameters) -> None:
        """Bound ages by these from now on."""
        for part in self._inputs:
            part.settings = settings

    def start_rollout(self) -> None:
        """Forget what waits; stamps may begin anew."""
        self._missed = 0
        self._policy.start_rollout()

    def destroy(self) -> None:
        """Stop listening."""
        self.boundaries.destroy()
        for _, topic in self._topics():
            topic.destroy()

    def problems(self, now: float) -> list[str]:
        """All that is amiss now, a sentence for each."""
        told = [part.problem(topic, now) for part, topic in self._topics()]
        told = [*self.boundaries.problems(), *told, self._policy.why_unpaired(now)]
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

    def _on_pair(self, pair: Pair, now: float) -> None:
        self._missed += pair.missed
        if any(self._external.problem(topic, now) for topic in self._external.topics):
            # Not judged, and said to be unknown: a decision all the same.
            self._missed += 1
            return
        missed, self._missed = self._missed, 0
        observed = Observed(pair.stamp, pair.embedding, pair.chunks, self._external.values())
        self._on_observed(observed, now, missed)
