# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor node: the policy's decisions in, alarm and permit out."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Bool, Float64
from std_srvs.srv import SetBool, Trigger

from failure_monitor.alarm import Alarm, AlarmState, AlarmStatus
from failure_monitor.bundle import Bundle, BundleError, content_hash, load
from failure_monitor.decision import Decision, Verdict
from failure_monitor.errors import FailureMonitorError
from failure_monitor.point_cloud import PointCloudError, read_action_chunks, read_embedding
from failure_monitor.ros.diagnostics import alarm_message, key_values
from failure_monitor.ros.messages import stamp_nanoseconds
from failure_monitor.ros.monitor_parameters import (
    declare_parameters,
    read_parameters,
)
from failure_monitor.ros.pairing import DecisionPairing
from failure_monitor.ros.qos import DECISION_QOS, heartbeat_qos
from failure_monitor.ros.run import run_node
from failure_monitor.ros.scoring_worker import Judgement, ScoringWorker

DIAGNOSTICS_PERIOD = 1.0
"""Seconds, as diagnostic tools expect."""

RULE_LEVEL = "rule"
"""The name under which the combined normalised score is published beside the scores'."""


@dataclass(eq=False)
class Watch:
    """What exists while a bundle is loaded.

    Attributes:
        bundle: the calibrated rule.
        bundle_hash: names the very bundle in diagnostics.
        worker: scores decisions with it.
        pairing: makes decisions of messages.
        normalised_publishers: one per score, and one for the rule.
    """

    bundle: Bundle
    bundle_hash: str
    worker: ScoringWorker
    pairing: DecisionPairing
    normalised_publishers: dict[str, Publisher]


class MonitorNode(LifecycleNode):
    """A lifecycle node; its heartbeat says `STALE` in every state but active."""

    def __init__(self) -> None:
        super().__init__("failure_monitor")
        declare_parameters(self)
        self._settings = read_parameters(self)
        self._alarm = Alarm(max_decision_age=self._settings.max_decision_age)
        self._watch: Watch | None = None
        self._is_active = False
        self._idle_reason = "the monitor is not configured"
        self._verdict: Verdict | None = None
        self._received = 0.0
        self._joint_state_received: float | None = None
        self._state_told: AlarmState | None = None
        self._inputs: list[Any] = []

        period = self._settings.heartbeat_period
        # Not lifecycle publishers: those are silent unless active, and silence tells nobody why.
        self._permit_publisher = self.create_publisher(
            Bool, "~/permit", heartbeat_qos(period, latched=False)
        )
        self._alarm_publisher = self.create_publisher(
            DiagnosticStatus, "~/alarm", heartbeat_qos(period, latched=True)
        )
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/start_rollout", self._on_start_rollout)
        self.create_service(SetBool, "~/end_rollout", self._on_end_rollout)
        self._judged = self.create_guard_condition(self._on_judged)
        # Steady: the heartbeat must not stop with a clock that is simulated or stepped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(period, self._beat, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        if self._settings.autostart:
            self.trigger_configure()
            # Does nothing when configuring failed; the heartbeat then says why.
            if self._watch is not None:
                self.trigger_activate()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle."""
        self._settings = read_parameters(self)
        try:
            self._watch = self._make_watch(self._settings.bundle, self._settings.task)
        except FailureMonitorError as error:
            self._idle_reason = str(error)
            self.get_logger().error(f"not configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._idle_reason = "the monitor is not active"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen, as if a rollout had just started."""
        self._inputs = [
            self.create_subscription(
                PointCloud2, self._settings.embedding_topic, self._on_embedding, DECISION_QOS
            ),
            self.create_subscription(
                PointCloud2,
                self._settings.action_chunks_topic,
                self._on_action_chunks,
                DECISION_QOS,
            ),
            self.create_subscription(
                JointState,
                self._settings.joint_states_topic,
                self._on_joint_state,
                qos_profile_sensor_data,
            ),
        ]
        self._alarm = Alarm(max_decision_age=self._settings.max_decision_age)
        self._is_active = True
        self._start_rollout()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; nothing is permitted from now on."""
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the bundle."""
        self._forget_bundle()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and forget the bundle."""
        self._stop_listening()
        self._forget_bundle()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fall back to not being configured; rclpy keeps to itself what a transition raised."""
        self.get_logger().error(f"the transition from '{state.label}' failed")
        self._stop_listening()
        self._forget_bundle()
        return super().on_error(state)

    def destroy_node(self) -> None:
        """End the scoring thread with the node."""
        self._forget_bundle()
        super().destroy_node()

    def _make_watch(self, folder: str, task: str) -> Watch:
        if not folder:
            raise BundleError(
                "the parameter 'bundle' is empty: name the folder that `failure-monitor "
                "calibrate` wrote"
            )
        bundle = load(Path(folder))
        names = [score.name for score in bundle.scores] + [RULE_LEVEL]
        return Watch(
            bundle=bundle,
            bundle_hash=content_hash(Path(folder)),
            worker=ScoringWorker(bundle.monitor(task), wake=self._judged.trigger),
            pairing=DecisionPairing(),
            normalised_publishers={
                name: self.create_publisher(Float64, f"~/normalised_scores/{name}", DECISION_QOS)
                for name in names
            },
        )

    def _forget_bundle(self) -> None:
        if self._watch is None:
            return
        self._watch.worker.stop()
        for publisher in self._watch.normalised_publishers.values():
            self.destroy_publisher(publisher)
        self._watch = None
        self._idle_reason = "the monitor is not configured"

    def _stop_listening(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        self._is_active = False
        self._idle_reason = "the monitor is not active"

    # Inputs

    def _on_embedding(self, message: PointCloud2) -> None:
        if self._watch is None:
            return
        try:
            embedding = read_embedding(message)
        except PointCloudError as error:
            self._fail(f"'{self._settings.embedding_topic}': {error}")
            return
        stamp = stamp_nanoseconds(message.header.stamp)
        self._submit(self._watch, self._watch.pairing.embedding(stamp, embedding))

    def _on_action_chunks(self, message: PointCloud2) -> None:
        if self._watch is None:
            return
        topic = self._settings.action_chunks_topic
        expected = self._watch.bundle.policy.action_names
        try:
            names, chunks = read_action_chunks(message)
        except PointCloudError as error:
            self._fail(f"'{topic}': {error}")
            return
        if names != expected:
            self._fail(
                f"'{topic}' carries the actions {list(names)}, the bundle expects "
                f"{list(expected)}: the topic is another policy's, or calibrate again"
            )
            return
        stamp = stamp_nanoseconds(message.header.stamp)
        self._submit(self._watch, self._watch.pairing.chunks(stamp, chunks))

    def _on_joint_state(self, message: JointState) -> None:
        self._joint_state_received = time.monotonic()

    def _submit(self, watch: Watch, decision: Decision | None) -> None:
        if decision is not None:
            watch.worker.submit(decision, time.monotonic())

    def _on_judged(self) -> None:
        if self._watch is None or not self._is_active:
            return
        for judgement in self._watch.worker.collect():
            self._take(judgement, self._watch)

    def _take(self, judgement: Judgement, watch: Watch) -> None:
        if judgement.verdict is None:
            if judgement.error is not None:
                trace = traceback.format_exception(judgement.error)
                self.get_logger().error("".join(trace))
            self._fail(judgement.fault)
            return
        verdict = judgement.verdict
        self._verdict, self._received = verdict, judgement.received
        self._alarm.hear(verdict, judgement.received, time.monotonic())
        self._beat()
        for score in verdict.scores:
            if score.is_defined:
                watch.normalised_publishers[score.name].publish(Float64(data=score.normalised))
        watch.normalised_publishers[RULE_LEVEL].publish(Float64(data=verdict.level))

    def _fail(self, reason: str) -> None:
        self._alarm.fail(reason, time.monotonic())
        self._beat()

    # Outputs

    def _status(self) -> AlarmStatus:
        if not self._is_active:
            return AlarmStatus(AlarmState.STALE, self._idle_reason, permit=False)
        missing = self._missing_joint_states()
        self._alarm.doubt([missing] if missing else [])
        return self._alarm.status(time.monotonic())

    def _missing_joint_states(self) -> str:
        """In words; empty if they are fresh or not asked for."""
        limit, topic = self._settings.max_joint_state_age, self._settings.joint_states_topic
        if limit == 0:
            return ""
        if self._joint_state_received is None:
            return (
                f"no joint states have come on '{topic}'; set max_joint_state_age to 0.0 for a "
                "robot without joints"
            )
        if time.monotonic() - self._joint_state_received > limit:
            return f"no joint states on '{topic}' for more than {limit:g} s"
        return ""

    def _beat(self) -> None:
        """Say the present truth: the permit first, so that it is withdrawn before the alarm."""
        status = self._status()
        self._permit_publisher.publish(Bool(data=status.permit))
        self._alarm_publisher.publish(self._alarm_message(status))
        if status.state != self._state_told:
            self._tell(status)

    def _tell(self, status: AlarmStatus) -> None:
        """Log a change of state once, with its cause, and send it to the diagnostics at once."""
        before = "start" if self._state_told is None else self._state_told.value
        self._state_told = status.state
        transition = f"{before} -> {status.state.value}: {status.reason}"
        # Two calls, as rclpy refuses one place in the code to log at two levels.
        if status.permit:
            self.get_logger().info(transition)
        else:
            self.get_logger().warning(transition)
        self._publish_diagnostics()

    def _alarm_message(self, status: AlarmStatus) -> DiagnosticStatus:
        age = None if self._verdict is None else time.monotonic() - self._received
        return alarm_message(
            status,
            self._verdict,
            name=self.get_name(),
            hardware_id=self._settings.hardware_id,
            age=age,
        )

    def _publish_diagnostics(self) -> None:
        status = self._status()
        array = DiagnosticArray(status=[self._alarm_message(status), self._inputs_message(status)])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(array)

    def _inputs_message(self, status: AlarmStatus) -> DiagnosticStatus:
        values = {"bundle": self._settings.bundle}
        if self._watch is not None:
            watch, promise = self._watch, self._watch.bundle.promise(self._settings.task)
            values |= {
                "bundle_sha256": watch.bundle_hash,
                "alpha": f"{watch.bundle.alpha:g}",
                "task": promise.task,
                "calibration_rollouts": str(promise.rollouts),
                "skipped_decisions": str(watch.worker.skipped),
                "unpaired_messages": str(watch.pairing.unpaired),
                "out_of_order_messages": str(watch.pairing.out_of_order),
            }
        missing = self._missing_joint_states() if self._is_active else self._idle_reason
        return DiagnosticStatus(
            level=DiagnosticStatus.WARN if missing else DiagnosticStatus.OK,
            name=f"{self.get_name()}: inputs",
            message=missing or "inputs are coming",
            hardware_id=self._settings.hardware_id,
            values=key_values(values),
        )

    # Services

    def _start_rollout(self) -> None:
        if self._watch is not None:
            self._watch.pairing.start_rollout()
            self._watch.worker.start_rollout()
        self._verdict = None
        self._alarm.start_rollout()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._is_active:
            response.message = self._idle_reason
            return response
        response.message = self._alarm.reset(time.monotonic()) or "the halt is reset"
        response.success = not self._status().halted
        self._beat()
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._alarm.enable(request.data)
        response.success = True
        response.message = "enabled" if request.data else "disabled: nothing is permitted"
        self._beat()
        return response

    def _on_start_rollout(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        if not self._is_active:
            response.message = self._idle_reason
            return response
        self._start_rollout()
        response.success = True
        halted = self._status().halted
        response.message = "halted: call ~/reset before commands can pass" if halted else "started"
        self._beat()
        return response

    def _on_end_rollout(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if not self._is_active:
            response.message = self._idle_reason
            return response
        self._alarm.end_rollout()
        self.get_logger().info(f"the rollout {'succeeded' if request.data else 'failed'}")
        response.success = True
        response.message = "ended"
        self._beat()
        return response


def main() -> None:
    """Run the node."""
    run_node(MonitorNode)


if __name__ == "__main__":
    main()
