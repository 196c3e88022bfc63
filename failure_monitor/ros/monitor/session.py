# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor node holds while it is active, from the inputs to the alarm."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from failure_monitor.bundle.bundle import UnknownTaskError
from failure_monitor.decision import Decision, Verdict
from failure_monitor.monitoring.alarm import Alarm, AlarmStatus
from failure_monitor.monitoring.decision_tally import DecisionTally
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.rollout_log.record import RolloutRecord
from failure_monitor.ros.common.services import Rejection
from failure_monitor.ros.monitor.claim_input import ClaimInput
from failure_monitor.ros.monitor.configuration import Configuration
from failure_monitor.ros.monitor.inputs import MonitorInputs
from failure_monitor.ros.monitor.outputs import MonitorOutputs
from failure_monitor.ros.monitor.pending_decision import PendingDecision
from failure_monitor.ros.monitor.rollout_boundaries import open_boundaries
from failure_monitor.ros.monitor.rollout_results import RolloutResults
from failure_monitor.ros.monitor.running_rollout import Claim
from failure_monitor.ros.monitor.scoring_worker import ScoringResult
from failure_monitor.ros.monitor.watched_rollouts import WatchedRollouts
from failure_monitor.ros.response.response import Response

TRACE_PERIOD = 10.0
"""Seconds between two errors that are logged in full: one for each decision would fill a disk."""


QUEUE_FULL = (
    "more wait for their scores than are kept: this machine is too slow; let the policy decide "
    "less often, or calibrate with other scores"
)


class MonitorSession:
    """The monitor between activation and deactivation.

    It hands observations to the scoring worker, and what comes back to alarm, response and
    outputs.
    """

    def __init__(
        self,
        node: Node,
        settings: MonitorParameters,
        configuration: Configuration,
        *,
        response: Response,
        outputs: MonitorOutputs,
        alarm: Alarm,
        results: RolloutResults,
        blank: Callable[[], RolloutRecord],
        problems: Callable[[], Sequence[str]],
        rejection: Rejection,
        publish_heartbeat: Callable[[], None],
    ) -> None:
        """Subscribe to the inputs; `start` comes next.

        Args:
            node: the node that subscribes and logs.
            settings: the monitor's parameters.
            configuration: the bundle and the worker that scores with it.
            response: steers the policy by each decision.
            outputs: publishes the scores of each decision.
            alarm: the state, which outlasts the session.
            results: keeps rollouts that have ended.
            blank: returns the record of a rollout that starts now.
            problems: returns what is wrong beside the inputs.
            rejection: returns why no rollout can start at this moment, whatever starts it.
            publish_heartbeat: publishes the state at once, after a change.
        """
        self.verdict: Verdict | None = None
        """The last verdict of this rollout."""
        self._logger = node.get_logger()
        self._bundle, self._worker = configuration.bundle, configuration.worker
        settings = self._bundle.in_force(settings)
        self._settings = settings
        self._response = response
        self._outputs = outputs
        self._problems = problems
        self._rejection = rejection
        self._publish_heartbeat = publish_heartbeat
        self._received = 0.0
        self._tally = DecisionTally(settings.max_unscored)
        self._had_too_many_unscored = False
        self._task = ""
        self._is_taken_over = False
        self._alarm = alarm
        self._blank = blank
        self._rollouts = WatchedRollouts(
            results,
            max_age=self._bundle.bundle.description.max_decision_age,
            newest_wins=self._worker.newest_wins,
            unscored=lambda: self._tally.unscored,
        )
        self._bound_ages(settings)
        self._boundaries = open_boundaries(node, settings, self)
        self._inputs = MonitorInputs(
            node,
            settings,
            configuration.bundle,
            self._boundaries,
            self._tally,
            on_decision=self._on_pending_decision,
            on_fault=self._fail,
            on_unscored=self._on_unscored,
            on_change=publish_heartbeat,
        )
        self._worker.on_drop = self._on_dropped
        self._claims = (
            ClaimInput(node, settings.success_topic, self._on_claim)
            if settings.success_topic
            else None
        )

    def start(self) -> None:
        """Start the first rollout, or wait for its start, as the parameters say."""
        if self._boundaries.why_not_started:
            self.end_rollout(self._boundaries.why_not_started)
        else:
            self.start_rollout("")

    def close(self, reason: str) -> None:
        """End the rollout and destroy the subscriptions.

        Args:
            reason: why no rollout is running.
        """
        # What would have halted in the next moment still does.
        self.status()
        self._alarm.end_rollout(reason)
        self._rollouts.close()
        self._inputs.destroy()
        if self._claims is not None:
            self._claims.destroy()

    # State

    def update(self, now: float) -> None:
        """End the rollout if its time is over; called at every heartbeat."""
        self._boundaries.update(now, is_policy_there=self._inputs.is_policy_there)

    def follow_rollouts(self, now: float) -> None:
        """Receive claims and hand on rollouts that have ended; called after every heartbeat."""
        if self._claims is not None:
            self._claims.collect()
        self._rollouts.check_end(now)

    def status(self) -> AlarmStatus:
        """Return the present state of the alarm."""
        now = time.monotonic()
        self._response.inform(self._alarm)
        self._inputs.expect_silence(self._alarm.expects_silence)
        problems = [*self._problems(), *self._unscored_problems(now)]
        self._alarm.set_input_problems([*problems, *self._inputs.problems(now)])
        status = self._alarm.status(now)
        self._rollouts.observe(status, now)
        self._inputs.expect_commands(status.permit)
        return status

    def _unscored_problems(self, now: float) -> Sequence[str]:
        """Return that too many decisions of this rollout were not scored, if so."""
        problem = self._tally.problem(now) if self._inputs.is_rollout_running else ""
        self._had_too_many_unscored = bool(problem)
        return (problem,) if problem else ()

    def decision_age(self) -> float | None:
        """Return the seconds since the last scored decision was received; None without one."""
        return None if self.verdict is None else time.monotonic() - self._received

    def reset(self) -> str:
        """Leave a latched halt; return why that is rejected, empty if it is not."""
        if self.status().halted:
            self._tally.reset(time.monotonic(), self._settings.max_decision_age)
            self.status()
        was_stopped = self._alarm.expects_silence
        rejection = self._alarm.reset(time.monotonic())
        if was_stopped and not rejection:
            self._worker.resume()
        if self._is_taken_over and not rejection:
            # Handing back: what the policy does from now on begins where the human left it.
            self.start_rollout(self._task)
            self._rollouts.intervene()
        return rejection

    def change_settings(self, settings: MonitorParameters) -> None:
        """Use changed parameters from now on."""
        settings = self._bundle.in_force(settings)
        self._settings = settings
        self._bound_ages(settings)
        self._tally.max_unscored = settings.max_unscored
        self._inputs.change_settings(settings)

    def _bound_ages(self, settings: MonitorParameters) -> None:
        self._alarm.max_decision_age = settings.max_decision_age
        self._alarm.max_plan_age = settings.max_plan_age or None

    def counts(self) -> Mapping[str, int]:
        """Return counts for the diagnostics, by name."""
        return {
            "unpaired_messages": self._inputs.unpaired,
            "unscored_decisions": self._tally.unscored,
        }

    def warning(self) -> str:
        """Return what may be wrong with the decisions; empty if nothing."""
        return self._inputs.warning(time.monotonic())

    def alarm_values(self) -> Mapping[str, str]:
        """Return further values of the alarm: how many decisions were not scored, and ages."""
        plan_age = self._alarm.plan_age(time.monotonic())
        return {
            "max_decision_age": f"{self._settings.max_decision_age:g}",
            "max_plan_age": f"{self._settings.max_plan_age:g}",
            **({} if plan_age is None else {"plan_age": f"{plan_age.seconds:.3f}"}),
            **self._tally.values(time.monotonic()),
        }

    def diagnose(self, *, name: str, hardware_id: str) -> list[DiagnosticStatus]:
        """Return a diagnostic status for every input topic.

        Args:
            name: the node's name.
            hardware_id: the robot's or the policy's.
        """
        return self._inputs.diagnose(time.monotonic(), name=name, hardware_id=hardware_id)

    # Rollouts

    def start_rollout(self, task: str, *, by_decision: bool = False) -> None:
        """Start a rollout with the next decision.

        Args:
            task: its task; empty for that of the parameter.
            by_decision: whether the decision that is being received starts it.
        """
        if rejection := self._rejection():
            self.end_rollout(f"no rollout is running: its start was {rejection}")
            return
        try:
            self._bundle.set_task(task or self._settings.task)
        except UnknownTaskError as error:
            self.end_rollout(str(error))
            return
        self._task, self._is_taken_over = task, False
        self._inputs.start_rollout(by_decision=by_decision)
        self._boundaries.set_running(True, time.monotonic())
        if self._claims is not None:
            self._claims.start_rollout()
        self._worker.start_rollout(self._bundle.task)
        self._rollouts.start_rollout(
            replace(self._blank(), task=self._bundle.task),
            self._bundle.bundle.promise(self._bundle.task).task,
            time.monotonic(),
        )
        self._tally.start_rollout()
        self.verdict = None
        self._alarm.start_rollout()
        if self._alarm.is_taken_over:
            self.end_policys_part()
        self._publish_heartbeat()

    def end_policys_part(self) -> None:
        """Score no more decisions of this rollout: a human has taken over.

        Its boundaries go on: it ends as it would have.
        """
        if not self._inputs.is_rollout_running:
            return
        self._is_taken_over = True
        self._rollouts.intervene()
        self._inputs.end_rollout()
        self._worker.start_rollout(self._bundle.task)
        self.verdict = None

    def end_rollout(self, reason: str, *, success: bool | None = None) -> None:
        """End the rollout: nothing is permitted until the next one starts.

        Args:
            reason: why no rollout is running.
            success: its outcome; None if nobody stated it.
        """
        self._rollouts.end_rollout(self._claim(success), reason)
        self._is_taken_over = False
        self._inputs.end_rollout()
        self._boundaries.set_running(False, time.monotonic())
        self._alarm.end_rollout(reason)
        self._publish_heartbeat()

    @property
    def is_rollout_running(self) -> bool:
        """Whether a rollout runs."""
        return self._rollouts.is_running

    def claim_ended(self, success: bool) -> str:
        """Receive what is claimed of the rollout that has ended; return why it is too late."""
        return self._rollouts.claim_ended(self._claim(success))

    def _on_claim(self, success: bool) -> None:
        self._rollouts.claim(self._claim(success))

    def _claim(self, success: bool | None) -> Claim:
        """Return what is said now of the rollout that runs, or that ended last."""
        halted = self._alarm.status(time.monotonic()) if self._alarm.is_halted else None
        hindrance = f"the robot was halted by then: {halted.reason}" if halted else ""
        return Claim(success, time.monotonic(), self._tally.received, hindrance)

    def fail(self, reason: str) -> None:
        """Withdraw the permit for a fault of the monitor itself."""
        self._fail(reason)

    # From an observation to the alarm

    def _on_pending_decision(self, pending: PendingDecision, received: float) -> None:
        self._worker.submit(pending.number, pending, received)

    def _on_dropped(self, number: int) -> None:
        if self._worker.newest_wins:
            self._tally.drop(number)
            return
        self._tally.set_unscored(number, QUEUE_FULL)
        self._on_unscored()

    def _on_unscored(self) -> None:
        """Withdraw the permit at once if too many decisions were not scored."""
        if not self._had_too_many_unscored and self._tally.problem(time.monotonic()):
            self._publish_heartbeat()

    def on_scored(self) -> None:
        """Use what the worker has scored since the last call."""
        results = self._worker.collect()
        for result in results:
            self._record(result)
        if not results:
            return
        # Once and first: what follows the alarm can wait.
        self._publish_heartbeat()
        status = self.status()
        for result in results:
            self._follow(result, status)

    def _record(self, result: ScoringResult[PendingDecision]) -> None:
        """Update the alarm by a result."""
        now = time.monotonic()
        self._rollouts.update(result)
        if result.verdict is None:
            self._tally.set_unscored(result.number, result.fault)
            self._alarm.fail(result.fault, now)
            return
        self._tally.set_scored(result.number)
        self.verdict, self._received = result.verdict, result.received
        age = result.observation.age
        self._alarm.update(result.verdict, result.received, now, age_on_arrival=age)

    def _follow(self, result: ScoringResult[PendingDecision], status: AlarmStatus) -> None:
        """Publish what follows from a decision's scores, or log why it has none."""
        if result.verdict is None or result.decision is None:
            self._log_trace(result.error)
            return
        self._outputs.publish_scores(result.verdict)
        stamp = result.observation.stamp
        self._advise(result.decision, stamp, status)
        if result.observation.chunks is None:
            self._outputs.publish_chunks(result.decision.chunks, stamp)

    def _advise(self, decision: Decision, stamp: int, status: AlarmStatus) -> None:
        """Steer by a decision."""
        try:
            self._response.advise(decision, stamp, self._bundle.task, status)
        except Exception as error:
            # Whatever chooses a chunk raises is a fault: a policy that is steered has no advice.
            self._fail(f"the steering failed: {type(error).__name__}: {error}")
            self._log_trace(error)

    def _fail(self, reason: str) -> None:
        """Report that the newest decision cannot be used."""
        self._alarm.fail(reason, time.monotonic())
        self._publish_heartbeat()

    def _log_trace(self, error: Exception | None) -> None:
        """Log an unexpected error in full; last, because logging takes long."""
        if error is not None:
            trace = "".join(traceback.format_exception(error))
            self._logger.error(trace, throttle_duration_sec=TRACE_PERIOD)
