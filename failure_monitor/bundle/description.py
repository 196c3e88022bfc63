# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The schema of a bundle's bundle.yaml, and its version."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from failure_monitor.decision import ActionKind
from failure_monitor.messages.measured_positions import PositionType
from failure_monitor.thresholds.conformal import Rule, ThresholdKind

SCHEMA_VERSION = 1

MIN_DECISION_AGE = 1.0
"""Seconds for which a decision is good at least, however often the policy decides: a busy machine
may delay one."""

LATE = 1.5
"""Factor of the longest time between two decisions in calibration: after that, one is late."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A file name without a folder, so that nothing outside a bundle's folder is read."""


class _Section(BaseModel):
    # No level is above a limit that is NaN, so such a limit would never raise an alarm.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PolicySection(_Section):
    """The format of the policy's decisions, as in `PolicyFormat`."""

    embedding_size: int = Field(gt=0)
    samples: int = Field(gt=0)
    horizon: int = Field(gt=0)
    action_names: tuple[str, ...]
    action_kind: ActionKind
    position_names: tuple[str, ...]
    executed_actions: int | None = Field(default=None, gt=0)


class ScoreSection(_Section):
    """One score of the rule: its parameters, and its scale if that is constant."""

    name: str
    centre: float | None = None
    spread: float | None = Field(default=None, gt=0)
    parameters: dict[str, float]


class RolloutSection(_Section):
    """A rollout of calibration or fitting, or a failure from which a score learned.

    For a rollout of calibration, `max_level` and `max_normalised_scores`, by the scores' names, are
    the largest values that the monitor would have shown, by scores fitted without the rollout.
    """

    name: str
    decisions: int = Field(gt=0)
    sha256: str
    task: str = ""
    max_level: float | None = None
    max_normalised_scores: dict[str, float] = {}


class PromiseSection(_Section):
    """The promise for future successful rollouts that are exchangeable with those of one task.

    `limit` is the limit of the combined scores on their scale. `thresholds` are the thresholds of
    each score that follow from it, by the scores' names, if they are constant.
    """

    task: str = ""
    limit: float
    thresholds: dict[str, Annotated[float, Field(gt=0)]] = {}
    rollouts: int = Field(gt=0)
    rank: int = Field(gt=0)
    smallest_alpha: float
    false_alarm_interval_90: tuple[float, float]


class SteeringSection(_Section):
    """The trusted horizon: `Dispersion`, and for each task the limit for `alpha`."""

    leading: int = Field(gt=0)
    usual: tuple[Annotated[float, Field(gt=0)], ...]
    limits: dict[str, Annotated[float, Field(ge=0)]]


class ModelSection(_Section):
    """An exported model: its file, and the files of its weights by their names in the model."""

    file: FileName
    weights: dict[str, FileName] = {}


class BlackBoxSection(_Section):
    """How exported models computed the decisions of recordings; the monitor does the same.

    `cameras` are the topics of the encoder's cameras by the cameras' names. `observation_rate` is
    in decisions per second, 0 for a decision at every image of the first camera.
    `matching_tolerance` is in seconds.
    """

    encoder: ModelSection | None = None
    sampler: ModelSection | None = None
    cameras: dict[str, str] = {}
    observation_rate: float = Field(ge=0)
    matching_tolerance: float = Field(ge=0)
    noise_seed: int = Field(ge=0)


class PositionsSection(_Section):
    """The topic of the measured positions that scores need, as in `PositionsTopic`."""

    name: str
    message_type: PositionType
    joints: tuple[str, ...] = ()


class BundleDescription(_Section):
    """The content of bundle.yaml.

    `choosers` are scores that only choose among sampled chunks and are no part of the rule.
    `external_topics` are the topics of external scores, by the scores' names without prefix.
    `folds` is the number of folds of the rollouts in `fit`, or if there are none of those in
    `calibration`.
    `black_box` is missing if the policy published its decisions, or if their models are unknown.
    `failures` are the failed rollouts from which the score `probe` learned.
    `decision_period` is the usual time between decisions of the calibration rollouts, in seconds;
    None if unknown, as in bundles of older versions. `longest_decision_gap` is the longest.
    """

    schema_version: int
    tool_version: str
    created: str
    policy: PolicySection
    rule: Rule
    window: int = Field(gt=0)
    threshold: ThresholdKind = "constant"
    alpha: float = Field(gt=0, lt=1)
    scores: tuple[ScoreSection, ...] = Field(min_length=1)
    promises: tuple[PromiseSection, ...] = Field(min_length=1)
    steering: SteeringSection | None = None
    choosers: tuple[ScoreSection, ...] = ()
    external_topics: dict[str, str] = {}
    positions_topic: PositionsSection | None = None
    black_box: BlackBoxSection | None = None
    folds: int
    seed: int
    decision_period: float | None = Field(default=None, gt=0)
    longest_decision_gap: float | None = Field(default=None, gt=0)
    calibration: tuple[RolloutSection, ...]
    fit: tuple[RolloutSection, ...] = ()
    failures: tuple[RolloutSection, ...] = ()
    files: dict[FileName, str] = {}

    @property
    def longest_gap(self) -> float:
        """The longest time between two decisions in calibration, in seconds; 0 if unknown."""
        return self.longest_decision_gap or self.decision_period or 0.0

    @property
    def max_decision_age(self) -> float:
        """Seconds after which a decision is too old, since the next one is late."""
        return max(MIN_DECISION_AGE, LATE * self.longest_gap)

    @model_validator(mode="after")
    def _check_constant_scale(self) -> BundleDescription:
        if self.threshold == "constant" and any(
            None in (score.centre, score.spread) for score in self.scores
        ):
            raise ValueError("a constant threshold needs every score's centre and spread")
        return self

    @model_validator(mode="after")
    def _check_trusted_horizons(self) -> BundleDescription:
        tasks = {promise.task for promise in self.promises}
        if self.steering is not None and set(self.steering.limits) != tasks:
            raise ValueError("the trusted horizon needs a limit for every task that has a promise")
        return self
