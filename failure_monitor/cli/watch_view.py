# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Watched monitors drawn in a terminal: state, reason, scores with their course, rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from failure_monitor.appearance import APPEARANCES, OVER, UNDER, Colour, ratio_in_words
from failure_monitor.cli.watched_monitor import NodeStatus, WatchedMonitor

BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
"""The heights of a sparkline, where the terminal has them, and where it has letters only."""

TOP = 2.0
"""The normalised score at the upper end; the threshold is in the middle."""

BAR_CELLS = 24
SPARK_CELLS = 40

LEVEL_WORDS = ("ok", "warning", "error", "stale")


def draw(monitors: Sequence[WatchedMonitor], now: float, *, unicode: bool) -> RenderableType:
    """All monitors, one below the other.

    Args:
        monitors: at least one.
        now: seconds of the monotonic clock.
        unicode: whether the terminal has more than ASCII.
    """
    return Group(*(_monitor(monitor, now, unicode) for monitor in monitors))


def headline(monitor: WatchedMonitor, now: float) -> str:
    """State and reason in one line."""
    if monitor.said is None:
        return f"{monitor.name} STALE: it has not said anything yet"
    if monitor.is_silent(now):
        return (
            f"{monitor.name} STALE: silent for {monitor.silence(now):.0f} s, it was "
            f"{monitor.said.value}: the monitor is gone, hangs or is cut off"
        )
    return f"{monitor.name} {monitor.said.value}: {monitor.reason}"


def sparkline(course: Iterable[float], *, unicode: bool) -> Text:
    """The course of a score; whatever is in the upper half of the heights is over."""
    heights = BLOCKS if unicode else LETTERS
    line = Text()
    for ratio in list(course)[-SPARK_CELLS:]:
        if math.isnan(ratio):
            line.append(" ")
            continue
        half, is_over = len(heights) // 2, ratio > 1
        share = min(max(ratio - is_over, 0.0), 1.0)
        place = min(int(share * half), half - 1) + half * is_over
        line.append(heights[place], style=_style(OVER if is_over else UNDER))
    return line


def bar(ratio: float, *, unicode: bool) -> Text:
    """A bar from 0 to twice the threshold, which a mark in its middle shows."""
    full, empty, mark = ("█", "·", "│") if unicode else ("#", ".", "|")
    filled = 0 if math.isnan(ratio) else round(min(max(ratio, 0.0), TOP) / TOP * BAR_CELLS)
    cells = full * filled + empty * (BAR_CELLS - filled)
    middle = BAR_CELLS // 2
    return Text(cells[:middle] + mark + cells[middle:], _style(OVER if ratio > 1 else UNDER))


def _style(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _monitor(monitor: WatchedMonitor, now: float, unicode: bool) -> Panel:
    state = monitor.state(now)
    look = APPEARANCES[state]
    sign = look.glyph if unicode else look.sign
    word = Text(f" {sign} {state.value} ", f"bold {_style(look.ink)} on {_style(look.colour)}")
    reason = headline(monitor, now).partition(": ")[2]
    parts: list[RenderableType] = [Text.assemble(word, "  ", _permit(monitor, now)), Text(reason)]
    if monitor.courses and not monitor.is_silent(now):
        parts.append(_scores(monitor, unicode))
    parts.append(_rates(monitor, now))
    parts += [_status(status) for status in monitor.recent_statuses(now) if status.level]
    return Panel(Group(*parts), title=Text(monitor.name), title_align="left", expand=False)


def _permit(monitor: WatchedMonitor, now: float) -> str:
    if monitor.is_silent(now):
        return "no word of a permit: the gate is closed"
    permits = monitor.values.get("permit") == "true"
    halted = "; halted until ~/reset" if monitor.values.get("halted") == "true" else ""
    return ("commands are permitted" if permits else "no command is permitted") + halted


def _scores(monitor: WatchedMonitor, unicode: bool) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("score")
    table.add_column("of threshold", justify="right")
    table.add_column(f"{'│' if unicode else '|'} is the threshold")
    table.add_column("last decisions")
    for name, ratio in monitor.ratios().items():
        table.add_row(
            Text(name),
            ratio_in_words(ratio),
            bar(ratio, unicode=unicode),
            sparkline(monitor.courses.get(name, ()), unicode=unicode),
        )
    return table


def _rates(monitor: WatchedMonitor, now: float) -> Text:
    alarms, decisions = monitor.rates(now)
    words = [f"alarm {alarms:.1f}/s", f"decisions {decisions:.1f}/s"]
    if "decision_age" in monitor.values and not monitor.is_silent(now):
        words.append(f"the last {monitor.values['decision_age']} s old")
    for status in monitor.recent_statuses(now):
        if "received_rate" in status.values:
            topic = status.name.partition(": ")[2]
            words.append(f"{topic} {float(status.values['received_rate']):.1f}/s")
    return Text(", ".join(words), style="dim")


def _status(status: NodeStatus) -> Text:
    word = LEVEL_WORDS[min(status.level, len(LEVEL_WORDS) - 1)]
    return Text(f"{word}: {status.name}: {status.message}", style="italic")
