# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor in the policy's own process: each decision is scored at once, and has an alarm.

Scores, thresholds and the alarm's states are those of the monitor node. Times are seconds of a
monotonic clock.
"""

from __future__ import annotations

import threading

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Decision, Verdict
from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.monitoring.alarm import Alarm, AlarmStatus
from failure_monitor.policies.watched_decision import WatchedDecision


class DecisionAlarm:
    """The state of a policy that is scored in its own process.

    It may be used by several threads.
    """

    def __init__(self, bundle: Bundle, task: str) -> None:
        """Start a rollout.

        Args:
            bundle: what the policy was calibrated with.
            task: the task that is run; empty where the bundle needs no name.

        Raises:
            UsageError: the bundle needs more than the policy's decisions.
            UnknownTaskError: it has no threshold for the task, or has several and none is named.
        """
        _check(bundle)
        self.verdict: Verdict | None = None
        """The last verdict of this rollout."""
        self._monitor = bundle.monitor(task)
        self._alarm = Alarm(max_decision_age=bundle.description.max_decision_age)
        self._lock = threading.RLock()
        self._alarm.start_rollout()

    def start_rollout(self, now: float) -> None:
        """Start a rollout, and leave a halt of the one before."""
        with self._lock:
            self.verdict = None
            self._monitor.start_rollout()
            self._alarm.start_rollout()
            self._alarm.reset(now)

    def decide(self, decision: WatchedDecision, stamp: int, now: float) -> None:
        """Score a decision; one that cannot be scored halts.

        Args:
            decision: of the policy.
            stamp: when it was made, in nanoseconds.
            now: the time.
        """
        with self._lock:
            try:
                self.verdict = self._monitor.update(
                    Decision(
                        stamp,
                        decision.embedding,
                        decision.chunks,
                        external=decision.extras,
                        tokens=decision.tokens,
                    )
                )
            except FailureMonitorError as error:
                self._alarm.fail(str(error), now)
            except Exception as error:
                # Whatever a score raises is a fault, which permits nothing.
                self._alarm.fail(f"the scoring failed: {type(error).__name__}: {error}", now)
            else:
                self._alarm.update(self.verdict, now, now)

    def fail(self, reason: str, now: float) -> None:
        """Halt, since a decision was made that is not known."""
        with self._lock:
            self._alarm.fail(reason, now)

    def status(self, now: float) -> AlarmStatus:
        """Return the state at this moment, after latching a halt if a decision is late."""
        with self._lock:
            return self._alarm.status(now)


def _check(bundle: Bundle) -> None:
    wanting = [
        score.name for score in bundle.scores if score.needs_positions or score.needs_joints
    ]
    stated = bundle.description.stated_policy
    extras = () if stated is None else stated.extras
    wanting += [f"external:{name}" for name in bundle.external_topics if name not in extras]
    if wanting:
        rest = ",".join(score.name for score in bundle.scores if score.name not in wanting)
        others = f"--scores {rest}" if rest else "other scores"
        raise UsageError(
            f"{', '.join(wanting)} need more than the policy's decisions, which ROS carries: "
            f"calibrate with {others}, or run failure_monitor's nodes"
        )
    if bundle.description.black_box is not None:
        raise UsageError(
            "the bundle was calibrated on decisions of exported models, not on the policy's own: "
            "run failure_monitor's nodes, or calibrate on rollouts of the policy that is watched"
        )
