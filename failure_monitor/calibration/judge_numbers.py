# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An outside judge's numbers of labelled rollouts, and the judge that they calibrate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from failure_monitor.errors import UsageError
from failure_monitor.judges.judge import Better, CalibratedJudge, JudgeWord, calibrated_judge
from failure_monitor.parameters.topics import EXTERNAL_NAME
from failure_monitor.sources.judged_rollouts import JudgedRollout, judged_rollouts
from failure_monitor.sources.reading_options import Progress, ReadingOptions, no_progress


@dataclass(frozen=True)
class JudgeCalibration:
    """A calibrated judge, and what it rests on.

    Attributes:
        judge: the judge.
        rollouts: the labelled rollouts with a number.
        left_out: how many others there were, by the reason.
    """

    judge: CalibratedJudge
    rollouts: tuple[JudgedRollout, ...]
    left_out: Mapping[str, int]

    @property
    def claims(self) -> int:
        """How many of the successes are so by a mere claim."""
        return sum(each.by == "claim" and bool(each.success) for each in self.rollouts)

    @property
    def is_useful(self) -> bool:
        """Whether any labelled success is accepted."""
        return self.words(True)[JudgeWord.ACCEPTED] > 0

    def words(self, success: bool) -> Mapping[JudgeWord, int]:
        """Return what is made of the labelled rollouts of a class themselves."""
        counts = Counter(
            self.judge.verdict(each.value).word
            for each in self.rollouts
            if each.success is success and each.value is not None
        )
        return {word: counts[word] for word in JudgeWord}


def calibrate_judge(
    name: str,
    sources: Sequence[Path],
    *,
    better: Better = "higher",
    accepted_failures: float = 0.1,
    doubted_successes: float = 0.1,
    reading: ReadingOptions | None = None,
    progress: Progress = no_progress,
) -> JudgeCalibration:
    """Calibrate a judge on labelled rollouts.

    Args:
        name: of the judge.
        sources: CSV files, rollout logs, and whatever rollouts are read from.
        better: whether a higher or a lower number is more surely a success.
        accepted_failures: the largest share of failures that may be accepted.
        doubted_successes: the largest share of true successes that may be doubted.
        reading: how rollouts are read.
        progress: shows how far reading is.

    Raises:
        FailureMonitorError: a source cannot be read, or there are too few labelled rollouts.
    """
    if not re.fullmatch(EXTERNAL_NAME, name):
        raise UsageError(
            f"'{name}' cannot name a judge, since it becomes part of a topic: use letters, digits "
            "and underscores, a letter first"
        )
    judged = judged_rollouts(name, sources, reading=reading, progress=progress)
    used = tuple(each for each in judged if not each.why_left_out)
    left_out = Counter(each.why_left_out for each in judged if each.why_left_out)
    judge = calibrated_judge(
        name,
        successes=[each.value for each in used if each.success and each.value is not None],
        failures=[each.value for each in used if not each.success and each.value is not None],
        better=better,
        accepted_failures=accepted_failures,
        doubted_successes=doubted_successes,
    )
    return JudgeCalibration(judge, used, left_out)
