# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor fleet`."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from failure_monitor.atomic_file import write_atomically, write_json
from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.cli.options import Delta
from failure_monitor.cli.terminal_table import terminal_table
from failure_monitor.printable_text import printable

if TYPE_CHECKING:
    from failure_monitor.fleet.fleet import Fleet
    from failure_monitor.fleet.incident_bags import IncidentBag

SHOWN = 6
"""Number of robots, and of places that were not read, that the terminal explains."""

WIDE = 96
"""Characters in a line of a terminal from which on all columns are shown."""


def fleet(
    sources: Annotated[
        list[Path],
        Argument(
            help="folders that hold a folder for each robot, with its rollout logs, the promises' "
            "files, bundles and incidents; or ROBOT=PATH"
        ),
    ],
    json: Annotated[
        Path | None, Option(help="write all of it here as JSON", writes="file")
    ] = None,
    html: Annotated[
        Path | None, Option(help="write one page that holds all it shows here", writes="file")
    ] = None,
    shift_hours: Annotated[
        str, Option(help="the hours at which shifts begin, by local time", is_optional=False)
    ] = "6,14,22",
    false_discovery_rate: Annotated[
        float,
        Option(
            above=0,
            below=1,
            help="of the robots that are named as unlike the others, the share that are not, on "
            "average",
        ),
    ] = 0.1,
    delta: Delta = 0.01,
    jobs: Annotated[
        int | None,
        Option(
            help="processes that read robots at a time; default: as many as cores",
            min=1,
            max=4096,
        ),
    ] = None,
) -> None:
    """Show many robots in one table: alarms, stops, promises, and who is unlike the others."""
    from failure_monitor.executors.choice import chosen_executor
    from failure_monitor.fleet.fleet import read_fleet
    from failure_monitor.fleet.robot_folders import find_robots
    from failure_monitor.fleet.shifts import ShiftPlan

    if html is not None:
        from failure_monitor.report.page import reject_other_page

        reject_other_page(html)
    plan = ShiftPlan.read(shift_hours, time.time())
    read = read_fleet(
        find_robots(sources),
        plan,
        level=false_discovery_rate,
        delta=delta,
        executor=chosen_executor("processes", jobs=jobs),
    )
    _print(read)
    if json is not None:
        write_json(json, read.to_json())
    if html is not None:
        from failure_monitor.fleet.fleet_page import fleet_page
        from failure_monitor.report.page import render

        made = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
        write_atomically(html, render(fleet_page(read, made)))
        output.print(f"wrote {printable(str(html))}", soft_wrap=True, markup=False)


def _print(read: Fleet) -> None:
    from failure_monitor.fleet.fleet_tables import COLUMNS, concerned, robots_table

    columns = len(COLUMNS) if output.width >= WIDE else len(COLUMNS) - 2
    output.print(terminal_table(robots_table(read, columns), is_compact=True))
    worst = concerned(read)
    lines = [f"{robot.name}: {'; '.join(robot.concerns)}" for robot in worst[:SHOWN]]
    if len(worst) > SHOWN:
        lines.append(f"and {len(worst) - SHOWN} more to look at: --html shows all")
    number = sum(map(len, read.incidents.values()))
    if number:
        newest = max((each for all in read.incidents.values() for each in all), key=_time)
        lines.append(f"{number} incidents, the newest: {newest.path}")
    lines += [f"not read: {each.place}: {each.reason}" for each in read.unread[:SHOWN]]
    if len(read.unread) > SHOWN:
        lines.append(f"and {len(read.unread) - SHOWN} more not read: --html shows all")
    for line in lines:
        output.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def _time(incident: IncidentBag) -> float:
    return incident.time
