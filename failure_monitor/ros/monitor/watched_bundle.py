# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The bundle that a monitor node has loaded, with models, and which of its tasks it watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from failure_monitor.bundle.bundle import Bundle, BundleError, content_hash, load
from failure_monitor.bundle.description import PromiseSection
from failure_monitor.errors import UsageError
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.ros.monitor.black_box_settings import (
    BlackBoxSettings,
    black_box_settings,
    camera_topics,
)
from failure_monitor.ros.monitor.policy_models import PolicyModels


@dataclass(eq=False)
class WatchedBundle:
    """A bundle and a task.

    Attributes:
        folder: where it was loaded from.
        bundle: the calibrated rule.
        sha256: names this very bundle.
        models: the halves of the policy that the monitor runs itself.
        cameras: the topics of the encoder's cameras, by their names; none without an encoder.
        made: what makes an observation of these.
        task: whose thresholds hold; empty where the bundle needs no name.
    """

    folder: str
    bundle: Bundle
    sha256: str
    models: PolicyModels
    cameras: Mapping[str, str]
    made: BlackBoxSettings
    task: str = ""

    @property
    def positions_topic(self) -> PositionsTopic | None:
        """What measures where the robot is; None if no score asks."""
        section = self.bundle.description.positions_topic
        return None if section is None else PositionsTopic(**section.model_dump())

    @property
    def promise(self) -> PromiseSection | None:
        """What is promised for the task; None while it must be named and nobody has."""
        if not self.task and len(self.bundle.description.promises) > 1:
            return None
        return self.bundle.promise(self.task)

    def begin(self, task: str) -> FailureMonitor:
        """The monitor at the start of a rollout of a task; models start anew as well."""
        self.models.start_rollout()
        return self.bundle.monitor(task)

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
        UsageError: it needs rollout boundaries, or measured positions, and there are none; or
            parameters contradict what it says of its models and how they were run.
        FailureMonitorError: a model cannot be run.
    """
    if not settings.bundle:
        raise BundleError(
            "the parameter 'bundle' is empty: name the folder that `failure-monitor calibrate` "
            "wrote"
        )
    folder = Path(settings.bundle)
    bundle = load(folder)
    if settings.rollout_boundaries == "none":
        _refuse_without_boundaries(bundle)
    _refuse_without_positions(bundle)
    made = black_box_settings(settings, bundle)
    models = PolicyModels(settings, bundle, noise_seed=made.noise_seed)
    cameras = camera_topics(models.cameras, settings, bundle)
    watched = WatchedBundle(settings.bundle, bundle, content_hash(folder), models, cameras, made)
    if not settings.topic_names_task:
        watched.take_task(settings.task)
    return watched


def _refuse_without_positions(bundle: Bundle) -> None:
    asking = [score.name for score in bundle.scores if score.needs_positions]
    if asking and bundle.description.positions_topic is None:
        raise UsageError(
            f"{', '.join(asking)} must know where the robot is measured to be, and the bundle does "
            "not say on which topic: calibrate on bags, with --positions-topic, or with other "
            "scores"
        )


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
