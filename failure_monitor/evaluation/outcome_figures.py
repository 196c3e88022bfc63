# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the outcome check finds in rollouts of known outcome, true and false successes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from failure_monitor.decision import Rollout
from failure_monitor.evaluation.metrics import IN_DISTRIBUTION_GROUPS, clopper_pearson
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.outcome.verdict import OutcomeVerdict, OutcomeWord
from failure_monitor.text_table import TextTable

UNDEFINED = "–"


@dataclass(frozen=True)
class CheckedRollout:
    """What the outcome check says of a rollout that claims success.

    Attributes:
        name: of the rollout.
        success: whether it really succeeded.
        outcome_by: who states that.
        is_undisturbed: whether nothing disturbed it, so that the promise is about it.
        verdict: of the check.
    """

    name: str
    success: bool
    outcome_by: str
    is_undisturbed: bool
    verdict: OutcomeVerdict


@dataclass(frozen=True)
class OutcomeCount:
    """How many of some rollouts are doubted.

    Attributes:
        rollouts: that claim success.
        not_judged: of these.
        doubted: of these.
        interval: the 95 % Clopper–Pearson interval of the share of doubted ones among those that
            are judged; None without any.
    """

    rollouts: int
    not_judged: int
    doubted: int
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, checked: Sequence[CheckedRollout]) -> OutcomeCount:
        """Count rollouts."""
        words = Counter(each.verdict.word for each in checked)
        doubted, unknown = words[OutcomeWord.DOUBTFUL], words[OutcomeWord.NOT_JUDGED]
        interval = clopper_pearson(doubted, len(checked) - unknown)
        return cls(len(checked), unknown, doubted, interval)

    @property
    def judged(self) -> int:
        """The number of rollouts that are judged."""
        return self.rollouts - self.not_judged

    @property
    def share(self) -> float | None:
        """The share of doubted ones among these."""
        return self.doubted / self.judged if self.judged else None

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON's own types."""
        return {**vars(self), "share": self.share}


@dataclass(frozen=True)
class OutcomeFigures:
    """What an outcome check does on rollouts of known outcome.

    Attributes:
        alpha: the promised share of true successes that are doubted.
        rollouts: those that claim success: a success that claims nothing counts as if it did,
            and a failure that does not claim success is none of the check's.
    """

    alpha: float
    rollouts: tuple[CheckedRollout, ...]

    @property
    def true_successes(self) -> OutcomeCount:
        """True successes that nothing disturbed, which the promise is about."""
        return OutcomeCount.of([r for r in self.rollouts if r.success and r.is_undisturbed])

    @property
    def disturbed_successes(self) -> OutcomeCount:
        """True successes although something disturbed them."""
        return OutcomeCount.of([r for r in self.rollouts if r.success and not r.is_undisturbed])

    @property
    def false_successes(self) -> OutcomeCount:
        """Failures that claim success."""
        return OutcomeCount.of([r for r in self.rollouts if not r.success])

    @property
    def reasons(self) -> dict[str, int]:
        """Why rollouts are not judged, and how many."""
        words = [r.verdict for r in self.rollouts if r.verdict.word is OutcomeWord.NOT_JUDGED]
        return dict(Counter(verdict.reason for verdict in words).most_common())

    @property
    def summary(self) -> str:
        """What is promised, and what is not."""
        return (
            f"Promised is that at most {self.alpha:g} of true successes like those of calibration "
            "are doubted, as the false-alarm rate is promised. How many false successes are found "
            "is not promised: it depends on how unlike true ends theirs are."
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's own types."""
        return {
            "alpha": self.alpha,
            "true_successes": self.true_successes.to_json(),
            "disturbed_successes": self.disturbed_successes.to_json(),
            "false_successes": self.false_successes.to_json(),
            "not_judged": self.reasons,
            "rollouts": [
                {
                    "id": each.name,
                    "success": each.success,
                    "outcome_by": each.outcome_by,
                    "outcome": each.verdict.word.value,
                    "reason": each.verdict.reason,
                    "level": each.verdict.level,
                }
                for each in self.rollouts
            ],
        }


def outcome_figures(
    check: OutcomeCheck | None, rollouts: Sequence[Rollout]
) -> OutcomeFigures | None:
    """Check the ends of rollouts of known outcome that claim success; None without a check.

    Those in which a human intervened are left out: their ends are not the policy's.
    """
    if check is None:
        return None
    claiming = [
        rollout
        for rollout in rollouts
        if not rollout.has_intervention
        and (rollout.claim or (rollout.claim is None and rollout.success))
    ]
    return OutcomeFigures(check.alpha, tuple(_checked(check, each) for each in claiming))


def _checked(check: OutcomeCheck, rollout: Rollout) -> CheckedRollout:
    end = RolloutEnd.of_rollout(rollout)
    assert end is not None, "rollouts that are evaluated have a decision"
    return CheckedRollout(
        rollout.name,
        bool(rollout.success),
        rollout.outcome_by,
        rollout.group in IN_DISTRIBUTION_GROUPS,
        check.check(end, rollout.task),
    )


def outcome_table(figures: OutcomeFigures) -> TextTable:
    """Return the figures as a table."""
    rows = (
        ("true successes, undisturbed", figures.true_successes),
        ("true successes, disturbed", figures.disturbed_successes),
        ("false successes", figures.false_successes),
    )
    unknown = "".join(f" Not judged, {n}: {reason}." for reason, n in figures.reasons.items())
    return TextTable(
        title="The outcome check of rollouts that claim success",
        columns=("rollouts", "claimed", "judged", "doubted", "share", "95 % interval"),
        rows=tuple((title, *_cells(count)) for title, count in rows if count.rollouts),
        caption=figures.summary + unknown,
    )


def _cells(count: OutcomeCount) -> tuple[str, ...]:
    low, high = count.interval or (None, None)
    return (
        str(count.rollouts),
        str(count.judged),
        str(count.doubted),
        UNDEFINED if count.share is None else f"{count.share:.2f}",
        UNDEFINED if low is None else f"{low:.2f}–{high:.2f}",
    )
