# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The dial as a figure: what the rule does on these rollouts over alpha."""

from __future__ import annotations

from collections.abc import Callable

from failure_monitor.evaluation.dial import Dial, DialPoint, Share
from failure_monitor.report.drawing import (
    DISTURBED,
    FAILURE,
    INK,
    PALE,
    SUCCESS,
    Drawing,
    Kind,
    axes,
    drawing,
)

CURVES: tuple[tuple[str, Kind, str, Callable[[DialPoint], Share]], ...] = (
    ("failures found early", FAILURE, "-", lambda point: point.found_early),
    ("alarms, disturbed successes", DISTURBED, "--", lambda point: point.disturbed),
    ("alarms, undisturbed successes", SUCCESS, "-.", lambda point: point.undisturbed),
)


def dial_figure(dial: Dial) -> Drawing:
    """Draw the shares over alpha, each with its interval, and mark the chosen alpha."""
    alphas = [point.alpha for point in dial.points]
    with axes(3.1) as drawn:
        drawn.plot([0, alphas[-1]], [0, alphas[-1]], color=PALE, linewidth=1.0)
        for title, kind, line, share_of in CURVES:
            shares = [share_of(point) for point in dial.points]
            values = [share.value for share in shares if share.value is not None]
            intervals = [share.interval for share in shares if share.interval is not None]
            if len(values) < len(alphas):
                continue
            drawn.fill_between(
                alphas,
                [low for low, _ in intervals],
                [high for _, high in intervals],
                color=kind.color,
                alpha=0.12,
                linewidth=0,
                step="post",
            )
            drawn.step(
                alphas,
                values,
                where="post",
                color=kind.color,
                linestyle=line,
                label=f"{title} ({shares[0].rollouts})",
            )
        drawn.axvline(dial.chosen, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        drawn.set(xlim=(0, max(alphas)), ylim=(0, 1.02))
        drawn.set(xlabel="alpha; dotted: the chosen one", ylabel="share of rollouts")
        drawn.legend(loc="upper left", bbox_to_anchor=(0, 1.34))
    return drawing(
        drawn,
        name="dial",
        title="The dial",
        reading="What the same rule would do at another alpha, with 95 % intervals. The pale line "
        "is what alpha promises of undisturbed successes.",
    )
