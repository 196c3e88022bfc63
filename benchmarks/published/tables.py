# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The results of a run as Markdown tables: what docs/published_benchmark.md shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from published.figures import EARLY, PUBLISHED
from published.methods import DEFAULT, OURS

WITH_INTERVAL = ("early_balanced_accuracy", "early_auroc", "false_alarm_rate", *PUBLISHED)
UNDEFINED = "–"
LEAD = {
    "lead_early_balanced_accuracy": "early bal. acc.",
    "lead_early_auroc": "early AUROC",
    "lead_twa": "TWA",
    "lead_balanced_accuracy": "bal. acc.",
    "lead_auroc": "AUROC",
}


def markdown(results: Mapping[str, Any]) -> str:
    """Return all tables, with a heading each."""
    parts = [f"### The rollouts\n\n{rollouts_table(results)}"]
    mean = {name: each["mean"] for name, each in results["methods"].items()}
    parts.append(f"### Mean over the tasks, early\n\n{_table(mean, EARLY)}")
    parts.append(f"### Mean over the tasks, as published\n\n{_table(mean, PUBLISHED)}")
    others = {name: figures for name, figures in mean.items() if name != DEFAULT}
    parts.append(f"### The default rule's lead\n\n{_table(others, LEAD, signed=True)}")
    for task in results["tasks"]:
        own = {
            name: each["tasks"][task]
            for name, each in results["methods"].items()
            if task in each["tasks"]
        }
        parts.append(f"### {task}, early\n\n{_table(own, EARLY)}")
        parts.append(f"### {task}, as published\n\n{_table(own, PUBLISHED)}")
    return "\n\n".join(parts) + "\n"


def rollouts_table(results: Mapping[str, Any]) -> str:
    """Return what the tasks consist of."""
    columns = {
        "calibration": "calibrate",
        "tests": "tests",
        "failures": "of these failed",
        "undisturbed_successes": "undisturbed successes",
        "early_decisions": "early: before decision",
        "probe_failures": "failures that teach the probe",
    }
    rows = [
        [task, *(f"{counts[key]:g}" for key in columns)]
        for task, counts in results["tasks"].items()
    ]
    return _lines(["", *columns.values()], rows)


def _table(
    methods: Mapping[str, Mapping[str, Sequence[float | None]]],
    columns: Mapping[str, str],
    *,
    signed: bool = False,
) -> str:
    rows = [
        [
            f"**{name}**" if name in OURS else name,
            *(
                _cell(figures[key], with_interval=key not in EARLY or key in WITH_INTERVAL)
                if not signed
                else _cell(figures[key], with_interval=True, sign="+")
                for key in columns
            ),
        ]
        for name, figures in methods.items()
    ]
    return _lines(["", *columns.values()], rows)


def _cell(figure: Sequence[float | None], *, with_interval: bool, sign: str = "") -> str:
    value, low, high = (math.nan if part is None else part for part in figure)
    if math.isnan(value):
        return UNDEFINED
    text = f"{value:{sign}.3f}"
    return f"{text} ({low:{sign}.2f} to {high:{sign}.2f})" if with_interval else text


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)
