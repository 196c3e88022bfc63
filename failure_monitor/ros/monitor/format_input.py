# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy states about itself, held against what the bundle was calibrated for.

A bundle whose policy stated nothing needs no statement, and is compared with one that comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from rclpy.node import Node
from std_msgs.msg import String

from failure_monitor.bundle.description import BundleDescription
from failure_monitor.bundle.policy_match import mismatch
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.policy_description import PolicyDescription, PolicyDescriptionError
from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.monitor.monitored_topic import MonitoredTopic

REMEDY = "start the policy with the tap that it had in calibration"


class FormatInput:
    """The subscription to the policy's description."""

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        bundle: BundleDescription,
        *,
        on_change: Callable[[], None],
    ) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            settings: name the topic.
            bundle: states which policy is expected.
            on_change: called when another description has come.
        """
        self.settings = settings
        self._node = node
        self._bundle = bundle
        self._on_change = on_change
        self._publishers = 0
        self._subscribe()

    def _subscribe(self) -> None:
        """Subscribe with nothing known; what is latched comes again."""
        self._is_known, self._problem = False, ""
        self._extras: Collection[str] = ()
        self._topic = MonitoredTopic(
            self._node, String, self.settings.format_topic, self._on_message, LATCHED_QOS
        )

    @property
    def topics(self) -> Sequence[MonitoredTopic]:
        """The topics of this input."""
        return (self._topic,)

    @property
    def extras(self) -> Collection[str]:
        """The external scores that come with every decision, by policy and bundle."""
        calibrated = self._bundle.stated_policy
        return {*self._extras, *(() if calibrated is None else calibrated.extras)}

    def problem(self, topic: MonitoredTopic, now: float) -> str:
        """Return why the policy is not the bundle's, or unknown; empty if neither."""
        self._forget_publishers_that_left()
        topic = self._topic
        if contradiction := topic.contradiction():
            return contradiction
        if self._is_known or self._bundle.stated_policy is None:
            return self._problem
        return f"no description of the policy: {topic.silence(now, 0.0)}: {REMEDY}"

    def _forget_publishers_that_left(self) -> None:
        """Forget what a publisher stated that has left: who decides next may be another policy.

        Which one stated it is unknown, so what the others have stated must come again.
        """
        before, self._publishers = self._publishers, self._topic.publishers
        if self._publishers < before:
            self._topic.destroy()
            self._subscribe()

    def _on_message(self, message: String) -> None:
        self._topic.stream.add(time.monotonic())
        self._is_known = True
        try:
            stated = PolicyDescription.from_json(message.data)
        except PolicyDescriptionError as error:
            self._topic.stream.rejected += 1
            self._problem, self._topic.details = f"'{self._topic.name}': {error}", {}
        else:
            found = mismatch(self._bundle, stated)
            self._extras = stated.extras
            self._problem = found and f"'{self._topic.name}': {found}"
            self._topic.details = {
                "policy": stated.policy,
                "checkpoint": stated.checkpoint,
                "checkpoint_name": stated.checkpoint_name,
            }
        self._on_change()
