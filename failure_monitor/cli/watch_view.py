# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Watched monitors drawn in a terminal: state, reason, scores with their course, rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from failure_monitor.cli.watched_monitor import NodeStatus, WatchedMonitor
from failure_monitor.display.appearance import hexadecimal
from failure_monitor.display.score_bar import bar_colour, ratio_text
from failure_monitor.display.state_text import paragraphs
from failure_monitor.display.terminal import bar, state_label

BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
"""The heights of a sparkline, where the terminal has them, and where it has letters only."""

BAR_CELLS, MIN_BAR_CELLS = 24, 10
SPARK_CELLS, MIN_SPARK_CELLS = 40, 14
"""Of a wide terminal and of a narrow one; bars have an even number, for the mark in the middle."""

BESIDE = 12
"""Columns of a terminal that neither bars nor words take: the frame, and what sets them apart."""

PROBLEMS = {"label_problem": "the label is refused", "judges_problem": "judges are missing"}
"""Values of how a rollout ended that say what is wrong, and what each is about."""

LEVEL_WORDS = ("ok", "warning", "error", "stale")


def draw(
    monitors: Sequence[WatchedMonitor], now: float, *, unicode: bool, width: int
) -> RenderableType:
    """Draw all monitors, one below the other; of several, the states first.

    Args:
        monitors: at least one.
        now: seconds of the monotonic clock.
        unicode: whether the terminal has more than ASCII.
        width: of the terminal, in columns.
    """
    panels = [_monitor(monitor, now, unicode, width) for monitor in monitors]
    # Where the terminal is too low for all panels, alarms must stay above its edge.
    return Group(*_states(monitors, now, unicode), *panels)


def headline(monitor: WatchedMonitor, now: float) -> str:
    """State and reason in one line."""
    if monitor.alarm is None:
        return f"{monitor.name} STALE: no message has come yet"
    if monitor.is_silent(now):
        return (
            f"{monitor.name} STALE: silent for {monitor.silence(now):.0f} s, it was "
            f"{monitor.alarm.state.value}: the monitor is gone, hangs or is cut off"
        )
    return f"{monitor.name} {monitor.alarm.state.value}: {'; '.join(paragraphs(monitor.alarm))}"


def sparkline(course: Iterable[float], *, unicode: bool, cells: int = SPARK_CELLS) -> Text:
    """Draw a score's newest ratios; the upper half of the heights is above the threshold."""
    heights = BLOCKS if unicode else LETTERS
    line = Text()
    for ratio in list(course)[-cells:]:
        if math.isnan(ratio):
            line.append(" ")
            continue
        half, is_over = len(heights) // 2, ratio > 1
        share = min(max(ratio - is_over, 0.0), 1.0)
        place = min(int(share * half), half - 1) + half * is_over
        line.append(heights[place], style=hexadecimal(bar_colour(ratio)))
    return line


def _states(monitors: Sequence[WatchedMonitor], now: float, unicode: bool) -> Iterator[Text]:
    if len(monitors) > 1:
        for monitor in monitors:
            yield Text.assemble(
                state_label(monitor.state(now), unicode=unicode), f" {monitor.name}"
            )


def _monitor(monitor: WatchedMonitor, now: float, unicode: bool, width: int) -> Panel:
    word = state_label(monitor.state(now), unicode=unicode)
    parts: list[RenderableType] = [Text.assemble(word, "  ", _permit(monitor, now))]
    if monitor.alarm is None or monitor.is_silent(now):
        parts.append(Text(headline(monitor, now).partition(": ")[2]))
    else:
        parts += map(Text, paragraphs(monitor.alarm))
    if monitor.courses and monitor.ratios() and not monitor.is_silent(now):
        parts.append(_scores(monitor, unicode, width))
    parts.append(_rates(monitor, now))
    parts += _outcome(monitor)
    parts += [_status(status) for status in monitor.recent_statuses(now) if status.level]
    return Panel(Group(*parts), title=Text(monitor.name), title_align="left", expand=False)


def _permit(monitor: WatchedMonitor, now: float) -> str:
    if monitor.alarm is None or monitor.is_silent(now):
        return "no word of a permit: the gate is closed"
    halted = "; halted until ~/reset" if monitor.alarm.halted else ""
    return (
        "commands are permitted" if monitor.alarm.permit else "no command is permitted"
    ) + halted


def _scores(monitor: WatchedMonitor, unicode: bool, width: int) -> Table:
    ratios = monitor.ratios()
    words = max(map(len, ratios)) + max(len(ratio_text(ratio)) for ratio in ratios.values())
    bar_cells, spark_cells = _cells(width - BESIDE - words)
    table = Table(box=None, padding=(0, 1))
    table.add_column("score", no_wrap=True)
    table.add_column("ratio", no_wrap=True, justify="right")
    table.add_column(f"{'│' if unicode else '|'} threshold", no_wrap=True)
    table.add_column("last decisions", no_wrap=True)
    for name, ratio in ratios.items():
        course = monitor.courses.get(name, ())
        table.add_row(
            Text(name),
            ratio_text(ratio),
            bar(ratio, unicode=unicode, cells=bar_cells),
            sparkline(course, unicode=unicode, cells=spark_cells),
        )
    return table


def _cells(room: int) -> tuple[int, int]:
    """Return the cells of a bar and of a sparkline; where room is short the bar shrinks first."""
    room -= 1  # the bar's mark
    bar_cells = min(BAR_CELLS, max(MIN_BAR_CELLS, (room - SPARK_CELLS) // 2 * 2))
    return bar_cells, min(SPARK_CELLS, max(MIN_SPARK_CELLS, room - bar_cells))


def _rates(monitor: WatchedMonitor, now: float) -> Text:
    alarms, decisions = monitor.rates(now)
    words = [f"alarm {alarms:.1f}/s", f"decisions {decisions:.1f}/s"]
    age = None if monitor.alarm is None else monitor.alarm.decision_age
    if age is not None and not monitor.is_silent(now):
        words.append(f"the last {age:.3f} s old")
    for status in monitor.recent_statuses(now):
        if "received_rate" in status.values:
            topic = status.name.partition(": ")[2]
            words.append(f"{topic} {float(status.values['received_rate']):.1f}/s")
    return Text(", ".join(words), style="dim")


def _outcome(monitor: WatchedMonitor) -> Iterator[Text]:
    if monitor.outcome is not None and monitor.outcome.rollout:
        yield Text(monitor.outcome.text)
    values = {} if monitor.outcome is None else monitor.outcome.values
    for name, what in PROBLEMS.items():
        if problem := values.get(name):
            yield Text(f"{what}: {problem}", style="italic")


def _status(status: NodeStatus) -> Text:
    word = LEVEL_WORDS[min(status.level, len(LEVEL_WORDS) - 1)]
    return Text(f"{word}: {status.name}: {status.message}", style="italic")
