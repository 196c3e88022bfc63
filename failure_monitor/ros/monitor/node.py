# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor node: the policy's decisions in, alarm and permit out."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from failure_monitor.bundle.bundle import UnknownTaskError
from failure_monitor.decision import Decision, Verdict
from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.common.alarm_message import alarm_message
from failure_monitor.ros.common.lean_lifecycle_node import LeanLifecycleNode
from failure_monitor.ros.common.parameters import (
    check_parameters,
    declare_parameters,
    read_parameters,
)
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.displays.displays import Displays, first_image_topic
from failure_monitor.ros.monitor.clock_watch import ClockWatch
from failure_monitor.ros.monitor.diagnostics import scoring_message
from failure_monitor.ros.monitor.inputs import MonitorInputs
from failure_monitor.ros.monitor.outputs import MonitorOutputs
from failure_monitor.ros.monitor.parameters import changed_parameters
from failure_monitor.ros.monitor.pending_decision import Observed
from failure_monitor.ros.monitor.rollout_boundaries import open_boundaries
from failure_monitor.ros.monitor.scoring_worker import ScoringResult, ScoringWorker
from failure_monitor.ros.monitor.services import Answer, offer_switch, offer_trigger
from failure_monitor.ros.monitor.watched_bundle import WatchedBundle, load_watched
from failure_monitor.ros.response.response import Response
from failure_monitor.ros.response.steering import Advice

DIAGNOSTICS_PERIOD = 1.0
"""Seconds, as diagnostic tools expect."""

TRACE_PERIOD = 10.0
"""Seconds between two errors that are logged in full: one a decision would fill a disk."""


class MonitorNode(LeanLifecycleNode):
    """A lifecycle node; its heartbeat says `STALE` in every state but active.

    Callbacks store what comes; one worker thread runs models and scores; what it finds is taken
    here, told, and answered with whatever stops or steers the robot.
    """

    def __init__(self) -> None:
        super().__init__("failure_monitor")
        # First: a node that is refused its parameters is destroyed as it is.
        self._worker: ScoringWorker[Observed] | None = None
        self._settings = declare_parameters(self, MonitorParameters)
        self._response = Response(self)
        self._alarm = self._response.alarm(self._settings.max_decision_age)
        self._watched: WatchedBundle | None = None
        self._inputs: MonitorInputs | None = None
        self._idle_reason = "the monitor is not configured"
        self._verdict: Verdict | None = None
        self._decision: Decision | None = None
        self._received = 0.0
        self._state_told: AlarmState | None = None
        self._clock_watch = ClockWatch(is_simulated=self.get_parameter("use_sim_time").value)

        self._outputs = MonitorOutputs(self, self._settings.heartbeat_period)
        self._displays = Displays(self, self._status)
        offer_trigger(self, "~/reset", self._reset)
        offer_switch(self, "~/enable", self._enable)
        offer_trigger(self, "~/start_rollout", self._start_rollout_by_service)
        offer_switch(self, "~/end_rollout", self._end_rollout_by_service)
        self._scored = self.create_guard_condition(self._on_scored)
        # Steady: the heartbeat must not stop with a clock that is simulated or stepped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._settings.heartbeat_period, self._beat, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self.add_on_set_parameters_callback(self._on_parameters)
        if self._settings.autostart:
            self.trigger_configure()
            # Does nothing when configuring failed; the heartbeat then says why.
            if self._watched is not None:
                self.trigger_activate()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle."""
        self._settings = read_parameters(self, MonitorParameters)
        try:
            check_parameters(self, self._settings)
            watched = load_watched(self._settings)
            self._response.open(watched.bundle)
        except FailureMonitorError as error:
            self._idle_reason = str(error)
            self.get_logger().error(f"not configured: {error}")
            return TransitionCallbackReturn.FAILURE
        if watched.models.remark:
            self.get_logger().warning(watched.models.remark)
        self._watched = watched
        self._worker = ScoringWorker(
            watched.models.decide, watched.begin, wake=self._scored.trigger
        )
        self._outputs.open_scores(score.name for score in self._watched.bundle.scores)
        image_topic = first_image_topic(watched.cameras, self._settings.image_topics)
        self._displays.open(watched.bundle, image_topic, watched.models.encoder)
        self._idle_reason = "the monitor is not active"
        _spare_the_collector()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen."""
        assert self._watched is not None, "rclpy activates only what is configured"
        self._alarm = self._response.alarm(self._settings.max_decision_age)
        self._alarm.enable(self._settings.enable)
        boundaries = open_boundaries(self, self._settings, self)
        self._inputs = MonitorInputs(
            self,
            self._settings,
            self._watched,
            boundaries,
            take=self._on_observed,
            fail=self._fail,
        )
        if boundaries.why_none_yet:
            self.end_rollout(boundaries.why_none_yet)
        else:
            self.start_rollout("")
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
        """End the threads with the node."""
        self._forget_bundle()
        self._displays.stop()
        super().destroy_node()

    def _forget_bundle(self) -> None:
        if self._worker is None:
            return
        self._worker.stop()
        self._worker = self._watched = None
        self._outputs.close_scores()
        self._displays.close()
        self._idle_reason = "the monitor is not configured"

    def _stop_listening(self) -> None:
        if self._inputs is not None:
            self._inputs.destroy()
        self._inputs = None
        self._idle_reason = "the monitor is not active"

    # Rollouts

    def start_rollout(self, task: str) -> None:
        """The next decision is the first of a rollout of a task, by default the parameter's."""
        assert self._watched is not None
        assert self._worker is not None
        assert self._inputs is not None
        try:
            self._watched.take_task(task or self._settings.task)
        except UnknownTaskError as error:
            self.end_rollout(str(error))
            return
        self._inputs.start_rollout()
        self._worker.start_rollout(self._watched.task)
        self._verdict = self._decision = None
        self._displays.start_rollout()
        self._alarm.start_rollout()
        self._beat()

    def end_rollout(self, reason: str) -> None:
        """Nothing is permitted until the next rollout begins, for this reason."""
        if self._inputs is not None:
            self._inputs.end_rollout()
        self._alarm.end_rollout(reason)
        self._beat()

    # From an observation to what is said of it

    def _on_observed(self, observed: Observed, received: float, missed: int) -> None:
        assert self._worker is not None
        assert self._inputs is not None
        if self._inputs.boundaries.begins_with_decision(received):
            self.start_rollout("")
            missed = 0
        if not self._inputs.rollout_runs:
            return
        self._worker.submit(observed, received, missed)

    def _on_scored(self) -> None:
        if self._worker is None or self._inputs is None:
            return
        for result in self._worker.collect():
            self._take(result)

    def _take(self, result: ScoringResult[Observed]) -> None:
        if result.verdict is None or result.decision is None:
            self._fail(result.fault, result.error)
            return
        self._verdict, self._decision = result.verdict, result.decision
        self._received = result.received
        self._alarm.update(result.verdict, result.received, time.monotonic())
        self._beat()
        self._outputs.publish_scores(result.verdict)
        advice = self._advise(result.decision, result.observation.stamp)
        if advice is not None:
            self._displays.show(result.verdict, result.decision, result.observation.seen, advice)

    def _advise(self, decision: Decision, stamp: int) -> Advice | None:
        """Steer by a decision; None if that fails."""
        assert self._watched is not None
        try:
            return self._response.advise(decision, stamp, self._watched.task, self._status())
        except Exception as error:
            # Whatever chooses a chunk raises: a policy that is to be steered has no advice.
            self._fail(f"the steering failed: {type(error).__name__}: {error}", error)
            return None

    def _fail(self, reason: str, error: Exception | None = None) -> None:
        """The newest decision cannot be used; an error that nobody expected is logged in full."""
        self._alarm.fail(reason, time.monotonic())
        self._beat()
        if error is not None:
            # Last: to write it down takes long, and the permit is gone by then.
            trace = "".join(traceback.format_exception(error))
            self.get_logger().error(trace, throttle_duration_sec=TRACE_PERIOD)

    def _status(self) -> AlarmStatus:
        if self._inputs is None:
            return AlarmStatus(AlarmState.STALE, self._idle_reason, permit=False)
        now = time.monotonic()
        clock_problems = self._clock_watch.problems(self._clock_seconds())
        self._alarm.set_input_problems([*clock_problems, *self._inputs.problems(now)])
        return self._alarm.status(now)

    def _beat(self) -> None:
        """Say the present truth, and have it acted on."""
        jump = self._clock_watch.look(time.monotonic(), self._clock_seconds())
        if jump:
            self.get_logger().warning(jump)
        if self._inputs is not None:
            self._inputs.boundaries.pass_time(time.monotonic())
        status = self._status()
        self._outputs.publish_permit(status.permit)
        self._outputs.publish_alarm(self._alarm_message(status))
        self._response.update(status, self._verdict)
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

    # Diagnostics

    @property
    def _diagnostic_name(self) -> str:
        """Tells several monitors apart, one of each arm."""
        return self.get_fully_qualified_name().removeprefix("/")

    def _clock_seconds(self) -> float:
        return 1e-9 * self.get_clock().now().nanoseconds

    def _publish_diagnostics(self) -> None:
        now, name = time.monotonic(), self._diagnostic_name
        statuses = [self._alarm_message(self._status())]
        if self._watched is not None and self._worker is not None:
            counts = {"clock_jumps": self._clock_watch.jumps}
            if self._inputs is not None:
                counts["unpaired_messages"] = self._inputs.unpaired
            statuses.append(
                scoring_message(
                    self._watched,
                    self._worker,
                    counts,
                    name=name,
                    hardware_id=self._settings.hardware_id,
                )
            )
        if self._inputs is not None:
            statuses += self._inputs.diagnose(
                now, name=name, hardware_id=self._settings.hardware_id
            )
        statuses.append(self._displays.diagnose(name=name, hardware_id=self._settings.hardware_id))
        self._outputs.publish_diagnostics(statuses)

    def _alarm_message(self, status: AlarmStatus) -> DiagnosticStatus:
        age = None if self._verdict is None else time.monotonic() - self._received
        return alarm_message(
            status,
            self._verdict,
            name=self._diagnostic_name,
            hardware_id=self._settings.hardware_id,
            decision_age=age,
            response=self._response.values(),
        )

    # Services and parameters

    def _reset(self) -> Answer:
        if self._inputs is None:
            return Answer(False, self._idle_reason)
        refusal = self._alarm.reset(time.monotonic())
        is_halted = self._status().halted
        self._beat()
        return Answer(not is_halted, refusal or "the halt is reset")

    def _enable(self, enable: bool) -> Answer:
        result = self.set_parameters([Parameter("enable", value=enable)])[0]
        said = "enabled" if enable else "disabled: nothing is permitted"
        return Answer(result.successful, said if result.successful else result.reason)

    def _start_rollout_by_service(self) -> Answer:
        if self._inputs is None:
            return Answer(False, self._idle_reason)
        self.start_rollout("")
        is_halted = self._status().halted
        return Answer(
            True, "halted: call ~/reset before commands can pass" if is_halted else "started"
        )

    def _end_rollout_by_service(self, success: bool) -> Answer:
        if self._inputs is None:
            return Answer(False, self._idle_reason)
        self.get_logger().info(f"the rollout {'succeeded' if success else 'failed'}")
        self.end_rollout("no rollout is running; call ~/start_rollout")
        return Answer(True, "ended")

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        try:
            settings = changed_parameters(
                self, self._settings, parameters, is_configured=self._watched is not None
            )
        except UsageError as error:
            return SetParametersResult(successful=False, reason=str(error))
        was_enabled, self._settings = self._settings.enable, settings
        self._alarm.max_decision_age = settings.max_decision_age
        if self._inputs is not None:
            self._inputs.use(settings)
        if settings.enable != was_enabled:
            self._alarm.enable(settings.enable)
            self._beat()
        return SetParametersResult(successful=True)


def _spare_the_collector() -> None:
    """Keep what was loaded out of garbage collections to come.

    One of all objects takes longer than a heartbeat on a busy machine, and could come at any time.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def main() -> None:
    """Run the node."""
    run_node(MonitorNode)


if __name__ == "__main__":
    main()
