# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One figure per rollout: scores against the threshold over time, and what the camera saw.

Colours are those of Okabe and Ito, which colour-blind readers can distinguish; colour is never the
only mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from failure_monitor.demo import jpeg
from failure_monitor.demo.summary import RolloutSummary, summarise
from failure_monitor.demo.timeline import Frame, TimedAlarm, Timeline
from failure_monitor.display.appearance import APPEARANCES, BLACK, REDDISH_PURPLE, hexadecimal
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.report.score_style import score_style, score_title

ALARM_COLOUR = hexadecimal(APPEARANCES[AlarmState.ALARM].colour)
PERTURBATION_COLOUR, INK = hexadecimal(REDDISH_PURPLE), hexadecimal(BLACK)
RULE_COLOUR = "#7F7F7F"

FRAMES = 9
"""Camera frames along the axis."""

SIZE = (10.0, 5.4)
"""Inches."""

DOTS_PER_INCH = 150

RATIO_TICKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


HATCHES = {
    AlarmState.CAUTION: "....",
    AlarmState.ALARM: "///",
    AlarmState.STALE: "xxx",
}
"""How a state's background is hatched; `NOMINAL` has none."""


@dataclass(frozen=True)
class Mark:
    """A moment: seconds from the begin, and how it is drawn."""

    time: float
    label: str
    color: str
    linestyle: str


def save_figure(timeline: Timeline, path: Path) -> None:
    """Draw a rollout into a PNG file."""
    draw(timeline).savefig(path, dpi=DOTS_PER_INCH)


def draw(timeline: Timeline) -> Figure:
    """Draw a rollout."""
    summary = summarise(timeline)
    found = marks(timeline, summary)
    figure = Figure(figsize=SIZE)
    # Room above the scores for the marks' labels, a row each.
    top = 0.915 - 0.0425 * len(found)
    scores = figure.add_axes((0.075, 0.33, 0.905, top - 0.33))
    strip = figure.add_axes((0.075, 0.02, 0.905, 0.225))
    figure.text(0.075, 0.938, title(timeline, summary), fontsize=13, fontweight="bold")
    _draw_scores(scores, timeline)
    _draw_states(scores, timeline)
    _draw_marks(scores, found)
    _draw_frames(strip, scores, timeline)
    figure.legend(
        *scores.get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(0.985, 0.995),
        ncol=3,
        fontsize=8.5,
        frameon=False,
    )
    return figure


def title(timeline: Timeline, summary: RolloutSummary) -> str:
    """Return what the rollout shows and how it ended."""
    outcome = {
        "success": "task done",
        "false success": "task not done, success claimed",
        "stopped": "stopped by the monitor",
        "failure": "task failed",
    }[summary.outcome]
    return f"{timeline.plan.title}: {outcome}"


def marks(timeline: Timeline, summary: RolloutSummary) -> list[Mark]:
    """Return the moments of a rollout, in order."""
    found = []
    if timeline.perturbed is not None:
        label = f"perturbation: {timeline.plan.perturbation.kind}"
        found.append(Mark(timeline.seconds(timeline.perturbed), label, PERTURBATION_COLOUR, "-."))
    if timeline.alarm is not None:
        label = f"alarm at decision {summary.alarm_decision}"
        found.append(Mark(timeline.seconds(timeline.alarm.time), label, ALARM_COLOUR, "-"))
    if timeline.gate_closing is not None:
        label = "gate closed"
        if summary.reaction_time is not None:
            label += f" {1e3 * summary.reaction_time:.1f} ms after the decision was published"
        found.append(Mark(timeline.seconds(timeline.gate_closing), label, INK, ":"))
    claimed = "end: success is claimed" if timeline.claim else "end: the time is up"
    end = "end: success" if timeline.success else claimed
    found.append(Mark(timeline.duration, end, "#595959", "-"))
    return found


def chosen_frames(timeline: Timeline, count: int) -> list[tuple[float, Frame]]:
    """Return the frames at the middle of `count` equal parts of the rollout, with their times."""
    if not timeline.frames:
        return []
    middles = [timeline.duration * (index + 0.5) / count for index in range(count)]
    return [
        (
            middle,
            min(timeline.frames, key=lambda frame: abs(timeline.seconds(frame.time) - middle)),
        )
        for middle in middles
    ]


def state_spans(timeline: Timeline) -> Iterator[tuple[AlarmState, float, float]]:
    """Return each state with its first and last second, equal neighbours merged."""
    readings = timeline.readings
    start = 0
    for index in range(1, len(readings) + 1):
        if index < len(readings) and readings[index].state == readings[start].state:
            continue
        last = timeline.end if index == len(readings) else readings[index].time
        yield readings[start].state, timeline.seconds(readings[start].time), timeline.seconds(last)
        start = index


def first_readings(readings: Sequence[TimedAlarm]) -> list[TimedAlarm]:
    """Return the first reading of each decision: heartbeats repeat it."""
    first: dict[int, TimedAlarm] = {}
    for reading in readings:
        if reading.decision is not None:
            first.setdefault(reading.decision, reading)
    return [reading for reading in first.values() if reading.level is not None]


def _draw_states(axes: Axes, timeline: Timeline) -> None:
    named = set()
    for state, begin, end in state_spans(timeline):
        if state not in HATCHES:
            continue
        colour = hexadecimal(APPEARANCES[state].colour)
        label = None if state in named else state.value
        named.add(state)
        axes.axvspan(
            begin,
            end,
            facecolor=(colour, 0.13),
            edgecolor=(colour, 0.35),
            hatch=HATCHES[state],
            linewidth=0,
            zorder=0,
            label=label,
        )


def _draw_scores(axes: Axes, timeline: Timeline) -> None:
    readings = first_readings(timeline.readings)
    # Decisions are drawn at their first reading: heartbeats repeat it at later times.
    # Wide and pale beneath the scores: under the rule 'any' it runs along one of them.
    axes.plot(
        [timeline.seconds(reading.time) for reading in readings],
        [reading.level or 0.0 for reading in readings],
        color=RULE_COLOUR,
        alpha=0.35,
        linewidth=7,
        solid_capstyle="round",
        label=f"rule '{readings[0].rule}'" if readings else None,
    )
    for index, (name, points) in enumerate(curves(timeline, readings).items()):
        style = score_style(index)
        axes.plot(
            *zip(*points, strict=True),
            color=style.color,
            linestyle=style.linestyle,
            marker=style.marker,
            markersize=4.5,
            linewidth=1.8,
            label=score_title(name),
        )
    axes.axhline(1.0, color=INK, linewidth=1.4, linestyle=(0, (6, 2)), label="threshold")
    _scale(axes, readings)
    axes.set_xlim(0, timeline.duration * 1.005)
    axes.set_xlabel("seconds since the rollout began")
    axes.set_ylabel("score / threshold")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def curves(
    timeline: Timeline, readings: Sequence[TimedAlarm]
) -> dict[str, list[tuple[float, float]]]:
    """Return the times and ratios of each score; undefined scores are left out of a reading."""
    # The last reading has them all, in the rule's order.
    names = [score.name for score in readings[-1].scores] if readings else []
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for reading in readings:
        for score in reading.scores:
            points.setdefault(score.name, []).append((timeline.seconds(reading.time), score.ratio))
    return points


def _scale(axes: Axes, readings: Sequence[TimedAlarm]) -> None:
    """Give an axis a logarithmic scale around the threshold."""
    ratios = [score.ratio for reading in readings for score in reading.scores if score.ratio > 0]
    axes.set_yscale("log", base=2)
    low, high = min([0.5, *ratios]), max([2.0, *ratios])
    axes.set_ylim(max(low, RATIO_TICKS[0]) / 1.2, min(high, RATIO_TICKS[-1]) * 1.6)
    axes.yaxis.set_major_locator(FixedLocator(RATIO_TICKS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _draw_marks(axes: Axes, found: Sequence[Mark]) -> None:
    right = axes.get_xlim()[1]
    for row, mark in enumerate(reversed(found)):
        axes.axvline(mark.time, color=mark.color, linestyle=mark.linestyle, linewidth=1.8)
        leans_left = mark.time > 0.6 * right
        axes.annotate(
            f"{mark.label} ▾" if leans_left else f"▾ {mark.label}",
            xy=(mark.time, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4 if leans_left else -4, 3 + 16.5 * row),
            textcoords="offset points",
            ha="right" if leans_left else "left",
            fontsize=9.5,
            color=mark.color if mark.color != PERTURBATION_COLOUR else "#9B3F73",
        )


def _draw_frames(strip: Axes, scores: Axes, timeline: Timeline) -> None:
    strip.set_axis_off()
    low, high = scores.get_xlim()
    strip.set_xlim(low, high)
    strip.set_ylim(0, 1)
    box = strip.get_position()
    # What is square on paper, in units of the axes.
    aspect = (box.width * SIZE[0]) / (box.height * SIZE[1])
    width = 0.94 * timeline.duration / FRAMES
    height = width / (high - low) * aspect
    for middle, frame in chosen_frames(timeline, FRAMES):
        left = middle - width / 2
        inset = strip.inset_axes((left, 0.88 - height, width, height), transform=strip.transData)
        inset.imshow(jpeg.decode(frame.jpeg), aspect="auto", interpolation="lanczos")
        inset.set(xticks=[], yticks=[])
        strip.text(middle, 0.91, f"{timeline.seconds(frame.time):.2f} s", ha="center", fontsize=8)
