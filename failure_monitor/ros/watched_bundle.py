# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The bundle that a monitor node has loaded, and which of its tasks it watches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from failure_monitor.bundle import Bundle, BundleError, PromiseSection, content_hash, load
from failure_monitor.errors import UsageError
from failure_monitor.ros.monitor_parameters import MonitorParameters


@dataclass(eq=False)
class WatchedBundle:
    """A bundle and a task.

    Attributes:
        folder: where it was loaded from.
        bundle: the calibrated rule.
        sha256: names this very bundle.
        task: whose thresholds hold; empty where the bundle needs no name.
    """

    folder: str
    bundle: Bundle
    sha256: str
    task: str = ""

    @property
    def promise(self) -> PromiseSection | None:
        """What is promised for the task; None while it must be named and nobody has."""
        if not self.task and len(self.bundle.description.promises) > 1:
            return None
        return self.bundle.promise(self.task)

    def take_task(self, task: str) -> None:
        """Watch a task from now on.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        self.bundle.promise(task)
        self.task = task


def load_watched(settings: MonitorParameters) -> WatchedBundle:
    """Load and check the bundle that the parameters name.

    Raises:
        BundleError: it is not there, damaged, or of a newer schema.
        UnknownTaskError: it has no threshold for the task, or for which of several is not said.
        UsageError: it needs rollout boundaries, and there are none.
    """
    if not settings.bundle:
        raise BundleError(
            "the parameter 'bundle' is empty: name the folder that `failure-monitor calibrate` "
            "wrote"
        )
    folder = Path(settings.bundle)
    watched = WatchedBundle(settings.bundle, load(folder), content_hash(folder))
    if settings.rollout_boundaries == "none":
        _refuse_without_boundaries(watched.bundle)
    if not settings.topic_names_task:
        watched.take_task(settings.task)
    return watched


def _refuse_without_boundaries(bundle: Bundle) -> None:
    following = [score.name for score in bundle.scores if score.follows_rollout]
    if bundle.description.threshold == "time-varying":
        what, instead = "its thresholds vary", "calibrate with --threshold constant"
    elif following:
        what, instead = f"{', '.join(following)} depend", "calibrate with other scores"
    else:
        return
    raise UsageError(
        f"the bundle must know when a rollout begins, since {what} with the time since then: set "
        f"rollout_boundaries to service, topic or pause, or {instead}"
    )
