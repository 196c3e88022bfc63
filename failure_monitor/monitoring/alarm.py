# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The alarm state machine: verdicts and the passing of time in, state and permit out.

Pure: times are seconds of a monotonic clock, handed in. It fails closed: whatever is missing,
late or broken is `STALE` or `ALARM`, and only a young verdict below its thresholds is `NOMINAL`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from failure_monitor.decision import Verdict
from failure_monitor.monitoring.response.debounce import Debounce
from failure_monitor.monitoring.response.table import Reaction, ResponseTable


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
        reaction: what is to be done.
    """

    state: AlarmState
    reason: str
    permit: bool
    halted: bool = False
    reaction: Reaction = Reaction.HOLD


@dataclass(frozen=True)
class Halt:
    """Why commands were stopped."""

    state: AlarmState
    reason: str


class Alarm:
    """The state between verdicts.

    What is done in which state, the response table says. A halt latches: once commands were
    permitted and no longer are, they stay stopped until `reset`, which is refused while the cause
    persists. Only the end of a rollout, the monitor being disabled, or a table that asks for it
    stops commands without latching. What could not be judged halts, whatever the table says.
    """

    def __init__(
        self,
        *,
        max_decision_age: float,
        table: ResponseTable | None = None,
        trigger: int = 1,
        release: int = 1,
    ) -> None:
        """Before the first rollout.

        Args:
            max_decision_age: seconds after which the last verdict is too old to permit anything.
            table: what is done in which state.
            trigger: how many decisions in a row the rule must hold for an alarm.
            release: how many in a row it must not hold for the end of one.
        """
        self._table = table or ResponseTable()
        self._debounce = Debounce(trigger=trigger, release=release)
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
        self._debounce.start_rollout()

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

    def update(self, verdict: Verdict, received: float, now: float) -> None:
        """Take the verdict on a decision that was received at `received`."""
        if self._listens:
            # A gap before this verdict counts, even if nobody asked for the status meanwhile.
            self._latch(self._live(now))
            self._verdict, self._fault, self._received = verdict, "", received
            self._debounce.update(verdict.calls_for_alarm)
            self._latch(self._live(now))

    def fail(self, reason: str, now: float) -> None:
        """Take note that the newest decision could not be judged."""
        if self._listens:
            self._verdict, self._fault = None, reason
            self._debounce.update(True)
            self._latch(self._live(now))

    def set_input_problems(self, problems: Sequence[str]) -> None:
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
            return self._halted(self._halt.reason)
        # First what is to be done: a display may have no room for all of the reason.
        return self._halted(
            f"the cause is gone: call ~/reset to go on; it was: {self._halt.reason}"
        )

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

    def _halted(self, reason: str) -> AlarmStatus:
        assert self._halt is not None
        return AlarmStatus(
            self._halt.state, reason, permit=False, halted=True, reaction=Reaction.HALT
        )

    def _persists(self, live: AlarmStatus) -> bool:
        """Whether what is known now halts: an alarm, or an input that has ceased to come."""
        return live.reaction == Reaction.HALT

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
            return _status(
                AlarmState.STALE, "the monitor is disabled; call ~/enable", Reaction.HOLD
            )
        if self._why_no_rollout:
            words = "; ".join((self._why_no_rollout, *self._problems))
            return _status(AlarmState.STALE, words, Reaction.HOLD)
        if self._fault:
            # What is amiss with the inputs may be why it could not be judged.
            words = "; ".join((self._fault, *self._problems))
            return _status(AlarmState.ALARM, words, Reaction.HALT)
        if self._verdict is None:
            return self._stale("no decision since the rollout started", *self._problems)
        if now - self._received > self.max_decision_age:
            late = (
                f"the last decision is older than {self.max_decision_age:g} s: the policy, the "
                "network or the scoring has stopped"
            )
            return self._stale(late, *self._problems)
        return self._judged(self._verdict)

    def _judged(self, verdict: Verdict) -> AlarmStatus:
        """The state by a young verdict."""
        words = "; ".join(
            filter(None, (verdict.reason, self._debounce.reason(verdict.calls_for_alarm)))
        )
        reaction = self._reaction_to_alarm(verdict)
        if reaction is not None and not reaction.permits:
            return _status(AlarmState.ALARM, words, reaction)
        if self._problems:
            return self._stale(*self._problems)
        if reaction is not None:
            return _status(AlarmState.ALARM, words, reaction)
        if verdict.is_silent:
            return self._stale(f"the rule cannot judge this decision: {verdict.reason}")
        if verdict.calls_for_alarm or any(score.is_above_threshold for score in verdict.scores):
            return _status(AlarmState.CAUTION, words, self._table.caution)
        return _status(AlarmState.NOMINAL, words, self._table.nominal)

    def _reaction_to_alarm(self, verdict: Verdict) -> Reaction | None:
        """What the table says to an alarm, if there is one."""
        if math.isnan(verdict.level):
            # Neither rare nor frequent, but broken: nothing is to be waited for.
            return Reaction.HALT
        if not self._debounce.holds:
            return None
        has_replanned = self._debounce.held > self._table.most_replans
        if self._table.alarm == Reaction.REPLAN and has_replanned:
            return Reaction.HALT
        return self._table.alarm

    def _stale(self, *reasons: str) -> AlarmStatus:
        """Something does not come: a halt only if it has come before."""
        reaction = self._table.stale if self._has_permitted else Reaction.HOLD
        return _status(AlarmState.STALE, "; ".join(reasons), reaction)


def _status(state: AlarmState, reason: str, reaction: Reaction) -> AlarmStatus:
    return AlarmStatus(state, reason, permit=reaction.permits, reaction=reaction)
