# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The dial as a table, as sentences and as JSON."""

from __future__ import annotations

from typing import Any

from failure_monitor.evaluation.dial import Dial, DialPoint, Share, Wish
from failure_monitor.text_table import TextTable

UNDEFINED = "–"
SHOWN = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3)
"""The alphas of the table, beside the chosen one and the one that a wish needs."""
CHOSEN, WISHED = "◀ chosen", "◀ wish"


def dial_table(dial: Dial, wish: Wish | None = None) -> TextTable:
    """Return what the rule does at some alphas, with the chosen one marked."""
    wished = None if wish is None or wish.point is None else wish.point.alpha
    kept = {*SHOWN, dial.chosen, wished, dial.points[0].alpha}
    return TextTable(
        title="The dial: failures found early, and alarms in successes, at other alphas (95 % "
        "intervals)",
        columns=("alpha", "found early", "disturbed", "undisturbed", "lead time"),
        rows=tuple(
            (
                _name(point.alpha, dial.chosen, wished),
                _share(point.found_early),
                _share(point.disturbed),
                _share(point.undisturbed),
                UNDEFINED if point.lead_time_s is None else f"{point.lead_time_s:.2f} s",
            )
            for point in dial.points
            if point.alpha in kept
        ),
        caption="An alpha that is chosen by these figures does a little worse on other rollouts.",
    )


def _name(alpha: float, chosen: float, wished: float | None) -> str:
    marks = [CHOSEN] if alpha == chosen else []
    marks += [WISHED] if alpha == wished else []
    return " ".join([f"{alpha:g}", *marks])


def _share(share: Share) -> str:
    if share.value is None or share.interval is None:
        return UNDEFINED
    low, high = share.interval
    return f"{share.value:.2f} ({low:.2f}–{high:.2f})"


def wish_text(wish: Wish) -> str:
    """Return which alpha a wish needs, what it would cost, and how sure that is."""
    rollouts = wish.smallest.disturbed.rollouts
    if not rollouts:
        return (
            "no disturbed rollout that succeeds is among these, so it is unknown how many alarms "
            "they raise: evaluate some, with their kind of disturbance as group"
        )
    if rollouts < wish.needed:
        return (
            f"{rollouts} disturbed rollouts that succeed are too few for at most {wish.most:g} of "
            f"them with an alarm: evaluate {wish.needed} or more"
        )
    if wish.point is None:
        return (
            f"no alpha keeps alarms to {wish.most:g} of disturbed rollouts that succeed: "
            f"{_at(wish.smallest)}, the smallest that the calibration rollouts can promise. To "
            "these scores such rollouts look like failures; calibrate on more rollouts, on "
            "disturbed ones that succeed too, or accept more"
        )
    found = wish.point.found_early
    cost = "" if found.value is None else f"; {_counted(found)} failures are then found early"
    return (
        f"an alarm in at most {wish.most:g} of disturbed rollouts that succeed needs alpha "
        f"{wish.point.alpha:g}: {_at(wish.point)}{cost}. One alarm more was counted than there "
        f"is, since these rollouts chose it; `calibrate --alpha {wish.point.alpha:g}` makes such "
        "a bundle"
    )


def _at(point: DialPoint) -> str:
    low, high = point.disturbed.interval or (0.0, 1.0)
    return (
        f"at alpha {point.alpha:g} {_counted(point.disturbed)} raise one (95 % interval of the "
        f"rate {low:.2f} to {high:.2f})"
    )


def _counted(share: Share) -> str:
    return f"{share.events} of {share.rollouts}"


def dial_json(dial: Dial) -> dict[str, Any]:
    """Return all points in JSON's own types; what is not defined is null."""
    return {
        "chosen_alpha": dial.chosen,
        "points": [
            {
                "alpha": point.alpha,
                "failures_found_early": _share_json(point.found_early),
                "alarms_in_disturbed_successes": _share_json(point.disturbed),
                "alarms_in_undisturbed_successes": _share_json(point.undisturbed),
                "lead_time_s": point.lead_time_s,
            }
            for point in dial.points
        ],
    }


def wish_json(wish: Wish) -> dict[str, Any]:
    """Return the wish and the alpha that it needs; null if none grants it."""
    return {
        "max_disturbed_alarms": wish.most,
        "alpha": None if wish.point is None else wish.point.alpha,
        "text": wish_text(wish),
    }


def _share_json(share: Share) -> dict[str, Any]:
    return {
        "share": share.value,
        "events": share.events,
        "rollouts": share.rollouts,
        "interval_95": None if share.interval is None else list(share.interval),
    }
