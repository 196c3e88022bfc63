# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an outside judge's number of a finished rollout means, by labelled rollouts.

A number v is compared with each class by itself (label-conditional, or Mondrian, conformal
prediction; Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005):

    p(failure) = (1 + labelled failures that are at least as high) / (failures + 1)
    p(success) = (1 + labelled successes that are at least as low) / (successes + 1)

Of failures that are exchangeable with the labelled ones, p(failure) is at most alpha for a share
of at most alpha, whatever the judge is and however many successes there are; likewise of
successes. Nothing more is promised: a judge that tells nothing accepts few failures, and few
successes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Annotated, Final, Literal

from failure_monitor.errors import FailureMonitorError
from failure_monitor.parameters.topics import EXTERNAL_NAME
from failure_monitor.schema import above, below, like
from failure_monitor.thresholds.conformal import (
    CalibrationError,
    false_alarm_interval,
    needed_rollouts,
    rank,
    rounded_up,
    smallest_alpha,
)

VERSION: Final = 1

Better = Literal["higher", "lower"]

Share = Annotated[float, above(0), below(1)]
JudgeName = Annotated[str, like(EXTERNAL_NAME, "letters, digits and underscores, a letter first")]


class TooFewLabelsError(FailureMonitorError):
    """The labelled rollouts do not support what was asked of a judge."""


class JudgeWord(Enum):
    """What is made of a judge's number."""

    ACCEPTED = "accepted"
    DOUBTFUL = "doubtful"
    ASK = "ask a human"


@dataclass(frozen=True)
class JudgeVerdict:
    """What a judge's number means.

    Attributes:
        word: what is made of it.
        reason: with what it was compared, as text for the operator.
        failure: p(failure): small where hardly a labelled failure is so sure a success.
        success: p(success): small where hardly a labelled success is so unsure.
    """

    word: JudgeWord
    reason: str
    failure: float
    success: float


@dataclass(frozen=True, kw_only=True)
class CalibratedJudge:
    """A judge and the numbers that it gave to labelled rollouts: the content of its file.

    Attributes:
        name: its name, which is part of its topics.
        better: whether a higher or a lower number is more surely a success.
        accepted_failures: the largest share of failures that may be accepted.
        doubted_successes: the largest share of true successes that may be doubted.
        successes: its numbers of the labelled successes, ascending.
        failures: its numbers of the labelled failures, ascending.
    """

    what: Literal["an outside judge, calibrated by failure_monitor"] = (
        "an outside judge, calibrated by failure_monitor"
    )
    version: Literal[1] = VERSION
    name: JudgeName
    better: Better = "higher"
    accepted_failures: Share = 0.1
    doubted_successes: Share = 0.1
    successes: tuple[float, ...]
    failures: tuple[float, ...]

    def __post_init__(self) -> None:
        for what, numbers, alpha in (
            ("failures", self.failures, self.accepted_failures),
            ("successes", self.successes, self.doubted_successes),
        ):
            if list(numbers) != sorted(numbers):
                raise ValueError(f"expected its numbers of {what} in ascending order")
            try:
                rank(len(numbers), alpha)
            except CalibrationError:
                raise ValueError(
                    f"{len(numbers)} labelled {what} do not support a rate of {alpha:g}"
                ) from None

    @property
    def supported_rate(self) -> float:
        """The largest share of failures that is accepted, by the labels: a multiple of 1/(n+1)."""
        n = len(self.failures)
        return (n + 1 - rank(n, self.accepted_failures)) / (n + 1)

    @property
    def rate_interval(self) -> tuple[float, float]:
        """Where the true share lies with a chance of 90 %, over the draw of the labels."""
        return false_alarm_interval(len(self.failures), self.accepted_failures)

    def verdict(self, value: float) -> JudgeVerdict:
        """Return what a finite number means."""
        sign = 1.0 if self.better == "higher" else -1.0
        failures, successes = self._in_direction
        sure = sign * value
        as_high = len(failures) - bisect_left(failures, sure)
        as_low = bisect_right(successes, sure)
        failure = (1 + as_high) / (len(failures) + 1)
        success = (1 + as_low) / (len(successes) + 1)
        better, worse = ("high", "low") if sign > 0 else ("low", "high")
        so_sure = f"{as_high} of {len(failures)} labelled failures are as {better}"
        so_unsure = f"{as_low} of {len(successes)} labelled successes are as {worse}"
        both = f"{so_unsure}, and {so_sure}"
        # Rounded, as a share such as 0.1 is not exact in floating point.
        if round(success, 12) <= self.doubted_successes:
            return JudgeVerdict(JudgeWord.DOUBTFUL, both, failure, success)
        if round(failure, 12) > self.accepted_failures:
            return JudgeVerdict(JudgeWord.ASK, both, failure, success)
        lowest, highest = min(failures[0], successes[0]), max(failures[-1], successes[-1])
        if sure - highest > highest - lowest:
            why = f"it is far beyond all {len(failures) + len(successes)} labelled rollouts"
            return JudgeVerdict(JudgeWord.ASK, f"{why}: has its scale changed?", failure, success)
        return JudgeVerdict(JudgeWord.ACCEPTED, both, failure, success)

    @cached_property
    def _in_direction(self) -> tuple[Sequence[float], Sequence[float]]:
        """The numbers of failures and of successes, from the least sure success to the surest."""
        if self.better == "higher":
            return self.failures, self.successes
        return [-each for each in reversed(self.failures)], [
            -each for each in reversed(self.successes)
        ]


def calibrated_judge(
    name: str,
    *,
    successes: Sequence[float],
    failures: Sequence[float],
    better: Better = "higher",
    accepted_failures: float = 0.1,
    doubted_successes: float = 0.1,
) -> CalibratedJudge:
    """Calibrate a judge on its finite numbers of labelled rollouts.

    Raises:
        TooFewLabelsError: there are too few of a class, or a share is none; states how many more.
    """
    for what, numbers, alpha, option in (
        ("failures", failures, accepted_failures, "--accepted-failures"),
        ("successes", successes, doubted_successes, "--doubted-successes"),
    ):
        _require_enough(name, what, len(numbers), alpha, option)
    return CalibratedJudge(
        name=name,
        better=better,
        accepted_failures=accepted_failures,
        doubted_successes=doubted_successes,
        successes=tuple(sorted(map(float, successes))),
        failures=tuple(sorted(map(float, failures))),
    )


def _require_enough(name: str, what: str, there: int, alpha: float, option: str) -> None:
    if not 0 < alpha < 1:
        raise TooFewLabelsError(f"'{option} {alpha:g}' is no share between 0 and 1")
    try:
        rank(there, alpha)
    except CalibrationError:
        missing = needed_rollouts(alpha) - there
        smallest = smallest_alpha(there)
        instead = f", or ask for {option} {rounded_up(smallest)} or more" if there else ""
        raise TooFewLabelsError(
            f"the judge '{name}' has numbers of {there} labelled {what}, which support no rate "
            f"below {smallest:.3g}, and {alpha:g} was asked for: label {missing} more "
            f"{what}{instead}"
        ) from None
