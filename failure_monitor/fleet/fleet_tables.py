# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A fleet as tables of text: for a terminal, a row for each robot; more for a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from failure_monitor.fleet.fleet import ComparedRobot, Fleet
from failure_monitor.fleet.robot_figures import FalseAlarms, ShiftCount
from failure_monitor.fleet.robot_folders import Unread
from failure_monitor.fleet.unlike import Comparison
from failure_monitor.printable_text import printable
from failure_monitor.promise.watch import PromiseState
from failure_monitor.text_table import TextTable

NAME = 20
"""Letters of a name in a table; JSON has all of it."""

PAGE_SHIFTS = 12
"""Number of the last shifts that are shown by robot; JSON has all."""

PAGE_INCIDENTS = 50
"""Number of the newest incidents of a robot that are shown."""

NOTHING = "–"


COLUMNS = (
    "robot",
    "rollouts",
    "alarms",
    "stops",
    "false alarms",
    "promise",
    "unlike",
    "mostly",
    "false ends",
)


def robots_table(fleet: Fleet, columns: int = len(COLUMNS)) -> TextTable:
    """Return a row for each robot, the one to look at first on top.

    Args:
        fleet: the fleet.
        columns: how many columns there is room for.
    """
    return TextTable(
        title=headline(fleet),
        columns=COLUMNS[:columns],
        rows=tuple(_robot_row(robot)[:columns] for robot in fleet.present),
        caption=(
            "alarms, stops: rollouts with one, per shift. false alarms: of successful rollouts, "
            f"with the 95 % interval; promised: {_promised(fleet)}. unlike: what it shows more "
            f"often than the others (false-discovery rate {fleet.level:g}). mostly: the score of "
            "most alarms. false ends: claimed successes that an operator called failures"
        ),
        left_aligned=frozenset({"promise", "unlike", "mostly"}),
    )


def headline(fleet: Fleet) -> str:
    """Return what the fleet is, in a line."""
    total, looked = fleet.total, concerned(fleet)
    robots = len({robot.figures.robot for robot in fleet.robots})
    shifts = [*fleet.shifts]
    when = f", {shifts[0].date} to {shifts[-1].date}" if shifts else ""
    return (
        f"{robots} {'robot' if robots == 1 else 'robots'}, {total.rollouts} rollouts in "
        f"{len(shifts)} shifts{when}; {len(looked)} to look at"
    )


def concerned(fleet: Fleet) -> list[ComparedRobot]:
    """Return the robots of which something is to be looked at."""
    return [robot for robot in fleet.present if robot.concerns]


def _robot_row(robot: ComparedRobot) -> tuple[str, ...]:
    figures = robot.figures
    ends = figures.outcomes
    return (
        printable(robot.name, NAME),
        str(figures.total.rollouts),
        f"{figures.alarms_per_shift:.1f}",
        f"{figures.stops_per_shift:.1f}",
        false_alarms_text(figures.false_alarms),
        promise_text(figures.promise),
        robot.comparison.mostly.event.value
        if robot.comparison is not None and robot.is_unlike
        else "",
        printable(next(iter(figures.scores), ""), NAME),
        f"{ends.labelled_false} of {ends.claimed}" if ends.labelled_false else "",
    )


def false_alarms_text(alarms: FalseAlarms) -> str:
    """Return the number of false alarms, and the interval of their rate."""
    interval = alarms.interval
    if interval is None:
        return NOTHING
    low, high = (100 * end for end in interval)
    more = "!" if alarms.exceeds_promise else ""
    return f"{alarms.alarms}/{alarms.successes} ({low:.0f}–{high:.0f} %){more}"


def promise_text(promise: PromiseState | None) -> str:
    """Return a promise in a few words."""
    if promise is None:
        return "unknown"
    if promise.broken_since is not None:
        return f"broken at {promise.broken_since}"
    return promise.word.value


def _promised(fleet: Fleet) -> str:
    rates = sorted({robot.figures.false_alarms.promised for robot in fleet.present})
    listed = [f"{100 * rate:g} %" for rate in rates]
    if len(listed) > 3:
        return f"{listed[0]} to {listed[-1]}"
    return " or ".join(listed) or NOTHING


def comparison_table(robots: Sequence[ComparedRobot], title: str) -> TextTable:
    """Return the e-values of the robots of one bundle, largest first."""
    compared = [(robot.name, robot.comparison) for robot in robots if robot.comparison is not None]
    compared.sort(key=lambda each: -each[1].log_e)
    return TextTable(
        title=title,
        columns=("robot", "e-value", "unlike the others", "mostly", "its rollouts", "the others"),
        rows=tuple(_comparison_row(name, comparison) for name, comparison in compared),
        left_aligned=frozenset({"unlike the others", "mostly"}),
    )


def _comparison_row(name: str, comparison: Comparison) -> tuple[str, ...]:
    mostly = comparison.mostly
    return (
        printable(name, 2 * NAME),
        f"{comparison.e_value:.3g}",
        "yes" if comparison.is_unlike else "no",
        mostly.event.value,
        _share(mostly.events, mostly.rollouts),
        f"{_share(mostly.other_events, mostly.other_rollouts)}, {mostly.robots} robots",
    )


def _share(events: int, rollouts: int) -> str:
    return f"{events}/{rollouts} ({100 * events / max(rollouts, 1):.0f} %)"


def outcomes_table(robots: Sequence[ComparedRobot]) -> TextTable:
    """Return how the robots' rollouts ended."""
    return TextTable(
        title="How rollouts ended",
        columns=(
            "robot",
            "rollouts",
            "success claimed",
            "confirmed",
            "doubtful",
            "doubted by judges",
            "labelled false",
            "failed",
            "unknown",
            "a human acted",
        ),
        rows=tuple(
            (
                printable(robot.name, 2 * NAME),
                str(robot.figures.total.rollouts),
                str(ends.claimed),
                str(ends.confirmed),
                str(ends.doubtful),
                str(ends.doubted_by_judges),
                str(ends.labelled_false),
                str(ends.failed),
                str(ends.unknown),
                str(robot.figures.interventions),
            )
            for robot in robots
            for ends in [robot.figures.outcomes]
        ),
    )


def scores_table(robots: Sequence[ComparedRobot]) -> TextTable:
    """Return in how many rollouts with an alarm each score was highest; the first six scores."""
    totals: dict[str, int] = {}
    for robot in robots:
        for score, number in robot.figures.scores.items():
            totals[score] = totals.get(score, 0) + number
    names = sorted(totals, key=lambda name: (-totals[name], name))[:6]
    return TextTable(
        title="Which score was highest in rollouts with an alarm",
        columns=("robot", *(printable(name, NAME) or "unknown" for name in names), "others"),
        rows=tuple(
            (
                printable(robot.name, 2 * NAME),
                *(str(robot.figures.scores.get(name, 0)) for name in names),
                str(sum(n for name, n in robot.figures.scores.items() if name not in names)),
            )
            for robot in robots
        ),
    )


def shifts_table(fleet: Fleet) -> TextTable:
    """Return alarms and stops of the last shifts, by robot."""
    shifts = [*fleet.shifts][-PAGE_SHIFTS:]
    rows = [
        (
            printable(robot.name, 2 * NAME),
            *(_shift_text(robot.figures.shifts.get(shift)) for shift in shifts),
        )
        for robot in fleet.present
    ]
    rows.append(("all", *(_shift_text(fleet.shifts[shift]) for shift in shifts)))
    return TextTable(
        title="Alarms, stops and rollouts of the last shifts",
        columns=("robot", *(str(shift)[5:] for shift in shifts)),
        rows=tuple(rows),
        caption="alarms / stops of rollouts; shifts by local time, when they begin",
    )


def _shift_text(count: ShiftCount | None) -> str:
    if count is None:
        return ""
    return f"{count.alarms}/{count.stops} of {count.rollouts}"


def earlier_table(fleet: Fleet) -> TextTable:
    """Return the robots' earlier bundles."""
    return TextTable(
        title="Earlier bundles",
        columns=("robot", "bundle", "rollouts", "last", "false alarms", "promise"),
        rows=tuple(
            (
                printable(robot.name, 2 * NAME),
                printable(robot.figures.bundle, 12),
                str(robot.figures.total.rollouts),
                when(robot.figures.last),
                false_alarms_text(robot.figures.false_alarms),
                promise_text(robot.figures.promise),
            )
            for robot in fleet.robots
            if not robot.is_present
        ),
        left_aligned=frozenset({"bundle", "promise"}),
    )


def incidents_tables(fleet: Fleet) -> list[TextTable]:
    """Return the newest incidents, a table for each robot."""
    return [
        TextTable(
            title=f"{printable(robot, 2 * NAME)}: {len(incidents)} incidents",
            columns=("when", "cause", "why", "labelled", "place"),
            rows=tuple(
                (
                    when(each.time or None),
                    printable(each.cause, NAME),
                    printable(each.reason, 160),
                    "yes" if each.is_labelled else "",
                    printable(str(each.path)),
                )
                for each in incidents[:PAGE_INCIDENTS]
            ),
            caption=f"the {PAGE_INCIDENTS} newest" if len(incidents) > PAGE_INCIDENTS else "",
            left_aligned=frozenset({"cause", "why", "place"}),
        )
        for robot, incidents in fleet.incidents.items()
    ]


def unread_table(unread: Sequence[Unread]) -> TextTable:
    """Return what could not be read."""
    return TextTable(
        title="Not read",
        columns=("place", "why"),
        rows=tuple((printable(each.place), printable(each.reason)) for each in unread),
        left_aligned=frozenset({"why"}),
    )


def when(time: float | None) -> str:
    """Return a time, in seconds since 1970, as local time."""
    try:
        return "unknown" if time is None else f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # of a year that no calendar has
        return "unknown"
