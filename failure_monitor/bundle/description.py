# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in a bundle's bundle.yaml: the schema, and its version."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from failure_monitor.decision import ActionKind
from failure_monitor.messages.measured_positions import PositionType
from failure_monitor.thresholds.conformal import Rule, ThresholdKind

SCHEMA_VERSION = 1

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name without a folder: a bundle reads nothing outside its own."""


class _Section(BaseModel):
    # NaN exceeds nothing: a limit that is NaN would never alarm.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PolicySection(_Section):
    """The policy that the bundle is for: `PolicyFormat`."""

    embedding_size: int = Field(gt=0)
    samples: int = Field(gt=0)
    horizon: int = Field(gt=0)
    action_names: tuple[str, ...]
    action_kind: ActionKind
    position_names: tuple[str, ...]
    executed_actions: int | None = Field(default=None, gt=0)


class ScoreSection(_Section):
    """One score of the rule: its own numbers, and its scale where that is constant."""

    name: str
    centre: float | None = None
    spread: float | None = Field(default=None, gt=0)
    parameters: dict[str, float]


class RolloutSection(_Section):
    """A rollout that set the thresholds, or that scores were fitted on, as those that failed.

    Of one that set the thresholds, `max_level` and `max_normalised_scores`, by the scores' names,
    are the largest numbers that the monitor would have shown, by scores fitted without it.
    """

    name: str
    decisions: int = Field(gt=0)
    sha256: str
    task: str = ""
    max_level: float | None = None
    max_normalised_scores: dict[str, float] = {}


class PromiseSection(_Section):
    """What holds of future successful rollouts that are exchangeable with those of one task.

    `limit` is that of the combined number of the scores on their scale; `thresholds`, by the
    scores' names, what it makes of each, where these are constant.
    """

    task: str = ""
    limit: float
    thresholds: dict[str, Annotated[float, Field(gt=0)]] = {}
    rollouts: int = Field(gt=0)
    rank: int = Field(gt=0)
    smallest_alpha: float
    false_alarm_interval_90: tuple[float, float]


class SteeringSection(_Section):
    """The trusted horizon: `Dispersion`, and by task the limit that goes with `alpha`."""

    leading: int = Field(gt=0)
    usual: tuple[Annotated[float, Field(gt=0)], ...]
    limits: dict[str, Annotated[float, Field(ge=0)]]


class ModelSection(_Section):
    """An exported model: its file, and those of its weights by the names that it has for them."""

    file: FileName
    weights: dict[str, FileName] = {}


class BlackBoxSection(_Section):
    """What exported models made of recordings, and how: so the monitor does it as well.

    `cameras` are the topics of the encoder's cameras by their names. `observation_rate` is in
    decisions a second, 0 for one at every frame of the first camera; `matching_tolerance` in
    seconds.
    """

    encoder: ModelSection | None = None
    sampler: ModelSection | None = None
    cameras: dict[str, str] = {}
    observation_rate: float = Field(ge=0)
    matching_tolerance: float = Field(ge=0)
    noise_seed: int = Field(ge=0)


class PositionsSection(_Section):
    """Where the monitor hears the measured positions that scores need: `PositionsTopic`."""

    name: str
    message_type: PositionType
    joints: tuple[str, ...] = ()


class BundleDescription(_Section):
    """All that stands in bundle.yaml.

    `choosers` are scores that are no part of the rule, to choose among sampled chunks by.
    `external_topics` are those of external scores, by their names without prefix.
    `folds` are those of the rollouts in `fit`, that scores were fitted on; where there are none,
    of the rollouts in `calibration`. `black_box` is missing where the policy published its
    decisions, or nobody said what made them. `failures` are what the score `probe` learned from
    besides.
    `decision_period` is the usual time from one decision of the calibration rollouts to the next,
    in seconds; None where their stamps, or an older version, did not say.
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
    calibration: tuple[RolloutSection, ...]
    fit: tuple[RolloutSection, ...] = ()
    failures: tuple[RolloutSection, ...] = ()
    files: dict[FileName, str] = {}

    @model_validator(mode="after")
    def _constant_scale_is_stated(self) -> BundleDescription:
        if self.threshold == "constant" and any(
            None in (score.centre, score.spread) for score in self.scores
        ):
            raise ValueError("a constant threshold needs every score's centre and spread")
        return self

    @model_validator(mode="after")
    def _every_task_has_a_trusted_horizon(self) -> BundleDescription:
        tasks = {promise.task for promise in self.promises}
        if self.steering is not None and set(self.steering.limits) != tasks:
            raise ValueError("the trusted horizon needs a limit for every task that has a promise")
        return self
