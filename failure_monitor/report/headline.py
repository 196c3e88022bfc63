# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What was promised and what was measured, in sentences for who reads no further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.evaluation.evaluate import Evaluation
from failure_monitor.evaluation.judge_figures import JudgeFigures
from failure_monitor.evaluation.metrics import RolloutResult
from failure_monitor.evaluation.outcome_figures import OutcomeFigures
from failure_monitor.report.promise_figure import MeasuredRate, measured_rate


@dataclass(frozen=True)
class KeyFigure:
    """A number, and what it is."""

    number: str
    what: str


def percent(share: float) -> str:
    """Return a share as a percentage that people can read."""
    number = 100 * share
    return (
        f"{number:.1f} %" if 0 < number < 9.95 and number != round(number) else f"{number:.0f} %"
    )


def calibrated(bundle: Bundle) -> str:
    """Return the promise of a bundle, and what it rests on."""
    description = bundle.description
    tasks = [promise.task for promise in description.promises if promise.task]
    each = f" in each of {len(tasks)} tasks" if len(tasks) > 1 else ""
    return (
        f"At most {percent(bundle.promised_rate)} of successful rollouts will raise an alarm"
        f"{each}: this is calibrated on "
        f"{_count(len(bundle.calibration), 'successful rollout')}, and holds for rollouts like "
        "these."
    )


def evaluated(bundle: Bundle, evaluation: Evaluation) -> list[str]:
    """Return what was promised, and what was measured of it."""
    sentences = [_promise_kept(bundle, measured_rate(evaluation.results))]
    sentences += _disturbed(evaluation.results)
    sentences.append(_detected(evaluation.results))
    sentences += _outcomes(evaluation.outcome)
    sentences += _judged(evaluation.judge)
    if evaluation.seen:
        sentences.append(
            f"Beware: {evaluation.seen} of these rollouts made the bundle, and flatter it."
        )
    return sentences


def key_figures(bundle: Bundle, evaluation: Evaluation) -> list[KeyFigure]:
    """Return the numbers of the headline."""
    found = [KeyFigure(f"≤ {percent(bundle.promised_rate)}", "false alarms promised")]
    rate = measured_rate(evaluation.results)
    if rate is not None:
        low, high = rate.interval
        found.append(
            KeyFigure(
                percent(rate.rate),
                f"measured: {rate.alarms} of {rate.rollouts}, 95 % interval {percent(low)} to "
                f"{percent(high)}",
            )
        )
    failures = [result for result in evaluation.results if not result.success]
    if failures:
        alarms = sum(result.alarms for result in failures)
        early = sum(result.alarms_early for result in failures)
        n = len(failures)
        found.append(KeyFigure(percent(alarms / n), f"failures detected: {alarms} of {n}"))
        found.append(KeyFigure(percent(early / n), f"detected early: {early} of {n}"))
    return found


def _promise_kept(bundle: Bundle, rate: MeasuredRate | None) -> str:
    promised = (
        f"At most {percent(bundle.promised_rate)} of successful rollouts were to raise an alarm"
    )
    if rate is None:
        return (
            f"{promised}; whether that holds is unknown, for no undisturbed rollout here "
            "succeeded."
        )
    measured = (
        f"{promised}; {rate.alarms} of {rate.rollouts} undisturbed ones did ({percent(rate.rate)})"
    )
    if rate.rate <= bundle.promised_rate:
        return f"{measured}: within the promise."
    # Chance has two parts: the draw of the calibration rollouts, and that of these.
    likely = max(promise.false_alarm_interval_90[1] for promise in bundle.description.promises)
    if rate.interval[0] <= likely:
        return f"{measured}: more than promised, and no more than chance explains."
    return (
        f"{measured}: more than chance explains. These rollouts are unlike those of calibration; "
        "calibrate again on rollouts like these."
    )


def _disturbed(results: Sequence[RolloutResult]) -> list[str]:
    successes = [result for result in results if result.success]
    undisturbed = measured_rate(results)
    others = len(successes) - (undisturbed.rollouts if undisturbed else 0)
    if not others:
        return []
    alarms = sum(r.alarms for r in successes) - (undisturbed.alarms if undisturbed else 0)
    return [
        f"Of {_count(others, 'rollout')} that succeeded although something disturbed "
        f"{'them' if others > 1 else 'it'}, of which nothing is promised, {alarms} raised an "
        "alarm."
    ]


def _detected(results: Sequence[RolloutResult]) -> str:
    failures = [result for result in results if not result.success]
    if not failures:
        return "None of these rollouts failed, so they show nothing of how failures are detected."
    alarms = sum(result.alarms for result in failures)
    early = sum(result.alarms_early for result in failures)
    return (
        f"Of {_count(len(failures), 'rollout')} that failed, {alarms} raised an alarm, {early} of "
        "these early, while half of the calibration rollouts would still have been under way."
    )


def _outcomes(outcome: OutcomeFigures | None) -> list[str]:
    """Return what the outcome check found; nothing where no rollout that claims success failed."""
    if outcome is None or not outcome.false_successes.rollouts:
        return []
    false, true = outcome.false_successes, outcome.true_successes
    return [
        f"Of {_count(false.rollouts, 'rollout')} that claimed success and failed, the outcome "
        f"check doubted {false.doubted}, which is not promised; of "
        f"{_count(true.judged, 'undisturbed true success')} it doubted {true.doubted}, and "
        f"at most {percent(outcome.alpha)} were promised."
    ]


def _judged(figures: JudgeFigures | None) -> list[str]:
    """Return what an outside judge made of the rollouts; nothing without one."""
    if figures is None:
        return []
    judge, failures, successes = figures.judge, figures.failures, figures.successes
    return [
        f"Of {_count(failures.rollouts, 'failure')} the judge {judge.name} accepted "
        f"{failures.accepted}, and at most {percent(judge.supported_rate)} were promised; of "
        f"{_count(successes.rollouts, 'true success')} it doubted {successes.doubtful}, and at "
        f"most {percent(judge.doubted_successes)} were promised; "
        f"{failures.asked + successes.asked} it left to a human."
    ]


def _count(number: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}" + ("" if number == 1 else plural)
