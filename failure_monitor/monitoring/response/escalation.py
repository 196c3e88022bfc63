# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Escalation: the actions of a stop menu are tried in order until one is known to have stopped.

It calls nobody and reads no clock: it names the action to try next and records the results.
Callers pass times, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class StopResult(Enum):
    """The result of one stop action."""

    STOPPED = "stopped"
    """The action stopped the policy, which may be resumed."""
    ENDED = "ended"
    """The action stopped the policy, and cannot resume it."""
    AT_REST = "at rest"
    """The policy stood already."""
    SENT = "sent"
    """The action was requested, and is of a kind that cannot answer."""
    REFUSED = "refused"
    """The answer was that the policy does not stop."""
    SILENT = "silent"
    """No answer arrived in time."""

    @property
    def is_proof(self) -> bool:
        """Whether the policy is known to stand still, so that no further action is needed."""
        return self in (StopResult.STOPPED, StopResult.ENDED, StopResult.AT_REST)

    @property
    def is_ours(self) -> bool:
        """Whether the action has made the policy stand still."""
        return self in (StopResult.STOPPED, StopResult.ENDED)


@dataclass(frozen=True)
class Step:
    """One action of the stop menu.

    Attributes:
        name: the action's name.
        timeout: seconds to wait for its answer before the next action is tried.
    """

    name: str
    timeout: float


@dataclass
class _Attempt:
    step: Step
    started: float | None = None
    result: StopResult | None = None
    details: str = ""
    duration: float = 0.0

    @property
    def is_waiting(self) -> bool:
        return self.started is not None and self.result is None


@dataclass
class Escalation:
    """The stop sequence of one halt at a time.

    Attributes:
        steps: the stop menu, in order.
        stopped: the names of the actions that stopped something, in that order. They outlast the
            halt, until what they stopped is resumed.
        is_halted: whether a halt lasts.
        halts: the number of halts so far.
    """

    steps: Sequence[Step]
    stopped: list[str] = field(default_factory=list)
    is_halted: bool = False
    halts: int = 0
    _attempts: dict[str, _Attempt] = field(default_factory=dict)
    _resumptions: dict[str, str] = field(default_factory=dict)

    def halt(self, now: float) -> str:
        """Start a halt; while one lasts this changes nothing.

        Returns:
            The name of the action to start; empty for none.
        """
        if self.is_halted:
            return ""
        self.is_halted = True
        self.halts += 1
        self._attempts = {step.name: _Attempt(step) for step in self.steps}
        self._resumptions = {}
        return self._start_next(now)

    def release(self) -> None:
        """End the halt: no further action is tried, and what was stopped stays stopped."""
        self.is_halted = False

    def receive_answer(
        self, name: str, result: StopResult, details: str, now: float, *, halt: int
    ) -> str:
        """Receive the result of an action, which may arrive after its timeout or after the halt.

        Args:
            name: the action's name.
            result: its result.
            details: the answer, for the report.
            now: the time.
            halt: the number of the halt in which the action was started, by `halts`.

        Returns:
            The name of the action to start next; empty for none.
        """
        if result == StopResult.STOPPED and name not in self.stopped:
            self.stopped.append(name)
        attempt = self._attempts.get(name) if halt == self.halts else None
        if attempt is None or attempt.started is None or self._is_settled(attempt):
            return ""
        attempt.result, attempt.details = result, details
        attempt.duration = now - attempt.started
        return self._start_next(now)

    def tick(self, now: float) -> str:
        """Give up on an action that has not answered in time.

        Returns:
            The name of the action to start next; empty for none.
        """
        for attempt in self._attempts.values():
            late = attempt.is_waiting and now - (attempt.started or 0.0) >= attempt.step.timeout
            if late and self.is_halted:
                attempt.result = StopResult.SILENT
                return self._start_next(now)
        return ""

    def retry(self, name: str, now: float) -> str:
        """Try an action again whose turn had come, as what it requests has appeared since.

        Returns:
            The name of the action to start; empty for none.
        """
        attempt = self._attempts.get(name)
        can_wait = self.is_halted and not self.waiting_for
        if attempt is None or attempt.started is None or not can_wait:
            return ""
        self._attempts[name] = _Attempt(attempt.step, started=now)
        return name

    def receive_resumption(self, name: str, details: str, *, success: bool) -> None:
        """Receive the result of resuming one of `stopped`, which stays there without success."""
        if not self.is_halted:
            self._resumptions[name] = details
        if success and name in self.stopped:
            self.stopped.remove(name)

    @property
    def waiting_for(self) -> str:
        """The name of the action that was started and has not answered; empty for none."""
        waiting = [name for name, attempt in self._attempts.items() if attempt.is_waiting]
        return waiting[0] if self.is_halted and waiting else ""

    @property
    def tried(self) -> list[str]:
        """The names of the actions whose turn has come in this halt; empty without one."""
        if not self.is_halted:
            return []
        return [name for name, attempt in self._attempts.items() if attempt.started is not None]

    @property
    def has_proof(self) -> bool:
        """Whether the policy is known to stand still in this halt."""
        return bool(self._proof)

    @property
    def stopped_by(self) -> str:
        """The name of an action that keeps the policy from deciding; empty for none."""
        if not self.is_halted:
            return next(iter(self.stopped), "")
        attempts = self._attempts.items()
        return next((name for name, one in attempts if one.result and one.result.is_ours), "")

    def report(self) -> dict[str, str]:
        """Return a summary and the result of each action, as key values of the alarm."""
        report = {"halting": self._summary()} if self.steps else {}
        for step in self.steps:
            text = self._resumptions.get(step.name) or self._result_text(step.name)
            report[f"halting.{step.name}"] = text
        return report

    def _is_settled(self, attempt: _Attempt) -> bool:
        # An action that was given up, or did not stop the policy, may still do so.
        return attempt.result is not None and attempt.result.is_proof

    def _start_next(self, now: float) -> str:
        attempts = self._attempts.values()
        is_waiting = any(attempt.is_waiting for attempt in attempts)
        if not self.is_halted or is_waiting or self._proof:
            return ""
        for attempt in attempts:
            if attempt.started is None:
                attempt.started = now
                return attempt.step.name
        return ""

    @property
    def _proof(self) -> list[str]:
        return [
            name
            for name, attempt in self._attempts.items()
            if attempt.result is not None and attempt.result.is_proof
        ]

    def _summary(self) -> str:
        if not self.is_halted:
            if self.stopped:
                return f"no halt; call ~/resume to go on with {', '.join(self.stopped)}"
            return "no halt"
        if self._proof:
            return f"the policy stands: {self._proof[0]}"
        if self.waiting_for:
            return f"waiting for {self.waiting_for}; no command is permitted"
        return "nothing has answered that it stopped; no command is permitted"

    def _result_text(self, name: str) -> str:
        attempt = self._attempts.get(name)
        if attempt is None or attempt.started is None:
            return "not tried"
        if attempt.result is None:
            return f"requested; no answer yet, timeout {attempt.step.timeout:g} s"
        if attempt.result == StopResult.SILENT:
            return attempt.details or f"no answer within {attempt.step.timeout:g} s"
        late = " late," if attempt.duration >= attempt.step.timeout else ""
        return f"{attempt.result.value},{late} after {attempt.duration:.3f} s: {attempt.details}"
