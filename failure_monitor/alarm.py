# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The alarm state machine: verdicts and the passing of time in, state and permit out.

Pure: times are seconds of a monotonic clock, handed in. It fails closed: whatever is missing,
late or broken is `STALE` or `ALARM`, and only a young verdict below its thresholds is `NOMINAL`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from failure_monitor.decision import Verdict


class AlarmState(Enum):
    """How the policy fares, as far as is known."""

    NOMINAL = "NOMINAL"
    CAUTION = "CAUTION"
    ALARM = "ALARM"
    STALE = "STALE"


@dataclass(frozen=True)
class AlarmStatus:
    """What the monitor says at one moment.

    Attributes:
        state: of the alarm; the state that caused the halt while one is latched.
        reason: why, in words.
        permit: whether commands may pass.
        halted: whether a halt is latched until it is reset.
    """

    state: AlarmState
    reason: str
    permit: bool
    halted: bool = False


@dataclass(frozen=True)
class Halt:
    """Why commands were stopped."""

    state: AlarmState
    reason: str


class Alarm:
    """The state between verdicts.

    A halt latches: once commands were permitted and no longer are, they stay stopped until
    `reset`, which is refused while the cause persists. Only the end of a rollout, or the monitor
    being disabled, stops commands without latching.
    """

    def __init__(self, *, max_decision_age: float) -> None:
        """Before the first rollout.

        Args:
            max_decision_age: seconds after which the last verdict is too old to permit anything.
        """
        self.max_decision_age = max_decision_age
        """Seconds after which the last verdict is too old to permit anything."""
        self._enabled = True
        self._halt: Halt | None = None
        self._why_no_rollout = "no rollout is running; call ~/start_rollout"
        self._problems: tuple[str, ...] = ()
        self._forget()

    def _forget(self) -> None:
        self._verdict: Verdict | None = None
        self._fault = ""
        self._received = 0.0
        self._has_permitted = False

    def start_rollout(self) -> None:
        """A rollout begins: verdicts of the last one no longer count. A latched halt stays."""
        self._why_no_rollout = ""
        self._forget()

    def end_rollout(self, reason: str = "no rollout is running; call ~/start_rollout") -> None:
        """The rollout is over, for this reason: nothing is permitted until the next one starts."""
        self._why_no_rollout = reason
        self._forget()

    def enable(self, enabled: bool) -> None:
        """Take verdicts into account, or permit nothing at all."""
        self._enabled = enabled
        self._forget()

    def hear(self, verdict: Verdict, received: float, now: float) -> None:
        """Take the verdict on a decision that was received at `received`."""
        if self._listens:
            # A gap before this verdict counts, even if nobody asked for the status meanwhile.
            self._latch(self._live(now))
            self._verdict, self._fault, self._received = verdict, "", received
            self._latch(self._live(now))

    def fail(self, reason: str, now: float) -> None:
        """Take note that the newest decision could not be judged."""
        if self._listens:
            self._verdict, self._fault = None, reason
            self._latch(self._live(now))

    def doubt(self, problems: Sequence[str]) -> None:
        """Take note of all that is amiss with the inputs now, in words: none means they are fine.

        Nothing is permitted while an input is missing, late or not to be trusted.
        """
        self._problems = tuple(problems)

    def status(self, now: float) -> AlarmStatus:
        """The state at this moment; latches a halt when an input has ceased to come."""
        live = self._live(now)
        self._latch(live)
        if self._halt is None:
            return live
        if self._persists(live):
            return AlarmStatus(self._halt.state, self._halt.reason, permit=False, halted=True)
        gone = f"{self._halt.reason}; the cause is gone: call ~/reset to go on"
        return AlarmStatus(self._halt.state, gone, permit=False, halted=True)

    def reset(self, now: float) -> str:
        """Leave a latched halt.

        Returns:
            Why this is refused; empty when it is not.
        """
        live = self._live(now)
        self._latch(live)
        if self._persists(live):
            return f"the cause of the halt persists: {live.reason}"
        self._halt = None
        return ""

    @property
    def _listens(self) -> bool:
        return self._enabled and not self._why_no_rollout

    def _persists(self, live: AlarmStatus) -> bool:
        """Whether what is known now halts: an alarm, or an input that has ceased to come."""
        ceased = live.state == AlarmState.STALE and self._has_permitted
        return live.state == AlarmState.ALARM or ceased

    def _latch(self, live: AlarmStatus) -> None:
        self._has_permitted |= live.permit
        if not self._persists(live):
            return
        worse = self._halt is not None and (self._halt.state, live.state) == (
            AlarmState.STALE,
            AlarmState.ALARM,
        )
        if self._halt is None or worse:
            self._halt = Halt(live.state, live.reason)

    def _live(self, now: float) -> AlarmStatus:
        """The state by what is known now, as if no halt were latched."""
        if not self._enabled:
            return _stale("the monitor is disabled; call ~/enable")
        if self._why_no_rollout:
            return _stale("; ".join((self._why_no_rollout, *self._problems)))
        if self._fault:
            return AlarmStatus(AlarmState.ALARM, self._fault, permit=False)
        if self._verdict is None:
            return _stale("; ".join(("no decision since the rollout started", *self._problems)))
        if now - self._received > self.max_decision_age:
            late = (
                f"the last decision is older than {self.max_decision_age:g} s: the policy, the "
                "network or the scoring has stopped"
            )
            return _stale("; ".join((late, *self._problems)))
        if self._verdict.over:
            return AlarmStatus(AlarmState.ALARM, self._verdict.reason, permit=False)
        if self._problems:
            return _stale("; ".join(self._problems))
        if self._verdict.is_silent:
            return _stale(f"the rule cannot judge this decision: {self._verdict.reason}")
        if any(score.over for score in self._verdict.scores):
            return AlarmStatus(AlarmState.CAUTION, self._verdict.reason, permit=True)
        return AlarmStatus(AlarmState.NOMINAL, self._verdict.reason, permit=True)


def _stale(reason: str) -> AlarmStatus:
    return AlarmStatus(AlarmState.STALE, reason, permit=False)
