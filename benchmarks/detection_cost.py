# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What detection costs with 1, 4, 16 and 64 sampled chunks, and what they bring.

    python benchmarks/detection_cost.py ARCHIVE... --json detection_cost.json

Of every archive the first chunks of each decision are taken, and everything else is left out. A
rule is calibrated as `failure-monitor calibrate` does it, evaluated as `evaluate` does, and its
decisions are scored one by one on one thread. What sampling costs the policy is measured on the
demo's flow-matching policy: one pass of its encoder, and its sampler with as many chunks.

Scores of tokens are missing: no archive has a network's tokens.
"""

from __future__ import annotations

import benchmark_parts.one_thread  # noqa: F401  # isort: skip

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import numpy as np

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.decision import Rollout
from failure_monitor.demo.policy import MODELS
from failure_monitor.evaluation.evaluate import evaluate
from failure_monitor.policy_models.models import PolicySampler
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts

SAMPLES = (1, 4, 16, 64)
TIMED_ROLLOUTS = 20
TIMED_SAMPLINGS = 20
FIGURES = ("early bal. acc.", "early AUROC", "false alarms", "ms a decision")
DEFAULT, BLIND = "default", "default, no embedding"
RULES: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    DEFAULT: ((), SAMPLES),
    BLIND: ((), SAMPLES),
    "dispersion_profile, stac": (("dispersion_profile", "stac"), SAMPLES[1:]),
    "stac_single": (("stac_single",), SAMPLES[:1]),
    "reversal_rate": (("reversal_rate",), SAMPLES[:1]),
    "stac_single, reversal_rate, kinematics": (
        ("stac_single", "reversal_rate", "kinematics"),
        SAMPLES[:1],
    ),
}
"""Rules by their titles: their scores, none for what calibration chooses, and with how many
chunks they are measured."""


def main(
    archives: Annotated[list[Path], Argument(help="rollout archives, one of each task")],
    results: Annotated[Path, Option("--json", help="the figures, added to those it has")],
) -> None:
    """Measure every rule with as many chunks as the archives have."""
    found: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    for path in archives:
        whole = read_rollouts([path])
        for title, (scores, numbers) in RULES.items():
            for samples in (n for n in numbers if n <= whole.policy.samples):
                key = f"{path.stem} | {title} | {samples}"
                if key not in found:
                    found[key] = _measured(_with_samples(whole, samples, title), scores)
                    results.write_text(json.dumps(found, indent=1))
    for names in _families(found):
        print(f"{', '.join(names)}:\n\n| rule | B | {' | '.join(FIGURES)} |")
        print("|---|---|" + len(FIGURES) * "---|")
        for title, (_, numbers) in RULES.items():
            for samples in numbers:
                keys = [f"{name} | {title} | {samples}" for name in names]
                rows = [found[key] for key in keys if key in found]
                if rows:
                    figures = " | ".join(f"{mean(part):.3f}" for part in zip(*rows, strict=True))
                    print(f"| {title} | {samples} | {figures} |")
    print("\n| the demo's policy | " + " | ".join(f"B {samples}" for samples in SAMPLES) + " |")
    print("|---|" + len(SAMPLES) * "---|")
    times = " | ".join(f"{1e3 * _sampling(samples):.1f} ms" for samples in SAMPLES)
    print(f"| sampling | {times} |")


def _families(found: dict[str, Any]) -> list[list[str]]:
    """Return the names of archives that have equally many chunks, in lists."""
    most: dict[str, int] = {}
    for key in found:
        name, _, samples = key.split(" | ")
        most[name] = max(most.get(name, 0), int(samples))
    return [
        [name for name, number in most.items() if number == samples]
        for samples in sorted(set(most.values()), reverse=True)
    ]


def _with_samples(whole: RolloutSet, samples: int, title: str) -> RolloutSet:
    """Return rollouts with the first chunks alone, and nothing that not every policy has."""

    def reduced(rollout: Rollout) -> Rollout:
        seen = rollout.embeddings[:, : 0 if title == BLIND else None]
        chunks = rollout.chunks[:, :samples]
        return replace(rollout, chunks=chunks, embeddings=seen, joints=None, positions=None)

    size = 0 if title == BLIND else whole.policy.embedding_size
    policy = replace(whole.policy, samples=samples, embedding_size=size)
    return replace(whole, policy=policy, rollouts=tuple(map(reduced, whole.rollouts)))


def _measured(rollouts: RolloutSet, scores: Sequence[str]) -> list[float]:
    """Return early balanced accuracy, early AUROC, false alarms, and milliseconds a decision."""
    chosen, _ = choose(rollouts.rollouts)
    names = tuple(scores) or choose_rule(chosen, rollouts.policy).scores
    settings = CalibrationSettings(scores=names, jobs=1)
    bundle = calibrate(chosen, rollouts.policy, settings)
    metrics = evaluate(bundle, rollouts).metrics.overall
    tests = [rollout for rollout in rollouts.rollouts if rollout.calibration is False]
    figures = (metrics.early_balanced_accuracy, metrics.early_auroc, metrics.false_alarm_rate)
    known = [np.nan if figure is None else figure for figure in figures]
    return [*known, 1e3 * _scoring(bundle, tests[:TIMED_ROLLOUTS])]


def _scoring(bundle: Bundle, rollouts: Sequence[Rollout]) -> float:
    """Return the median seconds of CPU for scoring a decision."""
    monitor = bundle.monitor()
    times = []
    for rollout in rollouts:
        monitor.start_rollout()
        times += [_seconds(lambda one=one: monitor.update(one)) for one in rollout.decisions()]
    return median(times)


def _sampling(samples: int) -> float:
    """Return the median seconds of CPU in which the demo's policy samples so many chunks."""
    [folder, *_] = sorted(MODELS.iterdir())
    sampler = PolicySampler(read_onnx_file(folder / "sampler.onnx"))
    embedding = np.zeros(sampler.embedding_size, np.float32)
    noise = sampler.noise_stream(seed=0)
    draws = [noise.draw(samples) for _ in range(TIMED_SAMPLINGS)]
    return median(_seconds(lambda one=one: sampler.sample(embedding, one)) for one in draws)


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    run_alone(main)
