# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The evidence against a promise, rollout by rollout."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from failure_monitor.evaluation.watched_promise import PromiseCourse
from failure_monitor.promise.watch import DOUBT
from failure_monitor.report.drawing import (
    ALARM_COLOUR,
    CONTROL_LINE,
    PALE,
    RULE_COLOUR,
    Drawing,
    axes,
    drawing,
)

LEAST, MOST = 1e-3, 1e4
"""Evidence beyond these is drawn at the edge."""


def promise_course_picture(course: PromiseCourse, kind: str) -> bytes:
    """Return the figure as a file of its own, `svg` or `png`."""
    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with axes() as drawn:
        _draw(drawn, course)
        figure = drawn.get_figure()
        assert isinstance(figure, Figure)
        figure.savefig(stream, format=kind, dpi=200, metadata=metadata)
    return stream.getvalue()


def promise_course_figure(course: PromiseCourse) -> Drawing:
    """Draw the evidence after every rollout, with the levels of doubt and of the break."""
    with axes() as drawn:
        _draw(drawn, course)
    return drawing(
        drawn,
        name="promise_course",
        title="The watched promise",
        reading="Evidence reaches the upper line at any time with a chance of at most "
        f"{course.state.delta:g} while rollouts are like those of calibration. It falls, or stays "
        "low, while they are.",
    )


def _draw(drawn: Axes, course: PromiseCourse) -> None:
    evidence = [min(max(state.evidence, LEAST), MOST) for state in course.states]
    numbers = range(1, len(evidence) + 1)
    drawn.plot(numbers, evidence, color=RULE_COLOUR, marker=".", markersize=3)
    drawn.axhline(1.0, color=ALARM_COLOUR, linewidth=1.3, linestyle=CONTROL_LINE)
    drawn.axhline(1 / DOUBT, color=PALE, linewidth=1.3, linestyle=CONTROL_LINE)
    for level, word in ((1.0, "broken"), (1 / DOUBT, "doubtful")):
        drawn.annotate(
            word,
            (1.0, level),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
        )
    drawn.set_yscale("log")
    drawn.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    drawn.yaxis.set_minor_formatter(NullFormatter())
    drawn.set_ylim(LEAST / 1.5, max(2.0, 1.5 * max(evidence, default=1.0)))
    drawn.set_xlim(0, len(evidence) + 1)
    drawn.set_xlabel("successful rollouts, in order of time")
    drawn.set_ylabel("evidence that the promise is broken")
