# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A fleet: all robots, compared with one another and sorted by urgency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from failure_monitor.bundle.description import BundleDescription
from failure_monitor.bundle.folder import BundleError, content_hash, load_description
from failure_monitor.executors.executor import Executor, Finished, nothing_finished
from failure_monitor.fleet.incident_bags import IncidentBag
from failure_monitor.fleet.robot_figures import (
    FleetSettings,
    RobotFigures,
    RobotReading,
    ShiftCount,
    read_robot,
)
from failure_monitor.fleet.robot_folders import FleetFolders, Unread
from failure_monitor.fleet.shifts import Shift, ShiftPlan
from failure_monitor.fleet.unlike import Comparison, compare, e_bh
from failure_monitor.promise.watch import PromiseWord
from failure_monitor.schema import plain

USUAL_LEVEL = 0.1
"""The usual false-discovery rate."""

COPIED = 3
"""Number of rollouts that two robots may have of the same names by chance."""


@dataclass(frozen=True)
class ComparedRobot:
    """One monitor of a robot with one bundle, beside the others.

    Attributes:
        name: the robot's name; with that of the monitor, where it has several.
        figures: what was added up.
        comparison: with the others of the same bundle; None where there is none.
        is_present: whether it is the bundle that this monitor used last.
    """

    name: str
    figures: RobotFigures
    comparison: Comparison | None
    is_present: bool

    @property
    def is_unlike(self) -> bool:
        """Whether it is unlike the others."""
        return self.comparison is not None and self.comparison.is_unlike

    @property
    def concerns(self) -> tuple[str, ...]:
        """What to look at, the worst first."""
        figures = self.figures
        promise, ends = figures.promise, figures.outcomes
        found = []
        if promise is not None and promise.word is PromiseWord.BROKEN:
            found.append(f"promise {promise.text}")
        if self.comparison is not None and self.is_unlike:
            found.append(_unlike(self.comparison))
        if figures.false_alarms.exceeds_promise:
            found.append("more false alarms than its bundle promises, and more than chance")
        if promise is not None and promise.word is PromiseWord.DOUBTFUL:
            found.append(f"promise {promise.text}")
        if ends.labelled_false:
            found.append(
                f"{ends.labelled_false} of {ends.claimed} claimed successes were failures, by the "
                "operator"
            )
        return tuple(found)

    @property
    def _order(self) -> tuple[object, ...]:
        figures, word = self.figures, self.figures.promise and self.figures.promise.word
        log_e = 0.0 if self.comparison is None else self.comparison.log_e
        return (
            not self.is_present,
            word is not PromiseWord.BROKEN,
            not self.is_unlike,
            not figures.false_alarms.exceeds_promise,
            word is not PromiseWord.DOUBTFUL,
            not figures.outcomes.labelled_false,
            -figures.alarms_per_shift,
            -log_e,
            self.name,
        )


@dataclass(frozen=True)
class Fleet:
    """All that is known of a fleet.

    Attributes:
        robots: the one to look at first on top; earlier bundles of a monitor last.
        incidents: of each robot, newest first.
        unread: what could not be read, and what was left out.
        level: the false-discovery rate.
        plan: when shifts begin.
    """

    robots: tuple[ComparedRobot, ...]
    incidents: Mapping[str, tuple[IncidentBag, ...]]
    unread: tuple[Unread, ...]
    level: float
    plan: ShiftPlan

    @property
    def present(self) -> tuple[ComparedRobot, ...]:
        """Those with the bundle that their monitor used last."""
        return tuple(robot for robot in self.robots if robot.is_present)

    @property
    def shifts(self) -> dict[Shift, ShiftCount]:
        """What happened in every shift, in all robots together, in order of time."""
        found: defaultdict[Shift, ShiftCount] = defaultdict(ShiftCount)
        for robot in self.robots:
            for shift, count in robot.figures.shifts.items():
                found[shift] += count
        return dict(sorted(found.items()))

    @property
    def total(self) -> ShiftCount:
        """What happened in all."""
        return sum((robot.figures.total for robot in self.robots), ShiftCount())

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's own types."""
        return {
            "what": "a fleet, by failure_monitor",
            "version": 1,
            "false_discovery_rate": self.level,
            "shift_hours": list(self.plan.hours),
            "robots": [_robot_json(robot) for robot in self.robots],
            "shifts": _shifts_json(self.shifts),
            "incidents": {
                robot: [_incident_json(each) for each in incidents]
                for robot, incidents in self.incidents.items()
            },
            "unread": plain(self.unread),
        }


def read_fleet(
    folders: FleetFolders,
    plan: ShiftPlan,
    *,
    level: float = USUAL_LEVEL,
    delta: float,
    executor: Executor,
    finished: Finished = nothing_finished,
) -> Fleet:
    """Read the robots of a fleet, and compare those that have a bundle in common.

    Args:
        folders: what was found of them.
        plan: when shifts begin.
        level: the false-discovery rate of the robots that are named as unlike the others.
        delta: the chance that a promise that holds is ever called broken.
        executor: what reads the robots.
        finished: receives the place of each robot that was read.
    """
    bundles, unread = _bundles(folders.bundles)
    settings = FleetSettings(bundles, plan, delta)
    readings = executor.map(read_robot, settings, folders.robots, finished=finished)
    names = [each.robot for each in folders.robots]
    found = [figures for reading in readings for figures in reading.figures]
    unread += [*folders.unread, *(each for reading in readings for each in reading.unread)]
    unread += _copies(names, readings)
    return Fleet(
        robots=tuple(sorted(_compared(found, level), key=lambda robot: robot._order)),
        incidents={
            name: reading.incidents
            for name, reading in zip(names, readings, strict=True)
            if reading.incidents
        },
        unread=tuple(unread),
        level=level,
        plan=plan,
    )


def _bundles(folders: Sequence[Path]) -> tuple[dict[str, BundleDescription], list[Unread]]:
    bundles: dict[str, BundleDescription] = {}
    unread = []
    for folder in folders:
        try:
            sha256 = content_hash(folder)
            if sha256 not in bundles:
                bundles[sha256] = load_description(folder)
        except BundleError as error:
            unread.append(Unread(str(folder), str(error).removeprefix(f"{folder}").lstrip("/: ")))
    return bundles, unread


def _compared(found: Sequence[RobotFigures], level: float) -> list[ComparedRobot]:
    monitors: defaultdict[str, set[str]] = defaultdict(set)
    groups: defaultdict[str, list[RobotFigures]] = defaultdict(list)
    last: dict[tuple[str, str], RobotFigures] = {}
    for figures in found:
        monitors[figures.robot].add(figures.monitor)
        groups[figures.bundle].append(figures)
        key = (figures.robot, figures.monitor)
        last[key] = max(last.get(key, figures), figures, key=lambda each: each.last or 0.0)
    robots = []
    for group in groups.values():
        counted = [figures.counted for figures in group]
        comparisons = compare(counted, group[0].calibration_rollouts)
        for figures, comparison in zip(group, comparisons, strict=True):
            has_several = len(monitors[figures.robot]) > 1
            name = f"{figures.robot} {figures.monitor}" if has_several else figures.robot
            is_present = last[figures.robot, figures.monitor] is figures
            robots.append(ComparedRobot(name, figures, comparison, is_present))
    return _named(robots, level)


def _named(robots: Sequence[ComparedRobot], level: float) -> list[ComparedRobot]:
    """Return the robots, with those named that are unlike the others of their bundle."""
    compared = [each.comparison for each in robots if each.comparison is not None]
    rejected = iter(e_bh([each.log_e for each in compared], level))
    return [
        robot
        if robot.comparison is None
        else replace(robot, comparison=replace(robot.comparison, is_unlike=next(rejected)))
        for robot in robots
    ]


def _copies(names: Sequence[str], readings: Sequence[RobotReading]) -> list[Unread]:
    """Return which robots have rollouts in common: one is a copy of the other."""
    found = []
    for at, (name, reading) in enumerate(zip(names, readings, strict=True)):
        for other, earlier in zip(names[:at], readings[:at], strict=True):
            common = len(reading.names & earlier.names)
            if common > COPIED:
                found.append(
                    Unread(
                        name,
                        f"{common} of its rollouts have the names of rollouts of '{other}': one "
                        "is a copy of the other, and counts twice: leave it out",
                        name,
                    )
                )
    return found


def _unlike(comparison: Comparison) -> str:
    mostly = comparison.mostly
    return (
        f"unlike the others: {mostly.event.value} ({mostly.events} of {mostly.rollouts} rollouts, "
        f"{mostly.other_events} of {mostly.other_rollouts} of those like most; e-value "
        f"{comparison.e_value:.3g})"
    )


def _robot_json(robot: ComparedRobot) -> dict[str, Any]:
    figures = robot.figures
    interval = figures.false_alarms.interval
    return {
        "name": robot.name,
        "robot": figures.robot,
        "monitor": figures.monitor,
        "bundle": figures.bundle,
        "is_present_bundle": robot.is_present,
        "concerns": list(robot.concerns),
        "first": figures.first,
        "last": figures.last,
        **plain(figures.total),
        "interventions": figures.interventions,
        "undated": figures.undated,
        "set_back": figures.set_back,
        "alarms_per_shift": figures.alarms_per_shift,
        "stops_per_shift": figures.stops_per_shift,
        "false_alarms": {
            **plain(figures.false_alarms),
            "interval_95": None if interval is None else list(interval),
            "exceeds_promise": figures.false_alarms.exceeds_promise,
        },
        "promise": None
        if figures.promise is None
        else {"text": figures.promise.text, **plain(figures.promise)},
        "promise_unknown": figures.why_unknown,
        "outcomes": plain(figures.outcomes),
        "scores": dict(figures.scores),
        "compared": None if robot.comparison is None else _comparison_json(robot.comparison),
        "shifts": _shifts_json(figures.shifts),
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "e_value": comparison.e_value,
        "is_unlike": comparison.is_unlike,
        "mostly": comparison.mostly.event.value,
        "events": [{**plain(each), "e_value": each.e_value} for each in comparison.evidence],
    }


def _incident_json(incident: IncidentBag) -> dict[str, Any]:
    return {
        "place": str(incident.path),
        "time": incident.time,
        "cause": incident.cause,
        "reason": incident.reason,
        "is_labelled": incident.is_labelled,
    }


def _shifts_json(shifts: Mapping[Shift, ShiftCount]) -> list[dict[str, Any]]:
    return [{"shift": str(shift), **plain(count)} for shift, count in shifts.items()]
