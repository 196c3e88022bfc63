# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Counts a rollout's decisions, and those among them that were not scored.

Every decision is received once and gets its number in the rollout. It waits until it is scored, or
until it is known that it cannot be; one that waits for long counts as not scored until then. Times
are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

RECENT = 50
"""Number of the last decisions whose share without a score is bounded."""

MAX_UNSCORED_SHARE = 0.1
"""Share of the recent decisions without a score above which too many are missing."""

MAX_WAIT = 0.5
"""Seconds for which a decision may wait before it counts as not scored: scoring takes
milliseconds, and a busy machine may take longer to get to it."""

NOT_YET_SCORED = "the scoring is late: this machine is busy, or the scores take long"


@dataclass
class _Decision:
    received: float
    why: str
    """Why it is not scored, or not yet."""
    is_at_work: bool = False
    """Whether all its parts have come, so that it waits for its score alone."""
    is_scored: bool = False
    is_settled: bool = False

    def is_unscored(self, now: float) -> bool:
        if self.is_settled:
            return not self.is_scored
        return now - self.received > MAX_WAIT


class DecisionTally:
    """The decisions of a rollout, and whether too many of the recent ones were not scored."""

    def __init__(self, max_unscored: int) -> None:
        """Start a rollout.

        Args:
            max_unscored: number of decisions in a row that may remain without a score.
        """
        self.max_unscored = max_unscored
        """Number of decisions in a row that may remain without a score."""
        self.start_rollout()

    def start_rollout(self) -> None:
        """Start a rollout: the next decision has the number 0."""
        self.received = 0
        """Number of decisions, which is the number of the next one."""
        self.unscored = 0
        """Number of decisions that cannot be scored."""
        self._recent: OrderedDict[int, _Decision] = OrderedDict()

    def reset(self, now: float, max_age: float) -> None:
        """Forgive what was missing so far, unless decisions without a score still come.

        Of a policy that was stopped no decision would come to make good for it. Decisions that
        wait for their scores alone are not forgiven: the scoring may hang.

        Args:
            now: the time.
            max_age: seconds for which a decision is good.
        """
        newest = next(self._last_unscored(now), None)
        goes_on = newest is not None and now - newest.received <= max_age
        if not (goes_on and self._in_a_row(now) > self.max_unscored):
            for number, decision in list(self._recent.items()):
                if decision.is_settled or not decision.is_at_work:
                    del self._recent[number]

    def receive(self, now: float, why: str = NOT_YET_SCORED) -> int:
        """Receive a decision that waits for its score; return its number.

        Args:
            now: the time.
            why: why it is not scored if it never is.
        """
        number, self.received = self.received, self.received + 1
        self._recent[number] = _Decision(now, why)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return number

    def lose(self, decisions: int, now: float, why: str) -> None:
        """Count decisions that were made and have not arrived."""
        # Those further back than the recent ones only add to the sums.
        unseen = max(decisions - RECENT, 0)
        self.received += unseen
        self.unscored += unseen
        for _ in range(decisions - unseen):
            self.set_unscored(self.receive(now), why)

    def set_waiting(self, number: int, why: str) -> None:
        """Record for what a decision waits, as why it is not scored if it never is."""
        if (decision := self._recent.get(number)) is not None:
            decision.why = why

    def set_at_work(self, number: int) -> None:
        """Record that all parts of a decision have come, and it waits for its score alone."""
        if (decision := self._recent.get(number)) is not None:
            decision.is_at_work, decision.why = True, NOT_YET_SCORED

    def set_scored(self, number: int) -> None:
        """Record that a decision was scored."""
        if (decision := self._recent.get(number)) is not None:
            decision.is_scored = decision.is_settled = True

    def set_unscored(self, number: int, why: str) -> None:
        """Record that a decision cannot be scored, and why."""
        self.unscored += 1
        if (decision := self._recent.get(number)) is not None:
            decision.is_settled, decision.why = True, why

    def drop(self, number: int) -> None:
        """Leave out a decision that a newer one has replaced by design."""
        self._recent.pop(number, None)

    def problem(self, now: float) -> str:
        """Return that too many decisions were not scored, and why; empty if they are not."""
        in_a_row, recently = self._in_a_row(now), self._recently(now)
        if in_a_row > self.max_unscored:
            what = f"{in_a_row} decision{'s in a row were' if in_a_row > 1 else ' was'}"
        elif recently > MAX_UNSCORED_SHARE * RECENT:
            what = f"{recently} of the last {len(self._recent)} decisions were"
        else:
            return ""
        last = next(one.why for one in reversed(self._recent.values()) if one.is_unscored(now))
        return f"{what} not scored{', the last because' if recently > 1 else ':'} {last}"

    def values(self, now: float) -> Mapping[str, str]:
        """Return the numbers as text, by name."""
        return {
            "received_decisions": str(self.received),
            "unscored_decisions": str(self.unscored),
            "unscored_in_a_row": str(self._in_a_row(now)),
            f"unscored_of_last_{RECENT}": str(self._recently(now)),
        }

    def _recently(self, now: float) -> int:
        return sum(one.is_unscored(now) for one in self._recent.values())

    def _in_a_row(self, now: float) -> int:
        return sum(1 for _ in self._last_unscored(now))

    def _last_unscored(self, now: float) -> Iterator[_Decision]:
        """Yield the decisions without a score since the last scored one, the newest first."""
        for decision in reversed(self._recent.values()):
            if decision.is_unscored(now):
                yield decision
            elif decision.is_settled:
                return
