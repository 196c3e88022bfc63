# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Options on the false stops of a week, and what they say of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.cli.declaration import Option
from failure_monitor.promise.alarm_budget import USUAL_ROLLOUTS_PER_DAY, budget_rows

BUDGET = "How often a week has false stops"


@dataclass(frozen=True)
class BudgetOptions:
    """How many rollouts there are, and how many false stops may be."""

    rollouts_per_day: Annotated[
        float,
        Option(
            help="successful rollouts a day, by which false stops are counted",
            panel=BUDGET,
            above=0,
        ),
    ] = USUAL_ROLLOUTS_PER_DAY
    stops_per_week: Annotated[
        float | None,
        Option(
            help="false stops a week at most: say which alpha and how many calibration rollouts "
            "that takes",
            panel=BUDGET,
            above=0,
        ),
    ] = None

    def rows(self, bundle: Bundle) -> list[tuple[str, str]]:
        """Return what a bundle promises for a week, and what a wish would take, as text."""
        return budget_rows(
            bundle.description.promises,
            bundle.promised_rate,
            self.rollouts_per_day,
            self.stops_per_week,
        )
