# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The bundle that a monitor node has loaded, with its models and the task that is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from failure_monitor.bundle.bundle import Bundle, UnknownTaskError
from failure_monitor.bundle.camera_topics import camera_topics
from failure_monitor.bundle.description import PromiseSection
from failure_monitor.bundle.folder import BundleError, content_hash, load
from failure_monitor.errors import UsageError
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.parameters.monitor import AS_CALIBRATED, NO_BOUND, MonitorParameters
from failure_monitor.policy_models.contract import UnknownTokensError
from failure_monitor.printable_text import printable
from failure_monitor.ros.monitor.black_box_settings import (
    BlackBoxSettings,
    black_box_settings,
)
from failure_monitor.ros.monitor.joint_input import commands_topic
from failure_monitor.ros.monitor.monitored_models import MonitoredModels

MAX_TASK = 500
"""Characters of a task's name."""

MAX_SHOWN = 100
"""Characters that are shown of a name that is rejected."""


@dataclass(eq=False)
class MonitoredBundle:
    """A bundle and a task.

    Attributes:
        folder: the folder it was loaded from.
        bundle: the calibrated rule.
        sha256: the hash of its contents.
        models: the parts of the policy that the monitor runs itself.
        cameras: the topics of the encoder's cameras, by their names; empty without an encoder.
        black_box: how observations are made from the cameras.
        task: the task whose thresholds apply; empty where the bundle needs no name.
    """

    folder: str
    bundle: Bundle
    sha256: str
    models: MonitoredModels
    cameras: Mapping[str, str]
    black_box: BlackBoxSettings
    task: str = ""

    @property
    def positions_topic(self) -> PositionsTopic | None:
        """What measures the robot's positions; None if no score needs them."""
        section = self.bundle.description.positions_topic
        return None if section is None else PositionsTopic(**vars(section))

    @property
    def promise(self) -> PromiseSection | None:
        """The promise for the task; None while a task must be named and is not."""
        if not self.task and len(self.bundle.description.promises) > 1:
            return None
        return self.bundle.promise(self.task)

    def in_force(self, settings: MonitorParameters) -> MonitorParameters:
        """Return parameters with what they leave to the bundle."""
        description = self.bundle.description
        if settings.max_decision_age == AS_CALIBRATED:
            age = description.max_decision_age
            if settings.rollout_boundaries == "pause":
                # A pause ends a rollout, and is no halt.
                age = max(age, settings.rollout_pause)
            settings = replace(settings, max_decision_age=age)
        if settings.max_plan_age == AS_CALIBRATED:
            plan_age = description.max_plan_age_beside(settings.max_decision_age)
            settings = replace(settings, max_plan_age=NO_BOUND if plan_age is None else plan_age)
        return settings

    def start_monitor(self, task: str) -> FailureMonitor:
        """Return the monitor for a new rollout of a task; the models are reset, too."""
        self.models.start_rollout(self._told(task))
        return self.bundle.monitor(task)

    def set_task(self, task: str) -> None:
        """Use the thresholds of a task from now on.

        Raises:
            UnknownTaskError: the bundle has no threshold for it, or its encoder no tokens; or the
                name is one that neither log nor page can show.
        """
        if len(task) > MAX_TASK or not task.isprintable():
            raise UnknownTaskError(
                f"the task's name, '{printable(task, MAX_SHOWN)}', has {len(task)} characters, "
                f"expected at most {MAX_TASK}, all of them printable"
            )
        try:
            self.models.check_task(self._told(task))
        except UnknownTokensError as error:
            raise UnknownTaskError(str(error)) from None
        self.task = task

    def _told(self, task: str) -> str:
        """Return the task that the policy is told: unless it is named, the bundle's only one."""
        only = self.bundle.promise(task).task
        return task or only


def load_monitored_bundle(settings: MonitorParameters) -> MonitoredBundle:
    """Load and check the bundle that the parameters name.

    Raises:
        BundleError: it is not there, damaged, or of a newer schema.
        UnknownTaskError: it has no threshold for the task, or has several and none is named.
        UsageError: it lacks rollout boundaries, measured positions or commands that it needs, or
            parameters contradict what it states about its models and how they were run.
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
        _require_boundaries(bundle)
    if settings.rollout_boundaries == "pause":
        _require_long_pause(bundle, settings.rollout_pause)
    _require_positions(bundle)
    commands_topic(settings, bundle)
    _require_embedding(bundle, settings)
    _require_own_chunks(bundle)
    black_box = black_box_settings(settings, bundle)
    models = MonitoredModels(settings, bundle, noise_seed=black_box.noise_seed)
    cameras = camera_topics(models.cameras, settings.image_topics, bundle.description)
    monitored = MonitoredBundle(
        settings.bundle, bundle, content_hash(folder), models, cameras, black_box
    )
    if not settings.topic_names_task:
        monitored.set_task(settings.task)
    return monitored


def _require_positions(bundle: Bundle) -> None:
    asking = [score.name for score in bundle.scores if score.needs_positions]
    if asking and bundle.description.positions_topic is None:
        raise UsageError(
            f"{', '.join(asking)} need the robot's measured positions, and the bundle does not "
            "state their topic: calibrate on bags, with --positions-topic, or with other "
            "scores"
        )


def _require_embedding(bundle: Bundle, settings: MonitorParameters) -> None:
    if settings.embedding_topic or settings.encoder or bundle.encoder is not None:
        return
    if bundle.policy.embedding_size:
        raise UsageError(
            "the parameter 'embedding_topic' is empty, and the bundle was calibrated with "
            "embeddings: name their topic, or calibrate without them (--embedding-topic '')"
        )


def _require_own_chunks(bundle: Bundle) -> None:
    made = bundle.description.black_box
    if bundle.needs_tokens and made is not None and made.sampler is not None:
        asking = [score.name for score in bundle.scores if score.needs_tokens]
        raise UsageError(
            f"{', '.join(asking)} need the tokens that the policy publishes with its action "
            "chunks, and the bundle's sampler makes those: calibrate with other scores, or on "
            "the policy's own chunks"
        )


def _require_long_pause(bundle: Bundle, pause: float) -> None:
    longest = bundle.description.longest_gap
    if pause <= longest:
        raise UsageError(
            f"the parameter 'rollout_pause' is {pause:g} s, and in calibration up to "
            f"{longest:.3g} s pass between two decisions of a rollout, so that decisions would "
            "start rollouts: make the pause longer, or set rollout_boundaries to service or topic"
        )


def _require_boundaries(bundle: Bundle) -> None:
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
