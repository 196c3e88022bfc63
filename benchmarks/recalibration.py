# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What drift does to a bundle, when the watched promise says so, and what recalibration brings.

Rollouts of an imaginary task, with the default scores that need no joints. After calibration all
embeddings move in one direction, by so many of their standard deviations, as with a camera that
was pushed. Every split draws all rollouts again.

Before that: what weights bring where one of two groups becomes more frequent, by one normal number
for each rollout, which is higher by 2 in that group.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from benchmark_parts.synthetic_task import SyntheticTask

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.watched_promise import promise_course
from failure_monitor.thresholds.conformal import rank
from failure_monitor.thresholds.paired_threshold import effective_number, weights_of_groups

assert one_thread
TASK = SyntheticTask.of_size(embedding=12, samples=16, horizon=8, actions=3, decisions=20)
SETTINGS = CalibrationSettings(
    scores=("phase_knn", "chunk_lag", "dispersion_profile"), jobs=1, seed=0
)
DRIFTS = (0.0, 1.0, 2.0)
SHIFTS = ((45, 5, 0.1), (45, 5, 0.3), (40, 12, 0.9), (60, 9, 1.0))
HASH = "ab" * 32


def drifted(rollout: Rollout, by: float) -> Rollout:
    direction = np.random.default_rng(0).normal(size=rollout.embeddings.shape[1])
    moved = rollout.embeddings + by * rollout.embeddings.std(axis=0) * np.sign(direction)
    return replace(rollout, embeddings=moved.astype(np.float32))


def shifted_groups(morning: int, evening: int, share: float, splits: int = 20_000) -> str:
    """Return false alarms where a share of evenings comes, unweighted and weighted, as text."""
    random = np.random.default_rng(evening)
    groups = ["morning"] * morning + ["evening"] * evening
    numbers = random.normal(size=(splits, len(groups))) + 2.0 * np.repeat(
        [0, 1], [morning, evening]
    )
    fresh = random.normal(size=splits) + 2.0 * (random.random(splits) < share)
    future = {"morning": 1 - share, "evening": share} if share < 1 else {"evening": 1.0}
    weights, needed = weights_of_groups(groups, future, SETTINGS.alpha)
    below = numbers < fresh[:, np.newaxis]
    alike = (below.sum(axis=1) >= rank(len(groups), SETTINGS.alpha)).mean()
    weighed = (below @ weights >= needed - 1e-9).mean()
    return (
        f"{morning} and {evening} rollouts, then {share:g} of the second group: false alarms "
        f"{alike:.4f}, weighted {weighed:.4f} (both ± {np.sqrt(0.1 * 0.9 / splits):.4f}); they "
        f"count as {effective_number(weights):.1f}"
    )


def false_alarms(bundle: Bundle, rollouts: list[Rollout]) -> float:
    return float(np.mean([(bundle.levels(rollout) > 1).any() for rollout in rollouts]))


def main(
    splits: Annotated[int, Option(min=1, help="times that all rollouts are drawn")] = 40,
    rollouts: Annotated[int, Option(min=10, help="for calibration")] = 20,
    new: Annotated[int, Option(min=10, help="after it")] = 100,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure false alarms, words of the promise, and what recalibration brings."""
    for morning, evening, share in SHIFTS:
        print(shifted_groups(morning, evening, share), flush=True)
    figures = []
    for drift in DRIFTS:
        rates = []
        since = []
        for split in range(splits):
            start = 10_000 * split
            old = TASK.rollouts(range(start, start + rollouts))
            later = [
                drifted(each, drift)
                for each in TASK.rollouts(range(start + 1000, start + 1000 + rollouts + new))
            ]
            fresh, tests = later[:rollouts], later[rollouts:]
            before = calibrate(old, TASK.policy, SETTINGS)
            beside = calibrate([*old, *fresh], TASK.policy, SETTINGS)
            instead = calibrate(fresh, TASK.policy, SETTINGS)
            rates.append([false_alarms(bundle, tests) for bundle in (before, beside, instead)])
            course = promise_course(before, HASH, tests)
            since.append(course.state.broken_since or np.inf)
        mean = np.mean(rates, axis=0)
        error = np.std(rates, axis=0) / np.sqrt(splits)
        broken = float(np.isfinite(since).mean())
        median = float(np.median(since))
        print(
            f"drift {drift:g}: false alarms without recalibration {mean[0]:.3f} ± {error[0]:.3f}, "
            f"new ones beside {mean[1]:.3f} ± {error[1]:.3f}, instead {mean[2]:.3f} ± "
            f"{error[2]:.3f}; broken in {broken:.2f} of {splits} within {new} rollouts, "
            f"median {median:g}",
            flush=True,
        )
        figures.append(
            {
                "drift": drift,
                "false_alarms": dict(zip(("before", "beside", "instead"), mean, strict=True)),
                "standard_error": dict(zip(("before", "beside", "instead"), error, strict=True)),
                "broken": broken,
                "median_since": median if np.isfinite(median) else None,
            }
        )
    if results is not None:
        results.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    run_alone(main)
