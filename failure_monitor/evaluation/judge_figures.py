# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an outside judge makes of rollouts of known outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from failure_monitor.evaluation.metrics import clopper_pearson
from failure_monitor.judges.judge import CalibratedJudge, JudgeVerdict, JudgeWord
from failure_monitor.sources.judged_rollouts import JudgedRollout, require_numbers
from failure_monitor.text_table import TextTable

UNDEFINED = "–"


@dataclass(frozen=True)
class JudgeCount:
    """How often a judge accepts and doubts the rollouts of a class.

    Attributes:
        rollouts: of the class.
        accepted: of these.
        doubtful: of these.
        asked: of these, a human is to be asked.
        wrong: of these: failures that are accepted, or successes that are doubted.
        interval: the 95 % Clopper–Pearson interval of the share of wrong ones; None without any
            rollout.
    """

    rollouts: int
    accepted: int
    doubtful: int
    asked: int
    wrong: int
    interval: tuple[float, float] | None

    @property
    def share(self) -> float | None:
        """The share of wrong ones."""
        return self.wrong / self.rollouts if self.rollouts else None

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON's own types."""
        return {**vars(self), "share": self.share}


@dataclass(frozen=True)
class JudgeFigures:
    """What a judge makes of rollouts of known outcome.

    Attributes:
        judge: the judge.
        rollouts: those with a known outcome and a finite number.
        left_out: how many others there were, by the reason.
    """

    judge: CalibratedJudge
    rollouts: tuple[tuple[JudgedRollout, JudgeVerdict], ...]
    left_out: dict[str, int]

    @property
    def failures(self) -> JudgeCount:
        """What is made of failures."""
        return self._count(success=False, wrong=JudgeWord.ACCEPTED)

    @property
    def successes(self) -> JudgeCount:
        """What is made of true successes."""
        return self._count(success=True, wrong=JudgeWord.DOUBTFUL)

    @property
    def has_calibrated_it(self) -> bool:
        """Whether the judge has the numbers of these rollouts: they seem to have calibrated it."""
        return self._numbers(True) == self.judge.successes and (
            self._numbers(False) == self.judge.failures
        )

    @property
    def summary(self) -> str:
        """What is promised."""
        words = (
            f"Promised is that at most {self.judge.supported_rate:.3g} of failures like the "
            f"{len(self.judge.failures)} labelled ones are accepted, and at most "
            f"{self.judge.doubted_successes:g} of true successes like the "
            f"{len(self.judge.successes)} labelled ones are doubted. How many are left to a human "
            "is not promised."
        )
        if self.has_calibrated_it:
            words += " Beware: these rollouts calibrated the judge, and flatter it."
        return words

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's own types."""
        return {
            "name": self.judge.name,
            "accepted_failures": self.judge.supported_rate,
            "doubted_successes": self.judge.doubted_successes,
            "failures": self.failures.to_json(),
            "successes": self.successes.to_json(),
            "left_out": self.left_out,
            "rollouts": [
                {
                    "id": rollout.name,
                    "success": rollout.success,
                    "outcome_by": rollout.by,
                    "value": rollout.value,
                    "word": verdict.word.value,
                    "reason": verdict.reason,
                }
                for rollout, verdict in self.rollouts
            ],
        }

    def _count(self, *, success: bool, wrong: JudgeWord) -> JudgeCount:
        words = [verdict.word for each, verdict in self.rollouts if each.success is success]
        counts = Counter(words)
        return JudgeCount(
            rollouts=len(words),
            accepted=counts[JudgeWord.ACCEPTED],
            doubtful=counts[JudgeWord.DOUBTFUL],
            asked=counts[JudgeWord.ASK],
            wrong=counts[wrong],
            interval=clopper_pearson(counts[wrong], len(words)),
        )

    def _numbers(self, success: bool) -> tuple[float, ...]:
        return tuple(
            sorted(
                each.value
                for each, _ in self.rollouts
                if each.success is success and each.value is not None
            )
        )


def judge_figures(judge: CalibratedJudge, judged: Sequence[JudgedRollout]) -> JudgeFigures:
    """Return what a judge makes of labelled rollouts.

    Raises:
        SourceError: it has a number of none of them.
    """
    require_numbers(judge.name, judged)
    return JudgeFigures(
        judge,
        tuple(
            (each, judge.verdict(each.value))
            for each in judged
            if each.value is not None and not each.why_left_out
        ),
        dict(Counter(each.why_left_out for each in judged if each.why_left_out)),
    )


def judge_table(figures: JudgeFigures) -> TextTable:
    """Return the figures as a table."""
    rows = (
        ("failures", "accepted", figures.failures, figures.judge.supported_rate),
        ("true successes", "doubtful", figures.successes, figures.judge.doubted_successes),
    )
    others = "".join(f" Left out, {count}: {why}." for why, count in figures.left_out.items())
    return TextTable(
        title=f"The judge {figures.judge.name}",
        columns=(
            "rollouts",
            "judged",
            *(word.value for word in JudgeWord),
            "wrong",
            "95 % interval",
            "promised",
        ),
        rows=tuple(
            (title, *_cells(count), f"≤ {promised:.3g} {wrong}")
            for title, wrong, count, promised in rows
        ),
        caption=figures.summary + others,
    )


def _cells(count: JudgeCount) -> tuple[str, ...]:
    low, high = count.interval or (None, None)
    return (
        *map(str, (count.rollouts, count.accepted, count.doubtful, count.asked)),
        UNDEFINED if count.share is None else f"{count.share:.2f}",
        UNDEFINED if low is None else f"{low:.2f}–{high:.2f}",
    )
