# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome check: whether the end of a rollout is like the ends of true successes.

An end is compared as a rollout of a single decision is, whose scores are the distances of its
parts (`PairedThreshold`): with every true success by models and scales that learned from neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import InvalidDecisionError
from failure_monitor.listed_names import list_names
from failure_monitor.outcome.end_model import EndModel
from failure_monitor.outcome.end_parts import LAST, PARTS, EndError, EndFormat
from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.outcome.verdict import OutcomeVerdict, OutcomeWord, not_judged
from failure_monitor.thresholds.paired_threshold import PairedThreshold

MAX_SHOWN = 1000.0
"""Ratio to its limit above which a part is just far off."""


@dataclass(frozen=True, eq=False)
class TrueEnds:
    """What is known of the ends of true successes of one task.

    Attributes:
        models: of each part, by name.
        low: the least of each value in these ends, by part, (V,).
        high: the largest.
        threshold: the limits of these ends, each by the models of its fold.
    """

    models: Mapping[str, EndModel]
    low: Mapping[str, NDArray[np.float64]]
    high: Mapping[str, NDArray[np.float64]]
    threshold: PairedThreshold


@dataclass(frozen=True, eq=False)
class OutcomeCheck:
    """Compares the end of a rollout with those of the rollouts of calibration.

    Attributes:
        format: what ends are made of.
        alpha: the chance that a true success is doubted.
        tasks: the ends of each task; of rollouts without a task, or of any task, under no name.
        parts: the names of the parts that are compared.
        unknown: why there are no ends of a task to compare with, by task.
        left_out: why other parts are not compared, by their names.
    """

    format: EndFormat
    alpha: float
    tasks: Mapping[str, TrueEnds]
    parts: tuple[str, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def check(self, end: RolloutEnd, task: str = "") -> OutcomeVerdict:
        """Return whether an end is like those of true successes of a task.

        It raises nothing: what cannot be judged is returned as not judged, with the reason.
        """
        known = {**self.unknown, **self.tasks}
        name = task if task in known else self._only(task)
        if name is None:
            listed = list_names(known) or "none"
            return not_judged(
                f"the bundle knows the ends of the tasks {listed}, and the rollout is "
                f"{f'of the task {task}' if task else 'of none of them by name'}"
            )
        if name in self.unknown:
            return not_judged(self.unknown[name])
        if end.length < LAST or len(end.decisions) < LAST:
            return not_judged(
                f"it ended after {_decisions(end.length)}, and the last {LAST} are compared"
            )
        try:
            for decision in end.decisions[-LAST:]:
                self.format.policy.check(decision)
            with np.errstate(all="ignore"):
                return self._compare(end, self.tasks[name])
        except (InvalidDecisionError, EndError) as error:
            return not_judged(str(error))

    def _only(self, task: str) -> str | None:
        """Return the task that is meant where it need not be named, as `Bundle.promise` does."""
        known = [*self.tasks, *self.unknown]
        return known[0] if len(known) == 1 and (not task or known[0] == "") else None

    def _compare(self, end: RolloutEnd, ends: TrueEnds) -> OutcomeVerdict:
        values = {part: self.format.values(part, end) for part in ends.models}
        distances = np.stack([model(values[part]) for part, model in ends.models.items()], -1)
        found = ends.threshold.compare(distances)
        normalised = distances[found.fold] / found.thresholds
        scores = {part: float(each) for part, each in zip(ends.models, normalised, strict=True)}
        doubtful = not found.level <= 1.0
        rollouts = len(ends.threshold.limits)
        if doubtful:
            worst = max(scores, key=lambda part: scores[part])
            unlike = sorted((p for p in scores if scores[p] > 1), key=lambda p: -scores[p])
            reason = "; ".join(
                self._unlike(part, values[part], ends, found.fold, end)
                + f" ({_beside_limit(scores[part])})"
                for part in unlike or [worst]
            )
        else:
            reason = f"the end is like those of {rollouts} true successes"
        return OutcomeVerdict(
            OutcomeWord.DOUBTFUL if doubtful else OutcomeWord.CONFIRMED,
            reason,
            level=float(found.level),
            scores=scores,
            rollouts=rollouts,
            rollouts_below=found.below,
        )

    def _unlike(
        self,
        part: str,
        values: NDArray[np.float64],
        ends: TrueEnds,
        fold: int,
        end: RolloutEnd,
    ) -> str:
        """Return in which way a part is unlike those of true successes."""
        low, high = ends.low[part], ends.high[part]
        if part == "length":
            least, most = round(float(np.exp(low[0]))), round(float(np.exp(high[0])))
            usual = f"{least} to {most}" if least < most else f"{least}"
            return f"ended after {_decisions(end.length)}, true successes after {usual}"
        names = self.format.names(part)
        if not names:
            return "what the policy sees at the end is unlike what it sees after true successes"
        outside = (values < low) | (values > high)
        if not outside.any():
            return f"the {PARTS[part].title} at the end do not occur together in true successes"
        off = np.abs(ends.models[part].deviations(values)[fold])
        at = int(np.where(outside, off, -1.0).argmax())
        return (
            f"{names[at]} is {values[at]:.4g} at the end, {low[at]:.4g} to {high[at]:.4g} in "
            "true successes"
        )


def _beside_limit(score: float) -> str:
    """Return how far a part is above its limit; beyond measure where true ends never differ."""
    if score > MAX_SHOWN:
        return f"more than {MAX_SHOWN:.0f} times its limit"
    return f"{score:.2f} of its limit"


def _decisions(number: int) -> str:
    return f"{number} decision" + ("" if number == 1 else "s")
