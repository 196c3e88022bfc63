# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The alarm's state machine: from verdicts and the time to a state and a permit.

It reads no clock: callers pass times, in seconds of a monotonic clock. It fails closed: whatever
is missing, late or broken is `STALE` or `ALARM`, and only a recent verdict below its thresholds is
`NOMINAL`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from failure_monitor.decision import Verdict
from failure_monitor.monitoring.plan_age import PlanAge
from failure_monitor.monitoring.response.debounce import Debounce
from failure_monitor.monitoring.response.table import Reaction, ResponseTable


class AlarmState(Enum):
    """The state of the policy, as far as it is known."""

    NOMINAL = "NOMINAL"
    CAUTION = "CAUTION"
    ALARM = "ALARM"
    STALE = "STALE"


@dataclass(frozen=True)
class AlarmStatus:
    """The alarm at one moment.

    Attributes:
        state: the alarm's state; while a halt is latched, the state that caused it.
        reason: why the alarm is in this state, as a sentence for the operator.
        permit: whether commands may pass.
        halted: whether a halt is latched until it is reset.
        reaction: how the robot has to react.
        now: while a halt is latched, the state as if none were, with its reason.
        halt_age: seconds since the halt; None without one, or if it was before this monitor.
    """

    state: AlarmState
    reason: str
    permit: bool
    halted: bool = False
    reaction: Reaction = Reaction.HOLD
    now: str = ""
    halt_age: float | None = None


@dataclass(frozen=True)
class Halt:
    """A latched halt.

    Attributes:
        state: the state that caused it.
        reason: its cause, for the operator.
        reaction: what is to be done about it. The stop menu is for what this monitor has seen: it
            does not stop a policy that was started anew with the monitor.
        since: when it was latched; None if that was before this monitor.
    """

    state: AlarmState
    reason: str
    reaction: Reaction = Reaction.HALT
    since: float | None = None


class Alarm:
    """The alarm's state, between one verdict and the next.

    The response table states how the robot reacts in each state. A halt latches: once commands
    were permitted and no longer are, they stay stopped until `reset`, which is rejected while the
    cause persists. Commands stop without latching at the end of a rollout, while the monitor is
    disabled, and where the table states `hold`. A decision that could not be scored always halts.

    A human who intervenes ends the policy's part of the rollout. That is a halt, too: the reset
    hands back, and is rejected while the human still intervenes.

    A halt outlasts the process by a mark, which is set aside before commands are permitted: see
    `needs_mark` and `restore_halt`.
    """

    def __init__(
        self,
        *,
        max_decision_age: float,
        table: ResponseTable | None = None,
        trigger: int = 1,
        release: int = 1,
    ) -> None:
        """Create the alarm, before the first rollout.

        Args:
            max_decision_age: seconds after which the last verdict is too old to permit commands.
            table: the reaction to each state.
            trigger: number of decisions in a row above the threshold that raise an alarm.
            release: number of decisions in a row not above the threshold that end an alarm.
        """
        self._table = table or ResponseTable()
        self._debounce = Debounce(trigger=trigger, release=release)
        self.max_decision_age = max_decision_age
        """Seconds after which the last verdict is too old to permit commands."""
        self.max_plan_age: float | None = None
        """Seconds after which a plan is too old to be executed; None for no bound."""
        self._enabled = True
        self._halt: Halt | None = None
        self._why_no_rollout = "no rollout is running; call ~/start_rollout"
        self._intervention = ""
        self._taken_over = ""
        self._problems: tuple[str, ...] = ()
        self._stopped_by = ""
        self._is_slowed = False
        self._reset_at = float("-inf")
        self._forget()

    def _forget(self) -> None:
        self._await_decision("the rollout started")
        self._debounce.start_rollout()

    def _await_decision(self, since: str) -> None:
        """Permit nothing before the next decision; until then, silence is no reason to halt."""
        self._since = since
        self._verdict: Verdict | None = None
        self._fault = ""
        self._received: float | None = None
        self._age_on_arrival = 0.0
        self._has_permitted = False

    def start_rollout(self) -> None:
        """Start a rollout: earlier verdicts no longer count, and a latched halt stays."""
        self._why_no_rollout = ""
        self._taken_over = self._intervention
        self._forget()

    def end_rollout(self, reason: str = "no rollout is running; call ~/start_rollout") -> None:
        """End the rollout: no command is permitted until the next one starts.

        Args:
            reason: why no rollout is running.
        """
        self._why_no_rollout = reason
        self._taken_over = ""
        self._forget()

    def enable(self, enabled: bool) -> None:
        """Enable the monitor, or disable it: verdicts are ignored then, nothing is permitted."""
        self._enabled = enabled
        self._forget()

    def update(
        self, verdict: Verdict, received: float, now: float, *, age_on_arrival: float = 0.0
    ) -> None:
        """Receive the verdict on the newest decision.

        Args:
            verdict: the verdict.
            received: when the decision was received.
            now: the time.
            age_on_arrival: seconds by which its observation was older than that.
        """
        if self._is_watching:
            # A gap before this verdict halts, even if the status was not read during the gap.
            self._latch(self._live(now), now)
            self._debounce.update(verdict.calls_for_alarm)
            if received < self._reset_at and not verdict.calls_for_alarm:
                # It was made before the reset, and scored late.
                return
            self._verdict, self._fault, self._received = verdict, "", received
            self._age_on_arrival = age_on_arrival
            self._latch(self._live(now), now)

    def fail(self, reason: str, now: float) -> None:
        """Record that the newest decision could not be scored.

        Args:
            reason: why not.
            now: the time.
        """
        if self._is_watching:
            self._verdict, self._fault, self._received = None, reason, now
            self._debounce.update(True)
            self._latch(self._live(now), now)

    def set_input_problems(self, problems: Sequence[str]) -> None:
        """Set the present problems of the inputs: no command is permitted while there is one.

        Args:
            problems: a sentence for each input that is missing, late or not to be trusted.
        """
        self._problems = tuple(problems)

    def set_intervention(self, reason: str) -> None:
        """Set whether a human intervenes at present, which ends the policy's part of a rollout.

        Args:
            reason: by which that is known; empty if none does.
        """
        self._intervention = reason
        if reason and not self._why_no_rollout:
            self._taken_over = self._taken_over or reason

    def set_stopped(self, action: str) -> None:
        """Set which stop action keeps the policy silent, so that its silence is no cause of a
        halt.

        Args:
            action: its name; empty for none.
        """
        self._stopped_by = action

    def set_slowed(self, slowed: bool) -> None:
        """Set whether anything slows the robot down where `replan` is the reaction to an alarm."""
        self._is_slowed = slowed

    def plan_age(self, now: float) -> PlanAge | None:
        """Return how old the plan of the last verdict is; None without one."""
        if self._verdict is None or self._received is None:
            return None
        return PlanAge(self._age_on_arrival, now - self._received)

    @property
    def expects_silence(self) -> bool:
        """Whether the policy is silent because a stop action keeps it so."""
        return bool(self._stopped_by) and not self._is_permitting

    @property
    def is_halted(self) -> bool:
        """Whether a halt is latched."""
        return self._halt is not None

    @property
    def is_taken_over(self) -> bool:
        """Whether a human has ended the policy's part of this rollout."""
        return bool(self._taken_over)

    @property
    def is_in_human_hands(self) -> bool:
        """Whether a human intervenes, or did and has not handed back."""
        return bool(self._taken_over or self._intervention)

    @property
    def needs_mark(self) -> bool:
        """Whether a monitor that starts after this one was killed must be halted.

        That is so while commands may be permitted, and until a halt is reset.
        """
        return not self._why_no_rollout or self._halt is not None

    def restore_halt(self, reason: str) -> None:
        """Halt because an earlier monitor did, or did not end in order.

        Args:
            reason: by which this is known.
        """
        if self._halt is None:
            self._halt = Halt(AlarmState.STALE, reason, Reaction.HOLD)

    def status(self, now: float) -> AlarmStatus:
        """Return the state at this moment, after latching a halt if an input no longer arrives."""
        live = self._live(now)
        self._latch(live, now)
        if self._halt is None:
            return live
        is_same = live.reason == self._halt.reason
        if self._persists(live):
            before = "" if is_same or not self._intervention else f"{self._intervention}; before: "
            return self._halted(before + self._halt.reason, live, now)
        # The remedy comes first, because a display may not have room for the whole reason.
        reason = f"the cause is gone: call ~/reset to go on; it was: {self._halt.reason}"
        is_awaited = live.state == AlarmState.STALE and not is_same
        awaited = f"; now {live.reason}" if is_awaited else ""
        return self._halted(reason + awaited, live, now)

    def reset(self, now: float) -> str:
        """Leave a latched halt; nothing is permitted before the next decision.

        Returns:
            Why the reset is rejected; empty if it is accepted.
        """
        live = self._live(now)
        self._latch(live, now)
        if self._persists(live):
            return f"the cause of the halt persists: {self._intervention or live.reason}"
        if self._halt is not None:
            self._halt = None
            self._await_decision("the reset")
            self._reset_at = now
            if self._taken_over:
                # What the policy decides from now on is no part of what it did before the human.
                self._taken_over = ""
                self._debounce.start_rollout()
        return ""

    @property
    def _is_watching(self) -> bool:
        return self._enabled and not self._why_no_rollout and not self._taken_over

    def _halted(self, reason: str, live: AlarmStatus, now: float) -> AlarmStatus:
        assert self._halt is not None
        since = self._halt.since
        return AlarmStatus(
            self._halt.state,
            reason,
            permit=False,
            halted=True,
            reaction=self._halt.reaction,
            now=f"{live.state.value}: {live.reason}",
            halt_age=None if since is None else now - since,
        )

    def _persists(self, live: AlarmStatus) -> bool:
        """Return whether the present state halts: an alarm, an input that no longer arrives, or
        a human who intervenes."""
        return live.reaction == Reaction.HALT or bool(self._intervention)

    def _latch(self, live: AlarmStatus, now: float) -> None:
        self._has_permitted |= live.permit
        if live.reaction != Reaction.HALT and not (self._taken_over and self._enabled):
            return
        worse = self._halt is not None and (self._halt.state, live.state) == (
            AlarmState.STALE,
            AlarmState.ALARM,
        )
        if self._halt is None or worse:
            self._halt = Halt(live.state, live.reason, live.reaction, since=now)

    def _live(self, now: float) -> AlarmStatus:
        """Return the present state, as if no halt were latched."""
        disabled = "" if self._enabled else "the monitor is disabled; call ~/enable"
        if disabled or self._why_no_rollout:
            why = (disabled, self._why_no_rollout, self._intervention, *self._problems)
            return _status(AlarmState.STALE, "; ".join(filter(None, why)), Reaction.HOLD)
        if self._taken_over:
            return self._in_human_hands()
        if self.expects_silence and self._is_silent(now):
            return self._stopped()
        if self._fault:
            # A problem of the inputs may be why the decision could not be scored.
            reason = "; ".join((self._fault, *self._problems))
            return _status(AlarmState.ALARM, reason, Reaction.HALT)
        if self._verdict is None:
            return self._stale(f"no decision since {self._since}", *self._problems)
        if self._is_silent(now):
            late = (
                f"the last decision is older than {self.max_decision_age:g} s: the policy, the "
                "network or the scoring has stopped"
            )
            return self._stale(late, *self._problems)
        return self._status_by_verdict(self._verdict, now)

    def _plan_problem(self, now: float) -> str:
        """Return that the plan is too old to be executed; empty if it is not."""
        age = self.plan_age(now)
        if age is None or self.max_plan_age is None:
            return ""
        return age.problem(self.max_plan_age)

    def _is_silent(self, now: float) -> bool:
        return self._received is None or now - self._received > self.max_decision_age

    @property
    def _is_permitting(self) -> bool:
        """Whether commands have been permitted, and were so up to now."""
        return self._has_permitted and self._halt is None

    def _in_human_hands(self) -> AlarmStatus:
        """Return the state after a human took over. Nothing is done to the robot that is theirs:
        the stop menu is for a policy that has failed by itself."""
        reason = f"{self._taken_over}; the policy's part of this rollout has ended"
        return _status(AlarmState.STALE, reason, Reaction.HOLD)

    def _stopped(self) -> AlarmStatus:
        """Return the state while a stop action keeps the policy silent."""
        reason = f"'{self._stopped_by}' has stopped the policy: call ~/resume"
        if self._problems:
            return self._stale(reason, *self._problems)
        return _status(AlarmState.STALE, reason, Reaction.HOLD)

    def _status_by_verdict(self, verdict: Verdict, now: float) -> AlarmStatus:
        """Return the state by a recent verdict."""
        reaction = self._reaction_to_alarm(verdict)
        counts = self._debounce.reason(verdict.calls_for_alarm)
        why_halted = self._no_replan if reaction == Reaction.HALT else ""
        reason = "; ".join(filter(None, (verdict.reason, counts, why_halted)))
        if reaction is not None and not reaction.permits:
            return _status(AlarmState.ALARM, reason, reaction)
        problems = (*filter(None, (self._plan_problem(now),)), *self._problems)
        if problems:
            return self._stale(*problems)
        if reaction is not None:
            return _status(AlarmState.ALARM, reason, reaction)
        if verdict.is_undefined:
            return self._stale(f"the rule is undefined for this decision: {verdict.reason}")
        above = verdict.calls_for_alarm or any(each.is_above_threshold for each in verdict.scores)
        if above or verdict.caution:
            return _status(AlarmState.CAUTION, reason, self._table.caution)
        return _status(AlarmState.NOMINAL, reason, self._table.nominal)

    def _reaction_to_alarm(self, verdict: Verdict) -> Reaction | None:
        """Return the table's reaction to an alarm; None while there is no alarm."""
        if math.isnan(verdict.level):
            # The rule is broken: further decisions would show nothing, so the count is not
            # awaited.
            return Reaction.HALT
        if not self._debounce.holds:
            return None
        return Reaction.HALT if self._no_replan else self._table.alarm

    @property
    def _no_replan(self) -> str:
        """Why the policy may not re-plan in an alarm; empty if it may, or need not."""
        if self._table.alarm != Reaction.REPLAN:
            return ""
        if not self._is_slowed:
            return (
                "nothing subscribes to ~/speed_scale, so the robot would not be slowed: set "
                "'scaled' for the gate's commands, or 'response.alarm' to halt"
            )
        if self._debounce.held > self._table.max_replans:
            return f"re-planned for {self._table.max_replans} decisions"
        return ""

    def _stale(self, *reasons: str) -> AlarmStatus:
        """Return the state while something is missing, a halt only if commands were permitted."""
        reaction = self._table.stale if self._has_permitted else Reaction.HOLD
        return _status(AlarmState.STALE, "; ".join(reasons), reaction)


def _status(state: AlarmState, reason: str, reaction: Reaction) -> AlarmStatus:
    return AlarmStatus(state, reason, permit=reaction.permits, reaction=reaction)
