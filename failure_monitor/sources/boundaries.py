# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Divides a bag into the time spans of its rollouts.

Times are nanoseconds of bag time. A span includes its begin and its end. The outcome of a rollout
may follow the end of its span, until the next span begins.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

ALWAYS = -(1 << 63)
NEVER = 1 << 63


class Span(NamedTuple):
    """The time span of one rollout.

    Attributes:
        begin: The bag time at which it begins.
        end: The bag time at which it ends.
        ended: True if its end was recorded, False if only the bag ends.
    """

    begin: int
    end: int
    ended: bool


WHOLE_BAG = Span(ALWAYS, NEVER, True)


def spans_of_markers(markers: Sequence[tuple[int, bool]]) -> list[Span]:
    """Return a span from each marker that turns true to the next false one.

    Repeated markers are ignored.
    """
    spans: list[Span] = []
    begin = None
    for time, running in markers:
        if running and begin is None:
            begin = time
        elif not running and begin is not None:
            spans.append(Span(begin, time, True))
            begin = None
    if begin is not None:
        spans.append(Span(begin, NEVER, False))
    return spans


def spans_of_activity(statements: Sequence[tuple[int, bool]], lasting: int) -> list[Span]:
    """Return a span of so many nanoseconds from each true statement."""
    return [Span(time, time + lasting, True) for time, active in statements if active]


def spans_of_outcomes(outcomes: Sequence[int], decisions: Sequence[int]) -> list[Span]:
    """Return a span from the first decision after an outcome to the next outcome.

    Args:
        outcomes: The times of outcomes, ascending. An outcome without a decision since the one
            before corrects it.
        decisions: The times at which decisions were complete, ascending. A decision at the time
            of an outcome precedes it.
    """
    return _spans_from(
        [
            now
            for before, now in zip((ALWAYS, *decisions), decisions, strict=False)
            if before == ALWAYS or bisect_left(outcomes, now) > bisect_left(outcomes, before)
        ],
        last_ended=bool(outcomes) and bool(decisions) and outcomes[-1] >= decisions[-1],
    )


def spans_of_pauses(stamps: Sequence[int], decisions: Sequence[int], pause: int) -> list[Span]:
    """Return a span from the first decision after a pause to the last one before the next.

    Args:
        stamps: The stamps of the decisions, ascending.
        decisions: The times at which they were complete.
        pause: The nanoseconds between two stamps above which there is a pause.
    """
    begins = [
        decision
        for before, stamp, decision in zip((None, *stamps), stamps, decisions, strict=False)
        if before is None or stamp - before > pause
    ]
    return _spans_from(begins, last_ended=True)


def _spans_from(begins: Sequence[int], *, last_ended: bool) -> list[Span]:
    ends = [*(begin - 1 for begin in begins[1:]), NEVER]
    spans = [Span(begin, end, True) for begin, end in zip(begins, ends, strict=True)]
    if spans:
        spans[-1] = spans[-1]._replace(ended=last_ended)
    return spans
