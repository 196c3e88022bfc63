# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor node: the policy's decisions in, alarm and permit out."""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.monitoring.told_state import ToldState, stale_reason
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.rollout_log.record import RolloutRecord, rollout_name
from failure_monitor.ros.common.alarm_message import alarm_message
from failure_monitor.ros.common.intervention_input import InterventionInput
from failure_monitor.ros.common.lean_lifecycle_node import LeanLifecycleNode
from failure_monitor.ros.common.parameter_server import ParameterServer
from failure_monitor.ros.common.parameters import (
    check_parameters,
    declare_parameters,
    read_parameters,
)
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.services import Answer, offer_switch, offer_trigger
from failure_monitor.ros.common.stall_watch import StallWatch
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.common.unknown_parameters import reject_unknown_parameters
from failure_monitor.ros.monitor.clock_watch import ClockWatch
from failure_monitor.ros.monitor.configuration import Configuration
from failure_monitor.ros.monitor.diagnostics import scoring_message
from failure_monitor.ros.monitor.halt_mark import HaltMark
from failure_monitor.ros.monitor.halt_mark_file import halt_mark_file, halt_mark_folder
from failure_monitor.ros.monitor.idle_parameters import parameters_without_effect
from failure_monitor.ros.monitor.judge_input import JudgeInput, load_judges
from failure_monitor.ros.monitor.label_input import LabelInput
from failure_monitor.ros.monitor.monitored_bundle import MonitoredBundle, load_monitored_bundle
from failure_monitor.ros.monitor.outputs import MonitorOutputs
from failure_monitor.ros.monitor.parameters import (
    DISPLAYED,
    changed_parameters,
    report_displayed_parameters,
)
from failure_monitor.ros.monitor.pending_decision import CHUNKS
from failure_monitor.ros.monitor.rollout_log_writer import open_log
from failure_monitor.ros.monitor.rollout_results import RolloutResults
from failure_monitor.ros.monitor.session import MonitorSession
from failure_monitor.ros.monitor.watched_promise import WatchedPromise, watch_promise
from failure_monitor.ros.monitor.work_thread import WorkThread
from failure_monitor.ros.response.response import Response

DIAGNOSTICS_PERIOD = 1.0
"""Seconds between two messages on /diagnostics, as diagnostic tools expect."""

NOT_CONFIGURED = "the monitor is not configured"
NOT_ACTIVE = "the monitor is not active"
NO_MARK_YET = "not known: it is of the bundle, and none is loaded"
ENDED = "the monitor has ended"


class MonitorNode(LeanLifecycleNode):
    """A lifecycle node that publishes a heartbeat in every state, `STALE` unless it is active."""

    def __init__(self) -> None:
        super().__init__("failure_monitor", start_parameter_services=False)
        # First: a node whose parameters are rejected is destroyed as it is.
        self._configuration: Configuration | None = None
        self._session: MonitorSession | None = None
        self._told: ToldState[AlarmState] = ToldState()
        self._settings = declare_parameters(self, MonitorParameters)
        report_displayed_parameters(self)
        self._time_guard = TimeGuard(self)
        self._clock_watch = ClockWatch(is_simulated=self._time_guard.is_simulated)
        self._stall_watch = StallWatch(self._settings.heartbeat_period)
        self._response = Response(self, rejection=self._rejection)
        reject_unknown_parameters(self, also_known=DISPLAYED)
        self._alarm = self._response.alarm(self._settings.max_decision_age)
        self._alarm.enable(self._settings.enable)
        self._alarm.end_rollout(NOT_CONFIGURED)
        # Beyond every session: what a human said counts also for the next one.
        self._intervention = InterventionInput(
            self,
            self._settings.intervention,
            on_intervention=self._on_intervention,
            changed=self._publish_heartbeat,
        )
        self._mark_changed = self.create_guard_condition(self._publish_heartbeat)
        halt_mark_folder(self._settings.halt_mark_folder)
        halt_mark_folder(self._settings.promise_folder, "promise_folder")
        self._promise: WatchedPromise | None = None
        self._promise_changed = self.create_guard_condition(self._publish_promise)
        self._disk: WorkThread | None = None
        self._results: RolloutResults | None = None
        self._judges: JudgeInput | None = None
        self._rollout_numbers = itertools.count(1)
        label_topic = full_topic_name(
            self, "label_topic", self._settings.label_topic, is_optional=True
        )
        self._labels = LabelInput(self, label_topic, lambda: self._results)
        self._idle_parameters: list[str] = []
        self._halt_mark: HaltMark | None = None
        self._marked_bundle = ""
        self._outputs = MonitorOutputs(self, self._settings.heartbeat_period)
        self._scored = self.create_guard_condition(self._on_scored)
        self._create_timers()
        self.add_on_set_parameters_callback(self._on_parameters)
        if self._settings.autostart:
            self.trigger_configure()
            # If configuring failed, the heartbeat says why.
            if self._configuration is not None:
                self.trigger_activate()
        # Last: what was requested before has not waited for what came before.
        self._offer_services()
        self._parameter_server = ParameterServer(self)

    def end(self) -> None:
        """End the session and withdraw the permit, for good."""
        self._end_session()
        self._alarm.end_rollout(ENDED)
        self._publish_heartbeat()

    def fail(self, error: Exception) -> None:
        """Withdraw the permit after an error that nothing else has handled."""
        if self._session is not None:
            self._session.fail(f"an internal error: {type(error).__name__}: {error}")

    def _offer_services(self) -> None:
        offer_trigger(self, "~/reset", self._on_reset, rejection=self._rejection)
        offer_switch(self, "~/enable", self._on_enable)
        offer_trigger(self, "~/start_rollout", self._on_start_rollout, rejection=self._rejection)
        offer_switch(self, "~/end_rollout", self._on_end_rollout)
        offer_switch(self, "~/label", self._labels.answer)

    def _create_timers(self) -> None:
        # Steady: the heartbeat must not stop with a clock that is simulated or stepped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._settings.heartbeat_period, self._beat, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle."""
        self._settings = read_parameters(self, MonitorParameters)
        try:
            check_parameters(self, self._settings)
            monitored = load_monitored_bundle(self._settings)
            self._response.open(monitored.bundle)
        except FailureMonitorError as error:
            self._alarm.end_rollout(str(error))
            self.get_logger().error(f"not configured: {error}")
            return TransitionCallbackReturn.FAILURE
        if monitored.models.warning:
            self.get_logger().warning(monitored.models.warning)
        self._idle_parameters = parameters_without_effect(self._settings, monitored)
        for sentence in self._idle_parameters:
            self.get_logger().warning(sentence)
        self._idle_parameters += self._response.parameters_without_effect
        self._open_halt_mark(monitored.sha256)
        self._configuration = Configuration.start(monitored, wake=self._scored.trigger)
        self._keep_rollouts(monitored)
        self._outputs.open(
            monitored.bundle, samples=CHUNKS not in monitored.models.published_parts
        )
        self._alarm.end_rollout(NOT_ACTIVE)
        _exclude_from_garbage_collection()
        self._stall_watch.restart()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start a session."""
        rejection = self._rejection()
        if self._configuration is None or self._results is None or rejection:
            self.get_logger().error(f"not activated: {rejection or NOT_CONFIGURED}")
            return TransitionCallbackReturn.FAILURE
        self._session = MonitorSession(
            self,
            self._settings,
            self._configuration,
            response=self._response,
            outputs=self._outputs,
            alarm=self._alarm,
            results=self._results,
            blank=self._blank_record,
            problems=self._problems,
            rejection=self._rejection,
            publish_heartbeat=self._publish_heartbeat,
        )
        self._session.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the session; nothing is permitted from now on."""
        self._end_session()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the bundle."""
        self._drop_configuration()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the session and drop the bundle."""
        self._end_session()
        self._drop_configuration()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to the unconfigured state; rclpy does not report what a transition raised."""
        failure = f"the transition from '{state.label}' failed"
        self.get_logger().error(failure)
        # The rollout that is running has not ended in order.
        self._alarm.fail(failure, time.monotonic())
        self._end_session()
        self._drop_configuration()
        return super().on_error(state)

    def destroy_node(self) -> None:
        """End the threads with the node."""
        self._parameter_server.close()
        self._drop_configuration()
        self._close_halt_mark()
        super().destroy_node()

    def _keep_rollouts(self, monitored: MonitoredBundle) -> None:
        """Watch the promise of a bundle, check how its rollouts end, and keep a log of them."""
        name, self._disk = self.get_fully_qualified_name(), WorkThread("disk")
        judges = load_judges(self._settings.judges)
        for problem in judges.problems:
            self.get_logger().error(problem)
        self._promise = watch_promise(
            monitored, self._settings, name, self._disk, wake=self._promise_changed.trigger
        )
        self._results = RolloutResults(
            monitored.bundle.outcome_check,
            self._promise,
            open_log(self._settings.promise_folder, name, monitored.sha256, self._disk),
            without_outcome=self._settings.promise_without_outcome,
            judges=judges.by_name,
            judge_problems=judges.problems,
        )
        self._judges = JudgeInput(self, [*judges.by_name], lambda: self._results)

    def _blank_record(self) -> RolloutRecord:
        """Return the record of a rollout that starts now."""
        assert self._configuration is not None
        started = time.time()
        return RolloutRecord(
            rollout=rollout_name(started, next(self._rollout_numbers)),
            robot=self._settings.hardware_id,
            monitor=self.get_fully_qualified_name(),
            bundle=self._configuration.bundle.sha256,
            alpha=self._configuration.bundle.bundle.alpha,
            started=started,
            ended=started,
            decisions=0,
        )

    def _open_halt_mark(self, bundle: str) -> None:
        """Use the mark of a bundle by its hash, from now until another bundle is configured."""
        if bundle == self._marked_bundle:
            return
        self._close_halt_mark()
        self._marked_bundle = bundle
        name = self.get_fully_qualified_name()
        self._halt_mark = HaltMark(
            halt_mark_file(self._settings.halt_mark_folder, name, bundle),
            wake=self._mark_changed.trigger,
        )

    def _close_halt_mark(self) -> None:
        if self._halt_mark is not None:
            self._halt_mark.close(self._alarm.needs_mark)

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close(NOT_ACTIVE)
        self._session = None

    def _drop_configuration(self) -> None:
        if self._configuration is None:
            return
        self._configuration.worker.stop()
        self._configuration = None
        if self._judges is not None:
            self._judges.destroy()
        self._judges = None
        if self._results is not None:
            self._results.close()
            self._publish_outcome()
        if self._disk is not None:
            self._disk.close()
        self._results, self._promise, self._disk = None, None, None
        self._outputs.close()
        self._alarm.end_rollout(NOT_CONFIGURED)

    # State

    def _on_intervention(self) -> None:
        """End the policy's part of a rollout, however short the intervention is."""
        self._alarm.set_intervention(self._intervention.last_reason)
        if self._session is not None:
            self._session.end_policys_part()

    def _status(self) -> AlarmStatus:
        now = time.monotonic()
        self._alarm.set_intervention(self._intervention.reason(now))
        if self._halt_mark is not None:
            found = self._halt_mark.found
            if found is not None and not self._alarm.is_halted:
                self._alarm.restore_halt(found.reason)
                self._response.restore(found.stopped)
            self._halt_mark.update(self._alarm.needs_mark, now, self._response.stopped)
        if self._session is not None:
            return self._session.status()
        self._alarm.set_input_problems(self._problems())
        return self._alarm.status(now)

    def _problems(self) -> Sequence[str]:
        """Return what is wrong beside the inputs."""
        mark = "" if self._halt_mark is None else self._halt_mark.problem(time.monotonic())
        unheard = self._intervention.problems(time.monotonic())
        return [*self._clock_problems(), *filter(None, (mark,)), *unheard]

    def _rejection(self) -> str:
        """Return why whatever could let the robot move is rejected at this moment."""
        return self._stall_watch.rejection(time.monotonic())

    def _beat(self) -> None:
        """Publish the heartbeat, and notice a stall."""
        if self._stall_watch.beat(time.monotonic()):
            # First: what the stall has cost must not look like the end of a rollout.
            self._status()
        self._publish_heartbeat()

    def _publish_heartbeat(self) -> None:
        """Publish the present state, and act on it."""
        jump = self._clock_watch.update(time.monotonic(), self._clock_seconds())
        if jump:
            self.get_logger().warning(jump)
        if self._session is not None:
            self._session.update(time.monotonic())
        status = self._status()
        self._outputs.publish_permit(status.permit)
        self._outputs.publish_alarm(self._alarm_message(status))
        self._response.update(status, None if self._session is None else self._session.verdict)
        stale = stale_reason(status.state, status.reason, status.now)
        before = self._told.state
        if self._told.is_new(status.state, stale, time.monotonic()):
            if status.state != before:
                self._log_transition(before, status)
            elif stale:
                self.get_logger().warning(f"still {status.state.value}: {stale}")
        self._follow_rollouts()

    def _follow_rollouts(self) -> None:
        """Learn what became of rollouts; last, because nothing waits for it."""
        now = time.monotonic()
        if self._session is not None:
            self._session.follow_rollouts(now)
        self._labels.collect()
        if self._judges is not None:
            self._judges.collect()
        if self._results is not None:
            self._results.update(now)
            if self._results.has_changed:
                self._publish_outcome()

    def _log_transition(self, before: AlarmState | None, status: AlarmStatus) -> None:
        """Log a change of state once, with its cause, and publish the diagnostics at once."""
        left = "start" if before is None else before.value
        transition = f"{left} -> {status.state.value}: {status.reason}"
        # Two calls, as rclpy does not let one line of code log at two levels.
        if status.permit:
            self.get_logger().info(transition)
        else:
            self.get_logger().warning(transition)
        self._publish_diagnostics()

    def _on_scored(self) -> None:
        if self._session is not None:
            self._session.on_scored()

    def _clock_seconds(self) -> float:
        return 1e-9 * self.get_clock().now().nanoseconds

    def _clock_problems(self) -> Sequence[str]:
        if self._time_guard.problem:
            return (self._time_guard.problem,)
        return self._clock_watch.problems(self._clock_seconds())

    # Diagnostics

    @property
    def _identity(self) -> dict[str, str]:
        """What distinguishes several monitors in the diagnostics, such as one for each arm."""
        return {
            "name": self.get_fully_qualified_name().removeprefix("/"),
            "hardware_id": self._settings.hardware_id,
        }

    def _alarm_message(self, status: AlarmStatus) -> DiagnosticStatus:
        session = self._session
        return alarm_message(
            status,
            None if session is None else session.verdict,
            decision_age=None if session is None else session.decision_age(),
            more={
                "intervention": "true" if self._alarm.is_in_human_hands else "false",
                "halt_mark": NO_MARK_YET if self._halt_mark is None else self._halt_mark.text,
                **self._response.values(),
                **({} if session is None else session.alarm_values()),
            },
            **self._identity,
        )

    def _publish_diagnostics(self) -> None:
        statuses = [self._alarm_message(self._status())]
        session = self._session
        if self._configuration is not None:
            counts = {
                "clock_jumps": self._clock_watch.jumps,
                **({} if session is None else session.counts()),
            }
            warning = "" if session is None else session.warning()
            statuses.append(
                scoring_message(
                    self._configuration,
                    counts,
                    warning=warning or "; ".join(self._idle_parameters),
                    **self._identity,
                )
            )
        if self._promise is not None:
            statuses.append(self._promise.message(**self._identity))
        if session is not None:
            statuses += session.diagnose(**self._identity)
        self._outputs.publish_diagnostics(statuses)

    def _publish_promise(self) -> None:
        """Publish what is known of the promise, after a change."""
        if self._promise is not None:
            self._outputs.publish_promise(self._promise.message(**self._identity))

    def _publish_outcome(self) -> None:
        """Publish what is known of how the last rollout ended, after a change."""
        if self._results is not None:
            self._outputs.publish_outcome(self._results.message(**self._identity))

    # Services and parameters

    def _on_reset(self) -> Answer:
        was_halted = self._status().halted
        rejection = self._reset()
        if was_halted and not rejection and self._halt_mark is not None:
            self._halt_mark.reset()
        self._publish_heartbeat()
        return Answer(not rejection, rejection or f"reset; now {self._status().reason}")

    def _reset(self) -> str:
        """Leave a latched halt; return why that is rejected, empty if it is not."""
        now = time.monotonic()
        if self._halt_mark is not None and not self._halt_mark.is_known:
            return self._halt_mark.problem(now)
        if stopping := self._response.why_stopping():
            return stopping
        # What a human said before the reset was read is known to it.
        self._intervention.receive_pending()
        self._alarm.set_intervention(self._intervention.reason(now))
        return self._alarm.reset(now) if self._session is None else self._session.reset()

    def _on_enable(self, enable: bool) -> Answer:
        result = self.set_parameters([Parameter("enable", value=enable)])[0]
        if not result.successful:
            return Answer(False, result.reason)
        return Answer(True, "enabled" if enable else "disabled: nothing is permitted")

    def _on_start_rollout(self) -> Answer:
        if self._session is None:
            return Answer(False, self._status().reason)
        self._session.start_rollout("")
        is_halted = self._status().halted
        return Answer(
            True, "halted: call ~/reset before commands can pass" if is_halted else "started"
        )

    def _on_end_rollout(self, success: bool) -> Answer:
        if self._session is None:
            return Answer(False, self._status().reason)
        said = "success" if success else "failure"
        if not self._session.is_rollout_running:
            why_not = self._session.claim_ended(success)
            ended = f"no rollout is running: the last one had ended, and {said} is claimed of it"
            return Answer(not why_not, f"no rollout is running: {why_not}" if why_not else ended)
        self.get_logger().info(f"the rollout ended, and {said} is claimed")
        self._session.end_rollout("no rollout is running; call ~/start_rollout", success=success)
        return Answer(True, "ended")

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        try:
            settings = changed_parameters(
                self, self._settings, parameters, is_configured=self._configuration is not None
            )
        except UsageError as error:
            return SetParametersResult(successful=False, reason=str(error))
        was_enabled = self._settings.enable
        if settings.enable and not was_enabled and (rejection := self._rejection()):
            return SetParametersResult(successful=False, reason=rejection)
        self._settings = settings
        if self._session is not None:
            self._session.change_settings(settings)
        if settings.enable != was_enabled:
            self._alarm.enable(settings.enable)
            self._publish_heartbeat()
        return SetParametersResult(successful=True)


def _exclude_from_garbage_collection() -> None:
    """Exclude what was loaded from garbage collections to come.

    A collection of all objects takes longer than a heartbeat on a busy machine, at any time.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _withdraw_permit(monitor: Node) -> bool:
    assert isinstance(monitor, MonitorNode)
    error = sys.exc_info()[1]
    if isinstance(error, Exception):
        # Not a signal: the rollout has not ended in order.
        monitor.fail(error)
    monitor.end()
    return False


def _fail(monitor: Node, error: Exception) -> None:
    assert isinstance(monitor, MonitorNode)
    monitor.fail(error)


def main() -> None:
    """Run the node; when a signal ends it, it withdraws its permit first."""
    run_node(MonitorNode, last_act=_withdraw_permit, on_error=_fail)


if __name__ == "__main__":
    main()
