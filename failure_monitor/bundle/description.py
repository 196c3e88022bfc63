# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The schema of a bundle's bundle.yaml, and its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from failure_monitor.decision import ActionKind
from failure_monitor.messages.measured_positions import PositionType
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.schema import above, at_least, below, like, not_empty, plain, read
from failure_monitor.thresholds.conformal import PromiseKind, Rule, ThresholdKind

SCHEMA_VERSION = 2
"""In version 1 scores had one model, and each task one limit."""

MIN_DECISION_AGE = 1.0
"""Seconds for which a decision is good at least, however often the policy decides: a busy machine
may delay one."""

OLD = 3.0
"""Factor of the longest age of a plan in calibration: an older plan is not executed."""

OLDER_THAN_DECISION = 1.5
"""Factor of the age of a decision after which it is late: a plan is good for so long at least,
since its observation is older than the decision."""

LATE = 1.5
"""Factor of the longest time between two decisions in calibration: after that, one is late."""

InputType = Annotated[
    str,
    like(
        r"std_msgs/msg/Float(32|64|64MultiArray)|sensor_msgs/msg/((Compressed)?Image|JointState)|"
        r"geometry_msgs/msg/(Twist|TwistStamped|PoseStamped)|trajectory_msgs/msg/JointTrajectory",
        "the type of an external score's, a camera's or a command's messages",
    ),
]

FileName = Annotated[
    str, like(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "the name of a file in the bundle's folder")
]
"""A file name without a folder, so that nothing outside a bundle's folder is read."""

# No level is above a limit that is NaN, so such a limit would never raise an alarm: `read` rejects
# every number that is not finite.
Count = Annotated[int, above(0)]
Positive = Annotated[float, above(0)]
NotNegative = Annotated[float, at_least(0)]


@dataclass(frozen=True, kw_only=True)
class PolicySection:
    """The format of the policy's decisions, as in `PolicyFormat`."""

    embedding_size: Annotated[int, at_least(0)]
    samples: Count
    horizon: Count
    action_names: tuple[str, ...]
    action_kind: ActionKind
    position_names: tuple[str, ...]
    executed_actions: Count | None = None
    control_period: Positive | None = None
    guided_actions: Annotated[int, at_least(0)] = 0
    waits: bool = False


@dataclass(frozen=True, kw_only=True)
class ScoreSection:
    """One score of the rule: its parameters.

    Its scale is here in version 1, where it is constant.
    """

    name: str
    centre: float | None = None
    spread: Positive | None = None
    parameters: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RolloutSection:
    """A rollout of calibration or fitting, or a failure from which a score learned.

    For a rollout of calibration, `fold` is its fold, whose models did not learn from it, and
    `limit` its largest combined number by these, with which a running rollout is compared.
    `max_level` and `max_normalised_scores`, by the scores' names, are its largest values by these
    models, where the limit of its task's promise is 1.
    """

    name: str
    decisions: Count
    sha256: str
    task: str = ""
    group: str = ""
    fold: Annotated[int, at_least(0)] | None = None
    limit: float | None = None
    max_level: float | None = None
    max_normalised_scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PromiseSection:
    """The promise for future successful rollouts that are exchangeable with those of one task.

    `limit` is number `rank` of the limits of the task's rollouts, smallest first; in version 1,
    and where scores were fitted on other rollouts, it alone decides. `thresholds` are about what
    each score is compared with, by the scores' names, if they are constant. `tasks` is the number
    of tasks of a promise across tasks, of which `rank` and interval are then. `counting` is as how
    many rollouts those count that are weighed for groups to come; `rank` and interval are of
    these then, and `limit` is the weighed one.
    """

    task: str = ""
    limit: float
    thresholds: Mapping[str, Positive] = field(default_factory=dict)
    rollouts: Count
    tasks: Count | None = None
    counting: Count | None = None
    rank: Count
    smallest_alpha: float
    false_alarm_interval_90: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SteeringSection:
    """The trusted horizon: `Dispersion`, and for each task the limit for `alpha`."""

    leading: Count
    usual: tuple[Positive, ...]
    limits: Mapping[str, NotNegative]


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """An exported model: its file, and the files of its weights by their names in the model."""

    file: FileName
    weights: Mapping[str, FileName] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BlackBoxSection:
    """How exported models computed the decisions of recordings; the monitor does the same.

    `cameras` are the topics of the encoder's cameras by the cameras' names. `observation_rate` is
    in decisions per second, 0 for a decision at every image of the first camera.
    `matching_tolerance` is in seconds.
    """

    encoder: ModelSection | None = None
    sampler: ModelSection | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)
    observation_rate: NotNegative
    matching_tolerance: NotNegative
    noise_seed: Annotated[int, at_least(0)]


@dataclass(frozen=True, kw_only=True)
class PositionsSection:
    """The topic of the measured positions that scores need, as in `PositionsTopic`."""

    name: str
    message_type: PositionType
    joints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JointsSection:
    """What scores need of joints.

    `quantities` are named as in `JointMotion`. `topics` are those of joint states in the bags of
    calibration, that of the whole robot first; none if they are unknown. `commands` are the
    values of commands as sent, none where scores take the chunks' executed part, and
    `commands_topic` is theirs; empty if it is unknown.
    """

    quantities: Annotated[tuple[str, ...], not_empty]
    topics: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    commands_topic: str = ""


@dataclass(frozen=True, kw_only=True)
class OutcomeTaskSection:
    """The ends of true successes of a task: how many there are, or why none are compared with."""

    task: str = ""
    rollouts: Annotated[int, at_least(0)] = 0
    unknown: str = ""


@dataclass(frozen=True, kw_only=True)
class OutcomeSection:
    """The outcome check: whether an end is like those of true successes.

    `alpha` is the chance that a true success is doubted. `parts` are what is compared of an end,
    and `left_out` is why other parts are not. `joints` are quantities of joints.
    """

    alpha: Annotated[float, above(0), below(1)]
    rule: Rule
    parts: Annotated[tuple[str, ...], not_empty]
    left_out: Mapping[str, str] = field(default_factory=dict)
    joints: tuple[str, ...] = ()
    tasks: Annotated[tuple[OutcomeTaskSection, ...], not_empty]


@dataclass(frozen=True, kw_only=True)
class LineageSection:
    """One recalibration: the bundle before it, and the rollouts that came and went, by SHA-256.

    `parent` is the hash of the bundle before, made at `parent_created`.
    """

    parent: str
    parent_created: str
    came: tuple[str, ...]
    went: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BundleDescription:
    """The content of bundle.yaml.

    `rule_choice` is why calibration chose these scores, and what more would bring, a sentence
    each; empty if they were named, and in bundles of older versions.
    `stated_policy` is what the policy stated about itself on `policy/format`.
    `future` are the shares of groups among successful rollouts to come, which those of calibration
    are weighed for; none where all weigh the same.
    `choosers` are scores that only choose among sampled chunks and are no part of the rule.
    `external_topics` are the topics of external scores, by the scores' names without prefix.
    `message_types` are the types of the topics of external scores and cameras, by the names of the
    topics; empty in bundles of older versions.
    `folds` is the number of folds of the rollouts in `fit`, or if there are none of those in
    `calibration`.
    `black_box` is missing if the policy published its decisions, or if their models are unknown.
    `outcome` is the outcome check; None if it was turned off, and in bundles of older versions.
    `lineage` are the recalibrations that led here, the first one first.
    `failures` are the failed rollouts from which the score `probe` learned.
    `decision_period` is the usual time between decisions of the calibration rollouts, in seconds;
    None if unknown, as in bundles of older versions. `longest_decision_gap` is the longest.
    `longest_plan_age` is the longest time from an observation to the end of the execution of its
    chunk, when the next decision had come, in seconds; None if unknown.
    """

    schema_version: int
    tool_version: str
    created: str
    policy: PolicySection
    stated_policy: PolicyDescription | None = None
    rule: Rule
    window: Count
    threshold: ThresholdKind = "constant"
    promise: PromiseKind = "per-task"
    future: Mapping[str, Positive] = field(default_factory=dict)
    alpha: Annotated[float, above(0), below(1)]
    scores: Annotated[tuple[ScoreSection, ...], not_empty]
    promises: Annotated[tuple[PromiseSection, ...], not_empty]
    rule_choice: tuple[str, ...] = ()
    steering: SteeringSection | None = None
    choosers: tuple[ScoreSection, ...] = ()
    external_topics: Mapping[str, str] = field(default_factory=dict)
    message_types: Mapping[str, InputType] = field(default_factory=dict)
    positions_topic: PositionsSection | None = None
    joints: JointsSection | None = None
    black_box: BlackBoxSection | None = None
    outcome: OutcomeSection | None = None
    folds: int
    seed: int
    decision_period: Positive | None = None
    longest_decision_gap: Positive | None = None
    longest_plan_age: Positive | None = None
    calibration: tuple[RolloutSection, ...]
    fit: tuple[RolloutSection, ...] = ()
    failures: tuple[RolloutSection, ...] = ()
    lineage: tuple[LineageSection, ...] = ()
    files: Mapping[FileName, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what concerns several fields.

        Raises:
            ValueError: they contradict each other.
        """
        if self.schema_version > 1:
            if any(None in (rollout.fold, rollout.limit) for rollout in self.calibration):
                raise ValueError("the threshold needs every calibration rollout's fold and limit")
        elif self.threshold == "constant" and any(
            None in (score.centre, score.spread) for score in self.scores
        ):
            raise ValueError("a constant threshold needs every score's centre and spread")
        tasks = {promise.task for promise in self.promises}
        if self.steering is not None and set(self.steering.limits) != tasks:
            raise ValueError("the trusted horizon needs a limit for every task that has a promise")

    @property
    def promised_rate(self) -> float:
        """The promised false-alarm rate: alpha, or more from fewer tasks than alpha needs."""
        return max(self.alpha, *(promise.smallest_alpha for promise in self.promises))

    @property
    def has_pairs(self) -> bool:
        """Whether each calibration rollout is compared by the scores of its fold."""
        return self.schema_version > 1 and not self.fit

    @property
    def weighs_alike(self) -> bool:
        """Whether every calibration rollout counts as one."""
        return self.promise == "per-task" and not self.future

    @property
    def longest_gap(self) -> float:
        """The longest time between two decisions in calibration, in seconds; 0 if unknown."""
        return self.longest_decision_gap or self.decision_period or 0.0

    @property
    def max_decision_age(self) -> float:
        """Seconds after which a decision is too old, since the next one is late."""
        return max(MIN_DECISION_AGE, LATE * self.longest_gap)

    @property
    def max_plan_age(self) -> float | None:
        """Seconds after which a plan is too old to be executed; None where nothing is known."""
        return self.max_plan_age_beside(self.max_decision_age)

    def max_plan_age_beside(self, max_decision_age: float) -> float | None:
        """Return `max_plan_age` where another age of decisions is allowed than by this bundle."""
        if self.longest_plan_age is None:
            return None
        return max(OLD * self.longest_plan_age, OLDER_THAN_DECISION * max_decision_age)


def checked(description: BundleDescription) -> BundleDescription:
    """Return the description as it is after it was written and read.

    Raises:
        SchemaError: a value is not possible, so no one could read it.
    """
    return read(BundleDescription, plain(description))
