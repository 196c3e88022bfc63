# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes from a program that runs a LeRobot policy what the monitor needs of its decisions.

tap = LeRobotTap(self, policy, postprocessor, action_names=["shoulder_pan.pos", ...])
...
tap.observed(image.header.stamp)
action = policy.select_action(observation)

Without a node, `LeRobotTap(None, ...)` makes one of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.time import Time as ClockTime
from std_msgs.msg import Bool

from failure_monitor.decision import ActionKind
from failure_monitor.parameters.topics import ROLLOUT_TOPIC
from failure_monitor.policies.action_names import action_names_of
from failure_monitor.policies.completed_description import KnownByProgram
from failure_monitor.policies.unwrapped import unwrapped
from failure_monitor.policies.watch_policy import watch_policy
from failure_monitor.policies.watched_decision import WatchedDecision
from failure_monitor.policy_description import Execution, PolicyDescription
from failure_monitor.ros.common.node_in_thread import NodeInThread
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.common.queue_worker import QueueWorker
from failure_monitor.ros.tap import (
    ACTION_CHUNKS_TOPIC,
    EMBEDDING_TOPIC,
    POLICY_FORMAT_TOPIC,
    DecisionTap,
    checked_stamp,
)

NODE_NAME = "lerobot_policy"
"""Name of the node that is made where the program has none."""

MAX_WAITING = 100
"""Number of messages that may wait to be published."""

LAST_MESSAGES = 1.0
"""Seconds for which the end waits until all is published."""

LOG_PERIOD = 10.0
"""Seconds between two log lines about what could not be published."""


class LeRobotTap:
    """Watches a LeRobot policy and publishes its decisions, without delaying the policy."""

    def __init__(
        self,
        node: Node | None,
        policy: Any,
        postprocessor: Any,
        action_names: Sequence[str] | str | Path,
        *,
        samples: int | None = None,
        every: int | None = None,
        control_period: float | None = None,
        checkpoint: str | Path | None = None,
        action_kind: ActionKind | None = None,
        position_names: Sequence[str] = (),
        execution: Execution = "",
        rollout_topic: bool = False,
    ) -> None:
        """Watch a policy from its next decision on.

        Args:
            node: the program's node; None for one of its own, which needs no `rclpy.init`.
            policy: the policy, as LeRobot loaded it.
            postprocessor: of the policy, the second of `make_pre_post_processors`.
            action_names: the names of the D actions, in order; or the folder of a LeRobotDataset
                that names them.
            samples: the number of chunks per decision; default: the class's own.
            every: the number of control steps after which a decision is taken for watching,
                between those of the policy; default: none is.
            control_period: seconds from one executed action to the next; None if unknown.
            checkpoint: the folder that the policy was loaded from; None for the one that its
                configuration names.
            action_kind: the meaning of an action, as in `PolicyFormat`; None to leave it open.
            position_names: the actions that span positions, as in `PolicyFormat`.
            execution: how chunks are executed, where the policy cannot know it: `server`.
            rollout_topic: whether to publish `rollout/active`, by `policy.reset()`.

        Raises:
            ActionNamesError: the names are not those of the policy's actions.
            UnsupportedPolicyError: the policy cannot be watched; it is as it was.
            UsageError: ROS does not start in this environment.
        """
        names = action_names_of(unwrapped(policy), action_names)
        self._process = os.getpid()
        self._stamp: Time | None = None
        self._is_active = False
        self._lost = 0
        self._lock = threading.Lock()
        self._worker: QueueWorker[Callable[[], None]] | None = None
        self._own: NodeInThread | None = None
        self._watch = watch_policy(
            policy,
            postprocessor,
            samples=samples,
            every=every,
            action_names=names,
            control_period=control_period,
            checkpoint=checkpoint,
            on_decision=self._on_decision,
            on_restart=self._on_restart,
        )
        self._known = KnownByProgram(action_kind, tuple(position_names), execution)
        self._described = self._watch.description
        try:
            self._start(node, names, rollout_topic)
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> PolicyDescription:
        """What the policy states about itself on `policy/format`."""
        return self._known.complete(self._described)

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics on which it publishes."""
        topics = (EMBEDDING_TOPIC, ACTION_CHUNKS_TOPIC, POLICY_FORMAT_TOPIC)
        names = (*topics, ROLLOUT_TOPIC) if self._rollout_publisher is not None else topics
        return tuple(self._node.resolve_topic_name(name) for name in names)

    def observed(self, stamp: Time | ClockTime) -> None:
        """State when the observation of the next decision was made.

        Without it, a decision has the time at which the policy took it.

        Args:
            stamp: that of the observation, which is the camera image's.

        Raises:
            TypeError: it is no stamp.
        """
        self._stamp = checked_stamp(stamp)

    def close(self) -> None:
        """Give the policy back as it was and publish no more; done twice it changes nothing."""
        atexit.unregister(self.close)
        self._watch.close()
        if self._worker is not None:
            self._publish_last()
            self._worker.stop()
            self._destroy_publishers()
        if self._own is not None:
            self._own.close()

    def _start(self, node: Node | None, names: Sequence[str], rollout_topic: bool) -> None:
        if node is None:
            self._own = NodeInThread(NODE_NAME)
            node = self._own.node
        self._node = node
        self._tap = DecisionTap(node, action_names=names, description=self.description)
        self._rollout_publisher = (
            node.create_publisher(Bool, ROLLOUT_TOPIC, DECISION_QOS) if rollout_topic else None
        )
        self._worker = QueueWorker(
            "lerobot_tap",
            lambda job: job(),
            capacity=MAX_WAITING,
            on_error=self._on_publishing_error,
            on_drop=self._on_drop,
        )
        # Before the node's own end, which was registered earlier.
        atexit.register(self.close)

    # In the policy's thread: nothing here may wait.

    def _on_decision(self, decision: WatchedDecision) -> None:
        with self._lock:
            stamp, self._stamp = self._stamp, None
            is_first, self._is_active = not self._is_active, True
        if is_first:
            self._report_rollout(True)
        if self._watch.description is not self._described:
            # The first decision shows how chunks are executed.
            self._described = self._watch.description
            self._submit(lambda: self._tap.describe(self.description))
        published = stamp or self._node.get_clock().now().to_msg()
        self._submit(
            lambda: self._tap.publish(
                decision.embedding,
                decision.chunks,
                published,
                extras=decision.extras,
                tokens=decision.tokens,
            )
        )

    def _on_restart(self) -> None:
        with self._lock:
            # An observation of before belongs to no decision of the new rollout.
            self._stamp = None
            was_active, self._is_active = self._is_active, True
        if was_active:
            self._report_rollout(False)
        self._report_rollout(True)

    def _report_rollout(self, is_active: bool) -> None:
        publisher = self._rollout_publisher
        if publisher is not None:
            self._submit(lambda: publisher.publish(Bool(data=is_active)))

    def _submit(self, job: Callable[[], None]) -> None:
        # A forked process has no thread that publishes, and perhaps a lock that nobody opens.
        if self._worker is not None and os.getpid() == self._process:
            self._worker.submit(job)

    def _on_drop(self, job: Callable[[], None]) -> None:
        # Counted only: a log line may wait for a terminal.
        self._lost += 1

    # In the thread that publishes.

    def _on_publishing_error(self, error: Exception) -> None:
        # Without ROS, which the program may have shut down, nothing can be logged either.
        with suppress(Exception):
            if self._node.context.ok():
                self._node.get_logger().error(
                    f"a decision was not published: {error}", throttle_duration_sec=LOG_PERIOD
                )

    # At the end.

    def _publish_last(self) -> None:
        """Publish what waits, and that no rollout runs."""
        done = threading.Event()
        if self._is_active:
            self._report_rollout(False)
        self._submit(done.set)
        done.wait(LAST_MESSAGES if os.getpid() == self._process else 0)

    def _destroy_publishers(self) -> None:
        # The program may have destroyed the node, or shut ROS down.
        with suppress(Exception):
            self._tap.close()
        if self._rollout_publisher is not None:
            with suppress(Exception):
                self._node.destroy_publisher(self._rollout_publisher)
