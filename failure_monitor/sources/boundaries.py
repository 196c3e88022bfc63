# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where, in bag time, the rollouts of a bag begin and end.

Times are whole nanoseconds of the bag's clock. A span reaches from its begin to its end, both
included; its outcome may be said until the next one begins.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

ALWAYS = -(1 << 63)
NEVER = 1 << 63


class Span(NamedTuple):
    """The time of one rollout.

    `ended` is whether something said where it ends, other than the end of the bag.
    """

    begin: int
    end: int
    ended: bool


WHOLE_BAG = Span(ALWAYS, NEVER, True)


def spans_of_markers(markers: Sequence[tuple[int, bool]]) -> list[Span]:
    """From each marker that turns true to the next that is false; repeated ones say nothing new."""
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


def spans_of_outcomes(outcomes: Sequence[int], decisions: Sequence[int]) -> list[Span]:
    """From the first decision behind an outcome to the next outcome.

    Args:
        outcomes: when outcomes were said, ascending. One that follows another without a decision
            between them corrects it.
        decisions: when decisions were complete, ascending; one at the time of an outcome came
            before it.
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
    """From a decision to the last one before a pause.

    Args:
        stamps: the decisions' stamps, ascending.
        decisions: when they were complete.
        pause: more than this many nanoseconds between two stamps.
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
