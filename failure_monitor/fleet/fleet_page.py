# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A fleet as one HTML page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from matplotlib.ticker import PercentFormatter

from failure_monitor.fleet.fleet import ComparedRobot, Fleet
from failure_monitor.fleet.fleet_tables import (
    comparison_table,
    concerned,
    earlier_table,
    headline,
    incidents_tables,
    outcomes_table,
    robots_table,
    scores_table,
    shifts_table,
    unread_table,
)
from failure_monitor.listed_names import list_names
from failure_monitor.printable_text import printable
from failure_monitor.report.drawing import (
    ALARM_COLOUR,
    INK,
    PALE,
    RULE_COLOUR,
    Drawing,
    axes,
    drawing,
    shortened,
)
from failure_monitor.report.headline import KeyFigure
from failure_monitor.report.page import Page, PageSection
from failure_monitor.text_table import TextTable

MAX_DRAWN = 40
"""Robots in the figure; the first ones, which are those to look at."""


def fleet_page(fleet: Fleet, made: str) -> Page:
    """Return the page.

    Args:
        fleet: the fleet.
        made: the date, as text.
    """
    total = fleet.total
    worst = concerned(fleet)
    sections = (
        _robots_section(fleet, worst),
        _promise_section(fleet),
        _comparison_section(fleet),
        PageSection("shifts", "Shifts", tables=(shifts_table(fleet),)),
        PageSection("ends", "Ends", tables=(outcomes_table(fleet.present),)),
        PageSection("scores", "Scores", tables=(scores_table(fleet.present),)),
        PageSection(
            "incidents",
            "Incidents",
            paragraphs=() if fleet.incidents else ("None of the folders holds one.",),
            folded=tuple(incidents_tables(fleet)),
        ),
        *_earlier_section(fleet),
        PageSection(
            "unread",
            "Not read",
            paragraphs=() if fleet.unread else ("All that was found could be read.",),
            tables=(unread_table(fleet.unread),) if fleet.unread else (),
        ),
    )
    return Page(
        title=headline(fleet),
        lead=_lead(fleet, worst),
        key_figures=(
            KeyFigure(str(len(worst)), "to look at"),
            KeyFigure(str(total.rollouts), "rollouts"),
            KeyFigure(str(total.alarms), "with an alarm"),
            KeyFigure(str(total.stops), "in which the robot was halted"),
        ),
        sections=sections,
        made=made,
    )


def _lead(fleet: Fleet, worst: Sequence[ComparedRobot]) -> tuple[str, ...]:
    if not worst:
        return ("No robot is unlike the others, and no promise is known to be broken.",)
    names = printable(list_names(robot.name for robot in worst))
    return (f"To look at, {len(worst)} of {len(fleet.present)}, the worst first: {names}.",)


def _robots_section(fleet: Fleet, worst: Sequence[ComparedRobot]) -> PageSection:
    rows = [(printable(robot.name), printable("; ".join(robot.concerns), 800)) for robot in worst]
    return PageSection(
        "robots", "Robots", rows=(rows,) if rows else (), tables=(robots_table(fleet),)
    )


def _promise_section(fleet: Fleet) -> PageSection:
    drawn = [each for each in fleet.present if each.figures.false_alarms.interval is not None]
    unknown = sum(each.figures.false_alarms.unknown for each in fleet.present)
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for robot in fleet.present:
        if robot.figures.promise is None:
            reasons[robot.figures.why_unknown].append(robot.name)
    details = [
        f"The promise of {printable(list_names(names))} is unknown: {printable(reason)}."
        for reason, names in reasons.items()
    ]
    return PageSection(
        "promise",
        "False alarms against the promise",
        paragraphs=(
            "A false alarm is an alarm in a rollout that succeeded, as the operator labelled it "
            "or, without a label, as was claimed; a rollout that was stopped needs a label. "
            f"{unknown} rollouts with an alarm have no outcome, and are left out.",
            "Each interval is of one robot alone, and one in twenty misses the true rate. The "
            "next section shows which robots are unlike the others.",
        ),
        figures=(_intervals(drawn[:MAX_DRAWN]),) if drawn else (),
        details=tuple(details),
    )


def _intervals(robots: Sequence[ComparedRobot]) -> Drawing:
    """Draw each robot's rate of false alarms with its interval, beside what was promised."""
    rows = range(len(robots), 0, -1)
    with axes(0.7 + 0.2 * len(robots)) as drawn:
        for row, robot in zip(rows, robots, strict=True):
            alarms = robot.figures.false_alarms
            low, high = alarms.interval or (0.0, 1.0)
            colour = ALARM_COLOUR if robot.concerns else RULE_COLOUR
            drawn.plot(
                [0, max(alarms.likely, alarms.promised)], [row] * 2, color=PALE, linewidth=6
            )
            drawn.plot([alarms.promised] * 2, [row - 0.35, row + 0.35], color=INK, linewidth=1.2)
            drawn.plot([low, high], [row] * 2, color=colour, linewidth=1.4)
            drawn.plot([alarms.alarms / alarms.successes], [row], color=colour, marker="D", ms=4)
        drawn.set_yticks([*rows], [shortened(printable(robot.name)) for robot in robots])
        drawn.set_ylim(0.4, len(robots) + 0.6)
        drawn.set_xlim(left=0)
        drawn.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        drawn.set_xlabel("successful rollouts with an alarm")
    return drawing(
        drawn,
        name="false_alarms",
        title="False alarms of each robot",
        reading="Diamond and line: measured, with the 95 % interval. Tick: promised. Grey: up to "
        "where the true rate may lie, given the calibration rollouts (90 %). Red: to be "
        "looked at.",
    )


def _comparison_section(fleet: Fleet) -> PageSection:
    groups: defaultdict[str, list[ComparedRobot]] = defaultdict(list)
    for robot in fleet.robots:
        groups[robot.figures.bundle].append(robot)
    alone = sum(len(group) == 1 for group in groups.values())
    paragraphs = [
        "Robots are compared only with those that have the same bundle: by how many of their "
        "successful rollouts raise an alarm, and how many lie high or low among the calibration "
        "rollouts. In each of these a robot is compared with those three quarters of the others "
        "that show it most. The e-value is what a bet of 1 against “it is like them” has won.",
        f"Of the robots that are named as unlike the others, at most {100 * fleet.level:g} % are "
        "not, on average (e-BH). This holds for one page: with a page every day there are as "
        "many chances to name a robot wrongly.",
        "Unlike is not broken: a robot with other work, light or hands is unlike the others, too.",
    ]
    if alone:
        paragraphs.append(f"{alone} of {len(groups)} bundles are those of one robot alone.")
    return PageSection(
        "unlike",
        "Which robots are unlike the others",
        paragraphs=tuple(paragraphs),
        tables=tuple(_comparison_tables(groups.items())),
    )


def _comparison_tables(
    groups: Iterable[tuple[str, list[ComparedRobot]]],
) -> Iterator[TextTable]:
    for bundle, group in groups:
        if any(robot.comparison is not None for robot in group):
            n = group[0].figures.calibration_rollouts
            why = ", by alarms alone: it is not among the sources, or not of one task"
            title = f"Bundle {printable(bundle, 12)}{why if n is None else ''}"
            yield comparison_table(group, title)


def _earlier_section(fleet: Fleet) -> tuple[PageSection, ...]:
    table = earlier_table(fleet)
    if not table.rows:
        return ()
    return (PageSection("earlier", "Earlier bundles", tables=(table,)),)
