# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Escalation: the means of a halting menu are tried in order until one is known to have stopped.

Pure: it says whom to ask next and keeps account of what came of it. Times are seconds of a
monotonic clock, handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class StopResult(Enum):
    """What came of asking one means to stop the policy."""

    STOPPED = "stopped"
    """It has stopped because of us, so it may be resumed."""
    AT_REST = "at rest"
    """It does not move, but not because of us, or there is nothing to resume."""
    SENT = "sent"
    """It was told, and is of a kind that cannot answer."""
    REFUSED = "refused"
    """It answered that it does not stop."""
    SILENT = "silent"
    """It has not answered in time."""

    @property
    def is_proof(self) -> bool:
        """Whether the policy is known to stand, so that nothing more need be tried."""
        return self in (StopResult.STOPPED, StopResult.AT_REST)


@dataclass(frozen=True)
class Step:
    """One entry of the menu.

    Attributes:
        name: of the means.
        timeout: seconds to wait for its answer before the next one is tried.
    """

    name: str
    timeout: float


@dataclass
class _Attempt:
    step: Step
    asked: float | None = None
    outcome: StopResult | None = None
    words: str = ""
    after: float = 0.0

    @property
    def waits(self) -> bool:
        return self.asked is not None and self.outcome is None


@dataclass
class Escalation:
    """One halt at a time.

    Attributes:
        steps: the menu, in order.
        stopped: the names of what stands because of us, in the order in which it was stopped; it
            outlasts the halt, until `resumed`.
        halting: whether a halt lasts.
        halts: how many there have been.
    """

    steps: Sequence[Step]
    stopped: list[str] = field(default_factory=list)
    halting: bool = False
    halts: int = 0
    _attempts: dict[str, _Attempt] = field(default_factory=dict)
    _resumptions: dict[str, str] = field(default_factory=dict)

    def halt(self, now: float) -> str:
        """Begin a halt; while one lasts this changes nothing.

        Returns:
            The name of the means to ask; empty for none.
        """
        if self.halting:
            return ""
        self.halting = True
        self.halts += 1
        self._attempts = {step.name: _Attempt(step) for step in self.steps}
        self._resumptions = {}
        return self._ask_next(now)

    def release(self) -> None:
        """The halt is over: nothing more is tried. What was stopped stays so."""
        self.halting = False

    def receive_answer(
        self, name: str, outcome: StopResult, words: str, now: float, *, halt: int
    ) -> str:
        """Take what came of asking; an answer may also come after its time, or after the halt.

        Args:
            name: of the means.
            outcome: what came of it.
            words: more of it.
            now: when.
            halt: the number of the halt in which it was asked, by `halts`.

        Returns:
            The name of the means to ask next; empty for none.
        """
        if outcome == StopResult.STOPPED and name not in self.stopped:
            self.stopped.append(name)
        attempt = self._attempts.get(name) if halt == self.halts else None
        if attempt is None or attempt.asked is None or self._is_settled(attempt):
            return ""
        attempt.outcome, attempt.words, attempt.after = outcome, words, now - attempt.asked
        return self._ask_next(now)

    def tick(self, now: float) -> str:
        """Give up on who has not answered in time.

        Returns:
            The name of the means to ask next; empty for none.
        """
        for attempt in self._attempts.values():
            late = attempt.waits and now - (attempt.asked or 0.0) >= attempt.step.timeout
            if late and self.halting:
                attempt.outcome = StopResult.SILENT
                return self._ask_next(now)
        return ""

    def resumed(self, name: str, words: str, *, success: bool) -> None:
        """Take what came of resuming one of `stopped`; it stays there without success."""
        if not self.halting:
            self._resumptions[name] = words
        if success and name in self.stopped:
            self.stopped.remove(name)

    @property
    def waiting_for(self) -> str:
        """The name of the means that was asked and has not answered; empty for none."""
        waiting = [name for name, attempt in self._attempts.items() if attempt.waits]
        return waiting[0] if self.halting and waiting else ""

    def report(self) -> dict[str, str]:
        """What was tried, what answered and what did not, in words, by the names of the means."""
        report = {"halting": self._summary()} if self.steps else {}
        for step in self.steps:
            words = self._resumptions.get(step.name) or self._words(step.name)
            report[f"halting.{step.name}"] = words
        return report

    def _is_settled(self, attempt: _Attempt) -> bool:
        # One that was given up may still answer, and then counts.
        return attempt.outcome is not None and attempt.outcome != StopResult.SILENT

    def _ask_next(self, now: float) -> str:
        attempts = self._attempts.values()
        over = not self.halting or any(attempt.waits for attempt in attempts)
        if over or self._proof:
            return ""
        for attempt in attempts:
            if attempt.asked is None:
                attempt.asked = now
                return attempt.step.name
        return ""

    @property
    def _proof(self) -> list[str]:
        return [
            name
            for name, attempt in self._attempts.items()
            if attempt.outcome is not None and attempt.outcome.is_proof
        ]

    def _summary(self) -> str:
        if not self.halting:
            if self.stopped:
                return f"no halt; call ~/resume to go on with {', '.join(self.stopped)}"
            return "no halt"
        if self._proof:
            return f"the policy stands: {self._proof[0]}"
        if self.waiting_for:
            return f"waiting for {self.waiting_for}; no command is permitted"
        return "nothing has answered that it stopped; no command is permitted"

    def _words(self, name: str) -> str:
        attempt = self._attempts.get(name)
        if attempt is None or attempt.asked is None:
            return "not tried"
        if attempt.outcome is None:
            return f"asked; no answer yet, within {attempt.step.timeout:g} s"
        if attempt.outcome == StopResult.SILENT:
            return attempt.words or f"no answer within {attempt.step.timeout:g} s"
        late = " late," if attempt.after >= attempt.step.timeout else ""
        return f"{attempt.outcome.value},{late} after {attempt.after:.3f} s: {attempt.words}"
