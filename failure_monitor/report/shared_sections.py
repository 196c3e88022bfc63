# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The sections that reports of calibrations and of evaluations have in common."""

from __future__ import annotations

from collections.abc import Sequence

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.promise_text import promise_rows
from failure_monitor.calibration.audit import Audit
from failure_monitor.calibration.audit_text import audit_rows, audited_rollouts
from failure_monitor.promise.alarm_budget import budget_rows
from failure_monitor.report.page import PageSection
from failure_monitor.report.promise_figure import MeasuredRate, promise_figure
from failure_monitor.report.reproduction import Origin, bundle_rollouts_table, origin_rows
from failure_monitor.report.threshold_course import threshold_courses
from failure_monitor.text_table import TextTable


def promise_section(bundle: Bundle, measured: Sequence[MeasuredRate | None]) -> PageSection:
    """Return the section on what was promised, and what is known of each task's true rate."""
    promises = bundle.description.promises
    return PageSection(
        "promise",
        "The promise",
        rows=(
            *promise_rows(bundle, with_thresholds=False),
            budget_rows(promises, bundle.promised_rate),
        ),
        figures=(promise_figure(promises, bundle.promised_rate, measured),),
    )


def thresholds_section(bundle: Bundle) -> PageSection:
    """Return the section on what each score is compared with."""
    description = bundle.description
    courses = threshold_courses(bundle)
    about = (
        "A score is averaged over a window and divided by its threshold. All thresholds go back "
        "to one limit of the rule, so that the promise is of the combined alarm."
    )
    if description.has_pairs:
        about += (
            " A rollout is compared with each calibration rollout by the scores of its fold, so "
            "that these thresholds are about those that decide."
        )
    tasks = [promise.task or "all" for promise in description.promises]
    constant = TextTable(
        title="Thresholds of windowed scores",
        columns=("score", *(tasks if len(tasks) > 1 else ("threshold",))),
        rows=tuple(
            (name, *(f"{promise.thresholds[name]:.4g}" for promise in description.promises))
            for name in (score.name for score in description.scores)
        )
        if not courses
        else (),
    )
    return PageSection(
        "thresholds",
        "Thresholds",
        paragraphs=(about,),
        figures=courses,
        tables=() if courses else (constant,),
    )


def audit_section(found: Audit, about: str) -> PageSection:
    """Return the section on what the audit found about the rollouts."""
    reasons = [
        f"{each.verdict} {each.name}: {reason}"
        for each in found.rollouts
        for reason in each.reasons
    ]
    return PageSection(
        "audit",
        "The audit",
        paragraphs=(about,),
        rows=(audit_rows(found),),
        details=(*reasons, *found.remarks),
        folded=(audited_rollouts(found),),
    )


def reproduction_section(
    origin: Origin, bundle: Bundle, tables: Sequence[TextTable] = ()
) -> PageSection:
    """Return the section on how to reproduce the page."""
    return PageSection(
        "reproduce",
        "How to reproduce",
        paragraphs=(
            "The same rollouts and seed give the same bundle, and the same bundle and rollouts "
            "the same figures. A rollout's SHA-256 shows whether it is the same.",
        ),
        commands=(origin.command,),
        rows=(origin_rows(origin, bundle),),
        folded=(*tables, bundle_rollouts_table(bundle)),
    )
