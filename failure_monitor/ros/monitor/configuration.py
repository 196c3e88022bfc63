# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor node holds while it is configured, active or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from failure_monitor.ros.monitor.monitored_bundle import MonitoredBundle
from failure_monitor.ros.monitor.pending_decision import PendingDecision
from failure_monitor.ros.monitor.scoring_worker import ScoringWorker


@dataclass(frozen=True, eq=False)
class Configuration:
    """The bundle with its models, and the thread that scores with them.

    Attributes:
        bundle: the bundle, its models and the task that is run.
        worker: scores decisions.
    """

    bundle: MonitoredBundle
    worker: ScoringWorker[PendingDecision]

    @classmethod
    def start(cls, bundle: MonitoredBundle, wake: Callable[[], None]) -> Configuration:
        """Start the thread that scores with a bundle.

        Args:
            bundle: the bundle.
            wake: called by the thread whenever a decision is scored.
        """
        worker = ScoringWorker(bundle.models.decide, bundle.start_monitor, wake=wake)
        return cls(bundle, worker)
