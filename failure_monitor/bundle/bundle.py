# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A calibrated rule over fitted scores, for one policy: what the monitor runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.bundle.description import (
    BundleDescription,
    PromiseSection,
    RolloutSection,
)
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.monitoring.response.chosen_chunk import Medoid, SampleScore
from failure_monitor.monitoring.response.trusted_horizon import Dispersion, TrustedHorizon
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.parameters.topics import external_topic
from failure_monitor.policy_models.onnx_file import OnnxFile
from failure_monitor.printable_text import printable
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.reached_positions import ReachedPositions
from failure_monitor.scores.base.score import Score
from failure_monitor.scores.external import EXTERNAL_PREFIX
from failure_monitor.scores.registry import restore_folded_score, restore_score
from failure_monitor.thresholds.conformal import Rule, Scale, needed_rollouts
from failure_monitor.thresholds.paired_threshold import (
    PairedThreshold,
    weights_across_tasks,
    weights_of_groups,
)
from failure_monitor.thresholds.value_limits import ValueLimits

MAX_SHOWN = 100
"""Characters of an unknown task that are shown."""


class UnknownTaskError(FailureMonitorError):
    """A task for which a bundle has no threshold."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A calibrated rule over fitted scores, ready to watch a policy.

    Attributes:
        description: the content of bundle.yaml; `save` sets its `files`.
        scores: the fitted scores, in the description's order, each with the models of F folds.
        scale: the scale of these scores, (F, K), or (L, F, K) where it varies over time.
        limits: beyond which decisions are invalid.
        choosers: further scores, which only choose among sampled chunks.
        encoder: the observation encoder, if the policy published no embeddings.
        sampler: the policy sampler, if the policy published no action chunks.
        outcome_check: compares ends of rollouts with those of calibration; None if it was turned
            off, and in bundles of older versions.
    """

    description: BundleDescription
    scores: tuple[FoldedScore, ...]
    scale: Scale
    limits: ValueLimits
    choosers: tuple[Score, ...] = ()
    encoder: OnnxFile | None = None
    sampler: OnnxFile | None = None
    outcome_check: OutcomeCheck | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be handed to another process, as what runs a network cannot."""
        return {
            **vars(self),
            "scores": [(score.name, score.state()) for score in self.scores],
            "choosers": [(score.name, score.state()) for score in self.choosers],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the bundle that was handed over."""
        scores = tuple(restore_folded_score(*each) for each in state["scores"])
        choosers = tuple(restore_score(*each) for each in state["choosers"])
        vars(self).update({**state, "scores": scores, "choosers": choosers})

    @property
    def policy(self) -> PolicyFormat:
        """The format of the policy's decisions."""
        return policy_format(self.description)

    @property
    def rule(self) -> Rule:
        """How the scores are combined."""
        return self.description.rule

    @property
    def alpha(self) -> float:
        """The false-alarm rate that was asked for."""
        return self.description.alpha

    @property
    def promised_rate(self) -> float:
        """The promised false-alarm rate: alpha, or more from fewer tasks than alpha needs."""
        return self.description.promised_rate

    @property
    def calibration(self) -> tuple[RolloutSection, ...]:
        """The rollouts from which the thresholds were calibrated."""
        return self.description.calibration

    @property
    def fit(self) -> tuple[RolloutSection, ...]:
        """The rollouts on which scores were fitted, without the calibration rollouts."""
        return (*self.description.fit, *self.description.failures)

    def promise(self, task: str = "") -> PromiseSection:
        """Return the promise for a task, which need not be named if the bundle has only one.

        A bundle that was calibrated on rollouts without a task is for any task.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        promises = {promise.task: promise for promise in self.description.promises}
        if task in promises:
            return promises[task]
        if len(promises) == 1 and (not task or "" in promises):
            return self.description.promises[0]
        known = ", ".join(promises)
        if not task:
            raise UnknownTaskError(
                f"the bundle has a threshold for each of the tasks {known}, and no task is named: "
                "name one of these ('task' of the monitor node, --task for bags)"
            )
        raise UnknownTaskError(
            f"the bundle has no threshold for the task '{printable(task, MAX_SHOWN)}', only for "
            f"{known}: name one of these, or calibrate with successful rollouts of the task"
        )

    def threshold(self, task: str = "") -> PairedThreshold:
        """Return the calibrated rule for a task.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        promise = self.promise(task)
        if self.description.schema_version == 1:
            limit, fold = np.array([promise.limit]), np.zeros(1, dtype=np.int64)
            return PairedThreshold(self.rule, self.scale, limit, fold, np.ones(1), needed=1.0)
        own = self._compared_with(promise)
        weights, needed = np.ones(len(own)), float(promise.rank)
        if promise.tasks is not None:
            weights, needed = weights_across_tasks([each.task for each in own], self.alpha)
        elif future := self.description.future:
            groups = [each.group for each in own]
            weights, needed = weights_of_groups(groups, future, self.alpha)
        return PairedThreshold(
            self.rule,
            self.scale,
            limits=np.array([section.limit for section in own], dtype=np.float64),
            folds=np.array([section.fold for section in own], dtype=np.int64),
            weights=weights,
            needed=needed,
        )

    def _compared_with(self, promise: PromiseSection) -> tuple[RolloutSection, ...]:
        """Return the calibration rollouts of a promise."""
        return tuple(
            section
            for section in self.calibration
            if promise.tasks is not None or section.task == promise.task
        )

    def monitor(self, task: str = "") -> FailureMonitor:
        """Return a monitor at the start of a rollout of a task.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        return FailureMonitor(
            self.policy,
            self.scores,
            window=self.description.window,
            threshold=self.threshold(task),
            limits=self.limits,
            caution=shortfall(self.promise(task), self.alpha),
        )

    def trusted_horizon(self, task: str = "") -> TrustedHorizon | None:
        """Return the trusted horizon for a task; None if the policy's samples never differ.

        Raises:
            UnknownTaskError: the bundle has no threshold for it.
        """
        steering, task = self.description.steering, self.promise(task).task
        if steering is None:
            return None
        positions = ReachedPositions.of(self.policy)
        dispersion = Dispersion(positions, np.array(steering.usual), steering.leading)
        return TrustedHorizon(dispersion, steering.limits[task])

    @property
    def external_topics(self) -> dict[str, str]:
        """The topic of every external score, by the score's name without prefix.

        It is the topic in the recordings of calibration; otherwise `external_scores/<name>`.
        """
        names = [
            score.name.removeprefix(EXTERNAL_PREFIX)
            for score in self.scores
            if score.name.startswith(EXTERNAL_PREFIX)
        ]
        known = self.description.external_topics
        return {name: known.get(name, external_topic(name)) for name in names}

    @property
    def needs_positions(self) -> bool:
        """Whether a score of the rule needs the measured positions of the robot."""
        return any(score.needs_positions for score in self.scores)

    @property
    def joint_quantities(self) -> tuple[str, ...]:
        """The quantities of joints that the rule's scores need, as `JointMotion` names them."""
        return tuple(
            dict.fromkeys(name for score in self.scores for name in score.joint_quantities)
        )

    @property
    def command_names(self) -> tuple[str, ...]:
        """The values of commands as sent that the rule's scores need, as `JointMotion` names."""
        return tuple(dict.fromkeys(name for score in self.scores for name in score.command_names))

    @property
    def needs_tokens(self) -> bool:
        """Whether a score needs tokens of the policy's network."""
        return any(score.needs_tokens for score in self.scores)

    @property
    def token_shape(self) -> tuple[int, int] | None:
        """The number and size of the tokens that a score needs; None if unknown or none does."""
        shapes = (getattr(score.models[0], "token_shape", None) for score in self.scores)
        return next((shape for shape in shapes if shape is not None), None)

    @property
    def sample_scores(self) -> dict[str, SampleScore]:
        """The scores that can choose among the sampled chunks of a decision, by name."""
        # Samples are compared with one another, for which the models of one fold are enough.
        own = (model for score in self.scores for model in score.models[:1])
        able = [score for score in (*own, *self.choosers) if isinstance(score, SampleScore)]
        medoid = Medoid(ReachedPositions.of(self.policy))
        return {Medoid.name: medoid, **{score.name: score for score in able}}

    def levels(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the combined normalised score at every decision, (T,); above 1 is an alarm.

        Raises:
            UnknownTaskError: the bundle has no threshold for the rollout's task.
        """
        return self.compare(rollout)[0]

    def compare(self, rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """Return `levels`, and how many calibration rollouts lie below every decision, (T,).

        The latter is None for bundles that do not keep how their rollouts came out, and where not
        all of them weigh the same.

        Raises:
            UnknownTaskError: the bundle has no threshold for the rollout's task.
        """
        try:
            monitor = self.monitor(rollout.task)
        except UnknownTaskError as error:
            raise UnknownTaskError(f"{rollout.name}: {error}") from None
        levels, below = monitor.compare_rollout(rollout)
        if self.description.schema_version == 1:
            return levels, self._below(rollout, levels)
        return levels, below if self.description.weighs_alike else None

    def _below(self, rollout: Rollout, levels: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """Return how many calibration rollouts of a bundle of version 1 lie below levels."""
        known = [section.max_level for section in self.calibration_of(rollout)]
        largest = np.sort([level for level in known if level is not None])
        return np.searchsorted(largest, levels) if len(largest) == len(known) else None

    def calibration_of(self, rollout: Rollout) -> tuple[RolloutSection, ...]:
        """Return the rollouts from which the threshold for this rollout's task was calibrated.

        Raises:
            UnknownTaskError: the bundle has no threshold for the rollout's task.
        """
        return self._compared_with(self.promise(rollout.task))


def policy_format(description: BundleDescription) -> PolicyFormat:
    """Return the format of the decisions of a bundle's policy."""
    return PolicyFormat(**vars(description.policy))


def shortfall(promise: PromiseSection, alpha: float) -> str:
    """Return why a promise across tasks is less than alpha; empty if it is not."""
    if promise.tasks is None or promise.smallest_alpha <= alpha + 1e-9:
        return ""
    return (
        f"calibrated across {promise.tasks} tasks, which promise false alarms in at most "
        f"{promise.smallest_alpha:.2f} of the successful rollouts of a task: "
        f"{needed_rollouts(alpha)} tasks promise {alpha:g}"
    )
