# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an audit found, as tables and sentences."""

from __future__ import annotations

from failure_monitor.bundle.promise_text import Row
from failure_monitor.calibration.audit import Audit
from failure_monitor.text_table import TextTable

UNDEFINED = "–"


def audited_rollouts(found: Audit) -> TextTable:
    """Return a table with a row for each rollout."""
    return TextTable(
        title="Rollouts",
        left_aligned=frozenset({"verdict"}),
        columns=(
            "rollout",
            "decisions",
            "seconds",
            "per second",
            "longest gap",
            "trajectory p",
            "scores p",
            "verdict",
        ),
        rows=tuple(
            (
                each.name,
                str(each.decisions),
                _number(each.seconds, 1),
                _number(each.rate, 1),
                _number(each.longest_gap, 2),
                _number(each.trajectory_p, 2),
                _number(each.scores_p, 2),
                each.verdict,
            )
            for each in found.rollouts
        ),
    )


def audit_rows(found: Audit, unreadable: int = 0) -> list[Row]:
    """Return rows on all rollouts together.

    Args:
        found: the audit.
        unreadable: how many sources could not be read, which are to be dropped too.
    """
    verdicts = [each.verdict for each in found.rollouts]
    return [
        ("keep", str(verdicts.count("keep"))),
        ("look", f"{verdicts.count('look')}: see why, then decide"),
        ("drop", str(verdicts.count("drop") + unreadable)),
        (
            "action divergence",
            f"{_number(found.quality.action_divergence, 2)}: 0, the situation determines what is "
            "done; 1, it does not",
        ),
        (
            "transition diversity",
            f"{_number(found.quality.transition_diversity, 2)}: 0, the situation determines what "
            "comes of it; 1, it does not",
        ),
        ("p", "the share of rollouts that are at least as unlike the others"),
    ]


def _number(value: float | None, digits: int) -> str:
    return UNDEFINED if value is None else f"{value:.{digits}f}"
