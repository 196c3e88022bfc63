# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a calibration: what was promised, on what, and how near the limit it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import RolloutSection
from failure_monitor.calibration.audit import Audit
from failure_monitor.decision import Rollout
from failure_monitor.report.distributions import (
    Strip,
    length_strips,
    level_strip,
    normalised_strips,
    score_strip,
)
from failure_monitor.report.drawing import CALIBRATION, HELD_OUT, Drawing, Kind
from failure_monitor.report.headline import KeyFigure, calibrated, percent
from failure_monitor.report.page import Page, PageSection
from failure_monitor.report.reproduction import Origin, rollouts_table
from failure_monitor.report.score_style import score_title
from failure_monitor.report.shared_sections import (
    audit_section,
    promise_section,
    reproduction_section,
    thresholds_section,
)


def calibration_report(
    bundle: Bundle, rollouts: Sequence[Rollout], audit: Audit, origin: Origin
) -> Page:
    """Return the page of a bundle that was just calibrated.

    Args:
        bundle: the result of the calibration.
        rollouts: the rollouts that set its thresholds.
        audit: the audit of these rollouts.
        origin: the command, bundle and date of the page.
    """
    description = bundle.description
    low, high = description.promises[0].false_alarm_interval_90
    figures = [
        KeyFigure(f"≤ {percent(bundle.promised_rate)}", "false alarms promised"),
        KeyFigure(str(len(bundle.calibration)), "successful rollouts calibrated on"),
    ]
    if len(description.promises) == 1:
        figures.append(
            KeyFigure(
                f"{percent(low)} to {percent(high)}",
                "where the true rate lies, given these rollouts (90 %)",
            )
        )
    questionable = sum(each.verdict == "look" for each in audit.rollouts)
    lead = [calibrated(bundle)]
    if questionable:
        lead.append(
            f"The audit found {questionable} of these rollouts questionable: see why before you "
            "trust the promise."
        )
    return Page(
        title=f"{Path(origin.bundle).name}, calibrated on {len(rollouts)} rollouts",
        lead=tuple(lead),
        key_figures=tuple(figures),
        sections=(
            promise_section(bundle, [None] * len(description.promises)),
            _held_out_section(bundle),
            thresholds_section(bundle),
            _lengths_section(bundle),
            audit_section(audit, "What the audit found about the calibration rollouts."),
            reproduction_section(origin, bundle, [rollouts_table("The sources", rollouts)]),
        ),
        made=origin.made,
    )


def _held_out_section(bundle: Bundle) -> PageSection:
    scores = [score.name for score in bundle.description.scores]
    return PageSection(
        "scores",
        "Calibration rollouts against the limit",
        paragraphs=(
            "Every mark is a rollout at its largest over time, by scores that were fitted without "
            "it. What lies beyond 1 would have raised an alarm: few are meant to.",
        ),
        figures=(
            normalised_strips(
                [level_strip(kind, own) for kind, own in by_task(bundle)],
                name="levels",
                title="The rule",
                reading="The combined number that the promise is about.",
            ),
            *(_score_figure(bundle, name, index) for index, name in enumerate(scores)),
        ),
    )


def _score_figure(bundle: Bundle, score: str, index: int) -> Drawing:
    return normalised_strips(
        [score_strip(kind, own, score) for kind, own in by_task(bundle)],
        name=f"score_{index}",
        title=score_title(score),
        reading="",
    )


def by_task(bundle: Bundle) -> list[tuple[Kind, list[RolloutSection]]]:
    """Return the calibration rollouts of each promise: of a task, or of all across tasks."""
    across = bundle.description.promise == "across-tasks"
    return [
        (
            Kind(promise.task or CALIBRATION.title, CALIBRATION.color, CALIBRATION.marker),
            [each for each in bundle.calibration if across or each.task == promise.task],
        )
        for promise in bundle.description.promises
    ]


def _lengths_section(bundle: Bundle) -> PageSection:
    figure = length_strips(
        [
            Strip(
                replace(kind, title=kind.title.removesuffix(HELD_OUT)),
                [float(rollout.decisions) for rollout in own],
            )
            for kind, own in by_task(bundle)
        ],
        (),
        name="lengths",
        title="Lengths of the calibration rollouts",
        reading="Evaluation counts an alarm as early before their median.",
    )
    return PageSection("lengths", "Lengths", figures=(figure,))
