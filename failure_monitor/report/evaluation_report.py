# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: what was promised, what was measured, and every rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import RolloutSection
from failure_monitor.calibration.audit import Audit
from failure_monitor.evaluation.dial import Dial
from failure_monitor.evaluation.dial_text import dial_table
from failure_monitor.evaluation.evaluate import Evaluation, control_by_group, text_tables
from failure_monitor.evaluation.watched_promise import promise_course
from failure_monitor.promise.reference import references
from failure_monitor.report.camera_frames import CameraFrames, read_camera_frames
from failure_monitor.report.detection_figures import detection_times, roc_figures
from failure_monitor.report.dial_figure import dial_figure
from failure_monitor.report.distributions import (
    Strip,
    length_strips,
    level_strip,
    normalised_strips,
    score_strip,
)
from failure_monitor.report.drawing import (
    CALIBRATION,
    DISTURBED,
    FAILURE,
    HELD_OUT,
    SUCCESS,
    Drawing,
    Kind,
)
from failure_monitor.report.headline import evaluated, key_figures
from failure_monitor.report.page import Card, Page, PageSection, Picture
from failure_monitor.report.promise_course_figure import promise_course_figure
from failure_monitor.report.promise_figure import MeasuredRate, measured_rate
from failure_monitor.report.reproduction import Origin, rollouts_table
from failure_monitor.report.rollout_row import belongs_to, fate, row_groups, several_tasks
from failure_monitor.report.score_style import score_title
from failure_monitor.report.scored_rollout import ScoredRollout
from failure_monitor.report.selection import (
    SELECTION_RULE,
    Selected,
    select,
    shown_decisions,
)
from failure_monitor.report.shared_sections import (
    audit_section,
    promise_section,
    reproduction_section,
    thresholds_section,
)
from failure_monitor.report.timeline_figure import timeline_figure


def evaluation_report(
    bundle: Bundle,
    evaluation: Evaluation,
    rollouts: Sequence[ScoredRollout],
    audit: Audit | None,
    origin: Origin,
    *,
    camera: str = "",
) -> Page:
    """Return the page of an evaluation.

    Args:
        bundle: what was evaluated.
        evaluation: what came of it.
        rollouts: on which, in the order of its results.
        audit: the audit of those that succeeded; None if none did.
        origin: how the page came about.
        camera: the topic of the camera in bags; empty for the first that can be shown.
    """
    sections = [
        promise_section(bundle, _measured(bundle, evaluation)),
        *_watched_promise_section(bundle, rollouts, origin),
        _detection_section(evaluation),
        _tables_section(evaluation),
        *([_dial_section(evaluation.dial)] if evaluation.dial is not None else []),
        _scores_section(bundle, rollouts),
        thresholds_section(bundle),
        _lengths_section(bundle, evaluation, rollouts),
        _cards_section(bundle, rollouts, camera),
        _rows_section(rollouts),
    ]
    if audit is not None:
        sections.append(
            audit_section(
                audit,
                "What the audit found about the rollouts that succeeded, as if one were to "
                "calibrate on them. Failed ones are not compared: they are meant to be unlike.",
            )
        )
    sources = rollouts_table("The evaluated rollouts", [each.rollout for each in rollouts])
    sections.append(reproduction_section(origin, bundle, [sources]))
    return Page(
        title=f"{Path(origin.bundle).name}, evaluated on {len(rollouts)} "
        f"rollout{'s' if len(rollouts) > 1 else ''}",
        lead=tuple(evaluated(bundle, evaluation)),
        key_figures=tuple(key_figures(bundle, evaluation)),
        sections=tuple(sections),
        made=origin.made,
    )


def _measured(bundle: Bundle, evaluation: Evaluation) -> list[MeasuredRate | None]:
    """Return what was measured in the task of each promise."""
    tasks = [bundle.promise(result.task).task for result in evaluation.results]
    return [
        measured_rate(
            [r for r, task in zip(evaluation.results, tasks, strict=True) if task == promise.task]
        )
        for promise in bundle.description.promises
    ]


def _watched_promise_section(
    bundle: Bundle, rollouts: Sequence[ScoredRollout], origin: Origin
) -> list[PageSection]:
    """Return the promise over the undisturbed successes; nothing where none is new."""
    if not references(bundle.description, origin.bundle_sha256):
        return []
    course = promise_course(
        bundle,
        origin.bundle_sha256,
        [each.rollout for each in rollouts if each.result.success and each.is_undisturbed],
    )
    if not course.names:
        return []
    rows = [("state", course.state.text)]
    rows += [("left out", f"{number}: {reason}") for reason, number in course.left_out.items()]
    return [
        PageSection(
            "watched_promise",
            "Whether it still holds",
            paragraphs=(
                "Undisturbed successes in order of time, as `failure-monitor promise` and the "
                "monitor's ~/promise compare them with those of calibration.",
            ),
            rows=(rows,),
            figures=(promise_course_figure(course),),
        )
    ]


def _detection_section(evaluation: Evaluation) -> PageSection:
    rule, elapsed = evaluation.results, evaluation.elapsed
    early = sorted(set(evaluation.early_decisions.values()))
    roc = roc_figures(rule, elapsed)
    without = (
        ()
        if roc
        else ("There is no ROC curve: for one, some rollouts must fail and some succeed.",)
    )
    return PageSection(
        "detection",
        "Detection",
        paragraphs=(
            "Failed rollouts usually run to a time limit, so a stop-watch that alarms late does "
            "well where late alarms count. It is drawn beside the rule as the control: a rule is "
            "worth what it detects beyond it.",
            *without,
        ),
        figures=(*roc, detection_times(rule, elapsed, early)),
    )


def _tables_section(evaluation: Evaluation) -> PageSection:
    control = control_by_group(evaluation)
    return PageSection(
        "tables",
        "Tables",
        paragraphs=(
            "What these rollouts cannot show is a dash. The last row of each table is the "
            "control.",
        ),
        tables=(*text_tables(evaluation), *((control,) if control is not None else ())),
    )


def _dial_section(dial: Dial) -> PageSection:
    return PageSection(
        "dial",
        "The dial",
        paragraphs=(
            "Alpha is the one dial of the rule: with a larger one more failures are found early, "
            "and more rollouts that would have succeeded are stopped. These are the evaluated "
            "rollouts at other alphas that the calibration rollouts can promise.",
        ),
        figures=(dial_figure(dial),),
        tables=(dial_table(dial),),
    )


def _scores_section(bundle: Bundle, rollouts: Sequence[ScoredRollout]) -> PageSection:
    calibration = _calibration(bundle, rollouts)
    level = normalised_strips(
        [
            level_strip(CALIBRATION, calibration),
            *(
                Strip(kind, [each.result.max_level for each in own])
                for kind, own in _by_outcome(rollouts)
            ),
        ],
        name="levels",
        title="The rule",
        reading="What lies beyond 1 raised an alarm. Undisturbed successes are meant to lie where "
        "calibration rollouts do.",
    )
    scores = [score.name for score in bundle.description.scores]
    return PageSection(
        "scores",
        "Scores",
        paragraphs=(
            "Every mark is a rollout at its largest over time; what is far beyond the thresholds "
            "is drawn at the edge. Calibration rollouts are scored by what was fitted without "
            "them.",
        ),
        figures=(
            level,
            *(
                _score_figure(calibration, rollouts, name, index)
                for index, name in enumerate(scores)
                if len(scores) > 1
            ),
        ),
    )


def _calibration(bundle: Bundle, rollouts: Sequence[ScoredRollout]) -> list[RolloutSection]:
    """Return the calibration rollouts of the tasks that were evaluated."""
    tasks = {bundle.promise(each.rollout.task).task for each in rollouts}
    return [section for section in bundle.calibration if section.task in tasks]


def _by_outcome(rollouts: Sequence[ScoredRollout]) -> list[tuple[Kind, list[ScoredRollout]]]:
    successes = [each for each in rollouts if each.result.success]
    return [
        (SUCCESS, [each for each in successes if each.is_undisturbed]),
        (DISTURBED, [each for each in successes if not each.is_undisturbed]),
        (FAILURE, [each for each in rollouts if not each.result.success]),
    ]


def _score_figure(
    calibration: Sequence[RolloutSection],
    rollouts: Sequence[ScoredRollout],
    score: str,
    index: int,
) -> Drawing:
    strips = [score_strip(CALIBRATION, calibration, score)]
    for kind, own in _by_outcome(rollouts):
        largest = [float(each.max_normalised[index]) for each in own]
        strips.append(Strip(kind, [value for value in largest if np.isfinite(value)]))
    return normalised_strips(strips, name=f"score_{index}", title=score_title(score), reading="")


def _lengths_section(
    bundle: Bundle, evaluation: Evaluation, rollouts: Sequence[ScoredRollout]
) -> PageSection:
    calibration = replace(CALIBRATION, title=CALIBRATION.title.removesuffix(HELD_OUT))
    figure = length_strips(
        [
            Strip(calibration, [float(r.decisions) for r in _calibration(bundle, rollouts)]),
            *(
                Strip(kind, [float(each.result.decisions) for each in own])
                for kind, own in _by_outcome(rollouts)
            ),
        ],
        sorted(set(evaluation.early_decisions.values())),
        name="lengths",
        title="Lengths of rollouts",
        reading="Where failed ones lie apart from the others, their length alone gives them away: "
        "that is what the stop-watch lives on.",
    )
    return PageSection("lengths", "Lengths", figures=(figure,))


def _cards_section(bundle: Bundle, rollouts: Sequence[ScoredRollout], camera: str) -> PageSection:
    selected = select(rollouts)
    frames = read_camera_frames(
        [each.rollout for each in rollouts],
        {chosen.place: shown_decisions(rollouts[chosen.place].result) for chosen in selected},
        topic=camera,
    )
    return PageSection(
        "timelines",
        "Timelines",
        paragraphs=(
            SELECTION_RULE,
            "The wide line is the rule; above 1 it holds. Dotted: early until here. What is far "
            "beyond the thresholds runs along the edge.",
        ),
        cards=tuple(
            _card(
                bundle,
                rollouts[chosen.place],
                chosen,
                frames[chosen.place],
                with_task=several_tasks(rollouts),
            )
            for chosen in selected
        ),
    )


def _card(
    bundle: Bundle,
    scored: ScoredRollout,
    chosen: Selected,
    frames: CameraFrames,
    *,
    with_task: bool,
) -> Card:
    scores = [score.name for score in bundle.description.scores]
    alarm = scored.result.alarm_decision
    begin = scored.result.stamps[0]
    return Card(
        name=scored.result.name,
        belongs_to=belongs_to(scored.rollout, with_task=with_task),
        why=chosen.why,
        words=fate(scored.result),
        figure=timeline_figure(scored, scores, bundle.rule, name=f"timeline_{chosen.place}"),
        pictures=tuple(
            Picture(
                jpeg,
                f"{'alarm: ' if decision == alarm else ''}{decision} · "
                f"{scored.result.stamps[decision] - begin:.1f} s",
                is_alarm=decision == alarm,
            )
            for decision, jpeg in sorted(frames.jpegs.items())
        ),
        remark=(
            f"Frames from {frames.camera}, by decision and time."
            if frames.jpegs
            else "No camera frames: its source has none."
        ),
    )


def _rows_section(rollouts: Sequence[ScoredRollout]) -> PageSection:
    return PageSection(
        "rollouts",
        "All rollouts",
        paragraphs=(
            "A line for each, on one scale of decisions: the level from 0 to 2 with the threshold "
            "in the middle, the alarm as a thick bar, the end as a short one; dotted: early until "
            "here.",
        ),
        row_groups=row_groups(rollouts),
    )
