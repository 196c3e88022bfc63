# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor node holds while it is configured, active or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from failure_monitor.ros.monitor.monitored_bundle import MonitoredBundle
from failure_monitor.ros.monitor.monitored_models import MonitoredModels
from failure_monitor.ros.monitor.pending_decision import CHUNKS, PendingDecision
from failure_monitor.ros.monitor.scoring_worker import ScoringWorker

MAX_WAITING_DECISIONS = 64
"""Number of decisions that may wait for their scores."""

MAX_WAITING_OBSERVATIONS = 8
"""The same where they are images, which take memory."""


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
        worker = ScoringWorker(
            bundle.models.decide, bundle.start_monitor, wake, capacity=_capacity(bundle.models)
        )
        return cls(bundle, worker)


def _capacity(models: MonitoredModels) -> int:
    """Return how many decisions may wait: one where the monitor samples chunks itself."""
    if CHUNKS not in models.published_parts:
        return 1
    return MAX_WAITING_OBSERVATIONS if models.cameras else MAX_WAITING_DECISIONS
