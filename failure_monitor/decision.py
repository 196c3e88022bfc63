# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The decisions of a policy, rollouts of them, and the monitor's verdicts on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.joint_motion import JointMotion

ActionKind = Literal["position", "velocity", "delta"]
ACTION_KINDS: tuple[ActionKind, ...] = get_args(ActionKind)

OutcomeSource = Literal["", "claim", "operator", "labels"]
"""Who stated an outcome: the policy or its caller, the operator, a file of labels; empty for a
recording that does not tell."""


Value = TypeVar("Value")

EARLIEST_DATE = 1e8
"""Seconds since 1970 below which a time is no date, but of a simulation or a count of steps."""


class InvalidDecisionError(FailureMonitorError):
    """A decision of another shape than expected, or with values that are not finite."""


@dataclass(frozen=True)
class PolicyFormat:
    """The shapes and the meaning of a policy's outputs at every decision.

    Attributes:
        embedding_size: E, the length of an observation embedding; 0 if the policy gives none.
        samples: B, the number of action chunks sampled per decision.
        horizon: H, the number of future actions in a chunk.
        action_names: the names of the D action dimensions, in order.
        action_kind: the meaning of an action: an absolute `position`, a `velocity`, or a `delta`
            to the position before it. Velocities and deltas are integrated before positions
            are compared.
        position_names: those of `action_names` that span the space in which sampled chunks
            are compared (leave out a gripper's effort); empty means all.
        executed_actions: k, the usual number of actions of a chunk that are executed before the
            next decision; None if unknown. It counts where the control period is unknown.
        control_period: the seconds from one executed action to the next, by which the stamps tell
            how many were executed; None if unknown.
        guided_actions: the number of leading actions of a chunk that are led to what is already
            being executed, so that they do not scatter.
        waits: whether the robot waits while the policy decides, so that no more than
            `executed_actions` are executed between two decisions, however long the policy takes.
    """

    embedding_size: int
    samples: int
    horizon: int
    action_names: tuple[str, ...]
    action_kind: ActionKind = "position"
    position_names: tuple[str, ...] = ()
    executed_actions: int | None = None
    control_period: float | None = None
    guided_actions: int = 0
    waits: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.position_names if name not in self.action_names]
        if unknown:
            raise InvalidDecisionError(
                f"position dimensions {unknown} are not among the policy's actions "
                f"{list(self.action_names)}: name some of these"
            )
        if self.executed_actions is not None and not 1 <= self.executed_actions <= self.horizon:
            raise InvalidDecisionError(
                f"{self.executed_actions} actions of a chunk cannot be executed, a chunk has "
                f"{self.horizon}: give a number from 1 to {self.horizon}"
            )
        if self.control_period is not None and not 0 < self.control_period < math.inf:
            raise InvalidDecisionError(
                f"a control period of {self.control_period:g} s is invalid: state the seconds "
                "from one action to the next"
            )
        if not 0 <= self.guided_actions < self.horizon:
            raise InvalidDecisionError(
                f"{self.guided_actions} leading actions of a chunk cannot be led to what is being "
                f"executed, a chunk has {self.horizon}: state a number from 0 to "
                f"{self.horizon - 1}"
            )

    @property
    def chunk_shape(self) -> tuple[int, int, int]:
        """The shape of a decision's action chunks, (B, H, D)."""
        return (self.samples, self.horizon, len(self.action_names))

    @property
    def position_indices(self) -> tuple[int, ...]:
        """The indices of `position_names` among the action dimensions."""
        names = self.position_names or self.action_names
        return tuple(self.action_names.index(name) for name in names)

    def check(self, decision: Decision) -> None:
        """Reject a decision that is not of this format.

        Raises:
            InvalidDecisionError: a size differs, or a value is NaN or infinite.
        """
        self.check_shapes(decision)
        self.check_finite(decision)

    def check_shapes(self, decision: Decision) -> None:
        """Reject a decision of other sizes.

        Raises:
            InvalidDecisionError: a size differs.
        """
        if decision.embedding.shape != (self.embedding_size,):
            if not decision.embedding.size or not self.embedding_size:
                raise InvalidDecisionError(self._why_embedding_differs(decision))
            raise InvalidDecisionError(
                f"the embedding has shape {decision.embedding.shape}, expected "
                f"({self.embedding_size},): the policy was re-trained, or these are another "
                "policy's; calibrate again"
            )
        if decision.chunks.shape != self.chunk_shape:
            raise InvalidDecisionError(
                f"the action chunks have shape {decision.chunks.shape}, expected (B, H, D) = "
                f"{self.chunk_shape}: the policy was re-trained, or these are another policy's; "
                "calibrate again"
            )
        measured = len(self.position_names or self.action_names)
        if decision.positions is not None and decision.positions.shape != (measured,):
            names = ", ".join(self.action_names[index] for index in self.position_indices)
            raise InvalidDecisionError(
                f"the measured positions have shape {decision.positions.shape}, expected one "
                f"number for each of {names}: name the actions that the positions belong to"
            )

    def _why_embedding_differs(self, decision: Decision) -> str:
        """Return what is wrong where the policy or the decision has no embedding at all."""
        if self.embedding_size:
            return (
                f"there is no embedding, expected one of {self.embedding_size} numbers: let the "
                "policy publish it as it did in calibration, or calibrate again without"
            )
        return (
            f"there is an embedding of shape {decision.embedding.shape}, and the policy had none "
            "in calibration: read bags without it (--embedding-topic ''), or calibrate again"
        )

    def check_finite(self, decision: Decision) -> None:
        """Reject a decision with values that are no numbers.

        Raises:
            InvalidDecisionError: a value is NaN or infinite.
        """
        if not np.isfinite(decision.embedding).all():
            raise InvalidDecisionError(
                f"{_count_not_finite(decision.embedding)} of the embedding's values are NaN or "
                "infinite: check the policy's encoder and its inputs"
            )
        if not np.isfinite(decision.chunks).all():
            raise InvalidDecisionError(
                f"{_count_not_finite(decision.chunks)} of the action chunks' values are NaN or "
                "infinite: check the policy's sampler"
            )
        if decision.tokens is not None and not np.isfinite(decision.tokens).all():
            raise InvalidDecisionError(
                f"{_count_not_finite(decision.tokens)} of the tokens' values are NaN or "
                "infinite: check the policy's network and its inputs"
            )
        if decision.positions is not None and not np.isfinite(decision.positions).all():
            raise InvalidDecisionError(
                f"{_count_not_finite(decision.positions)} of the measured positions are NaN or "
                "infinite: check the robot's state publisher"
            )


def _count_not_finite(values: NDArray[np.float32]) -> str:
    return f"{np.count_nonzero(~np.isfinite(values))} of {values.size}"


@dataclass(frozen=True, eq=False)
class Decision:
    """One inference of the policy.

    Attributes:
        stamp: when the observation was made, in nanoseconds: seconds as a float would not be
            exact.
        embedding: the observation embedding, float32 (E,); (0,) where the policy gives none.
        chunks: the sampled action chunks, float32 (B, H, D); the first is executed.
        positions: the measured positions of the robot, float32 (P,), in the space and units of
            the position actions; None if they were not measured.
        external: scores of this decision that others computed, by name; larger is worse.
        joints: what the joints did since the decision before; None if that is unknown.
        tokens: the last layer's tokens of the policy's network, float32 (N, F); None if it
            published none.
    """

    stamp: int
    embedding: NDArray[np.float32]
    chunks: NDArray[np.float32]
    positions: NDArray[np.float32] | None = None
    external: Mapping[str, float] = field(default_factory=dict)
    joints: JointMotion | None = None
    tokens: NDArray[np.float32] | None = None

    def once(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        """Return what `compute` returns, which is called once for all that ask by that key.

        Args:
            key: what is computed, and from which numbers beside the decision's.
            compute: returns what nobody may change.
        """
        known = self._known
        if key not in known:
            known[key] = compute()
        return known[key]  # type: ignore[return-value]

    @cached_property
    def _known(self) -> dict[Hashable, object]:
        return {}

    @cached_property
    def mean_chunk(self) -> NDArray[np.float32]:
        """The mean over the sampled chunks, flattened: (H·D,). Computed once for all scores."""
        return _mean_row(self._flat_chunks)

    @cached_property
    def chunk_deviation(self) -> NDArray[np.float32]:
        """The standard deviation over the sampled chunks, flattened: (H·D,)."""
        apart = self._flat_chunks - self.mean_chunk
        return np.asarray(np.sqrt(_mean_row(np.multiply(apart, apart, out=apart))))

    @property
    def _flat_chunks(self) -> NDArray[np.float32]:
        return self.chunks.reshape(len(self.chunks), -1)


def _mean_row(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of rows (B, N), (N,); as a product it takes a quarter of the time."""
    if len(rows) == 1:
        return np.asarray(rows[0])
    return np.asarray(np.ones(len(rows), rows.dtype) @ rows / len(rows))


@dataclass(frozen=True)
class RolloutTiming:
    """When a rollout's decisions were taken.

    Attributes:
        seconds: from the first decision to the last.
        period: the median time from a decision to the next, in seconds; None for a single
            decision.
        longest_gap: the longest time from a decision to the next, in seconds; None for one.
    """

    seconds: float
    period: float | None
    longest_gap: float | None

    @property
    def rate(self) -> float | None:
        """The usual number of decisions per second; None where it is unknown."""
        return 1 / self.period if self.period else None


@dataclass(frozen=True, eq=False)
class Rollout:
    """One run of a task: T decisions in order of time, and the outcome.

    Attributes:
        name: its name in messages and tables.
        stamps: when the observations were made, in seconds, float64 (T,).
        embeddings: the observation embeddings, float32 (T, E); (T, 0) where there are none.
        chunks: the sampled action chunks, float32 (T, B, H, D).
        success: whether the task was done; None if unknown.
        group: the group in evaluations, such as the kind of perturbation; may be empty.
        source: the path that it was read from.
        sha256: the SHA-256 of what it was read from, as hexadecimal.
        calibration: whether its source sets it apart for calibration; None if unknown.
        positions: measured positions as in `Decision`, float32 (T, P); None if there are none.
        task: the task of the robot; empty if unknown.
        external: external scores as in `Decision`, by name, float64 (T,) each.
        interventions: whether a human acted between each decision and the next, bool (T,); None
            if unknown.
        joints: what the joints did as in `Decision`, of T decisions; None if that is unknown.
        tokens: the tokens as in `Decision`, float32 (T, N, F); None if there are none.
        claim: whether the policy, or its caller, claimed success when it ended, whatever is known
            by now; None if nothing was claimed.
        outcome_by: who stated `success`: of several the best, which are labels, then the
            operator, then the claim.
        judged: the first number of an outside judge between its end and the next rollout; None if
            none was read.
    """

    name: str
    stamps: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    chunks: NDArray[np.float32]
    success: bool | None = None
    group: str = ""
    source: str = ""
    sha256: str = ""
    calibration: bool | None = None
    positions: NDArray[np.float32] | None = None
    task: str = ""
    external: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    interventions: NDArray[np.bool_] | None = None
    joints: JointMotion | None = None
    tokens: NDArray[np.float32] | None = None
    claim: bool | None = None
    outcome_by: OutcomeSource = ""
    judged: float | None = None

    @property
    def timing(self) -> RolloutTiming:
        """When its decisions were taken."""
        gaps = np.diff(self.stamps)
        return RolloutTiming(
            seconds=float(self.stamps[-1] - self.stamps[0]),
            period=float(np.median(gaps)) if len(gaps) else None,
            longest_gap=float(gaps.max()) if len(gaps) else None,
        )

    @property
    def has_intervention(self) -> bool:
        """Whether a human is known to have acted in it."""
        return self.interventions is not None and bool(self.interventions.any())

    @property
    def onset(self) -> int | None:
        """The number of the last decision before a human first acted; None if none is known to."""
        if self.interventions is None or not self.interventions.any():
            return None
        return int(self.interventions.argmax())

    @property
    def has_date(self) -> bool:
        """Whether its times are dates, and none of a simulation or a count of steps."""
        return bool(len(self)) and float(self.stamps[0]) >= EARLIEST_DATE

    @property
    def policys_part(self) -> Rollout:
        """The rollout up to a human's intervention: a failure of the policy, which ends there."""
        onset = self.onset
        return self if onset is None else replace(self.beginning(onset + 1), success=False)

    @property
    def nanoseconds(self) -> NDArray[np.float64]:
        """The stamps as whole nanoseconds, as its decisions have them, (T,)."""
        return np.rint(1e9 * self.stamps)

    def __len__(self) -> int:
        return len(self.stamps)

    def beginning(self, decisions: int) -> Rollout:
        """Return the rollout up to so many decisions."""
        if decisions >= len(self):
            return self
        return replace(
            self,
            stamps=self.stamps[:decisions],
            embeddings=self.embeddings[:decisions],
            chunks=self.chunks[:decisions],
            positions=None if self.positions is None else self.positions[:decisions],
            external={name: values[:decisions] for name, values in self.external.items()},
            interventions=None if self.interventions is None else self.interventions[:decisions],
            joints=None if self.joints is None else self.joints.at(slice(decisions)),
            tokens=None if self.tokens is None else self.tokens[:decisions],
        )

    def decisions(self) -> Iterator[Decision]:
        """Yield the decisions, first to last."""
        for index, stamp in enumerate(self.nanoseconds):
            yield Decision(
                stamp=int(stamp),
                embedding=self.embeddings[index],
                chunks=self.chunks[index],
                positions=None if self.positions is None else self.positions[index],
                external={name: float(values[index]) for name, values in self.external.items()},
                joints=None if self.joints is None else self.joints.at(index),
                tokens=None if self.tokens is None else self.tokens[index],
            )

    def check(self, policy: PolicyFormat) -> None:
        """Reject a rollout that has no decision, or one out of order or not of the policy's
        format.

        Raises:
            InvalidDecisionError: the rollout is rejected; names the rollout and the decision.
        """
        if len(self) == 0:
            raise InvalidDecisionError(
                f"{self.name}: the rollout has no decision: check that the policy published "
                "action chunks while it was recorded, or leave it out"
            )
        self._check_stamps()
        for index, decision in enumerate(self.decisions()):
            try:
                policy.check(decision)
            except InvalidDecisionError as error:
                raise InvalidDecisionError(f"{self.name}, decision {index}: {error}") from None

    def _check_stamps(self) -> None:
        for index in np.flatnonzero(~np.isfinite(self.stamps)):
            raise InvalidDecisionError(
                f"{self.name}, decision {index}: the stamp is {self.stamps[index]}, expected "
                "seconds: check what recorded it"
            )
        for index in np.flatnonzero(np.diff(self.stamps) < 0) + 1:
            raise InvalidDecisionError(
                f"{self.name}, decision {index}: the stamp {self.stamps[index]:.3f} s is before "
                f"{self.stamps[index - 1]:.3f} s, that of the decision before: put the decisions "
                "in order of time"
            )


def in_order_of_time(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return rollouts in the order of their dates; as they are given, where one has none."""
    if not all(rollout.has_date for rollout in rollouts):
        return list(rollouts)
    return sorted(rollouts, key=lambda each: float(each.stamps[0]))


class ScoreVerdict(NamedTuple):
    """One score of one decision.

    Attributes:
        name: the score's name.
        value: the score of this decision alone; NaN where it is undefined, as a score of two
            decisions is at a rollout's first decision.
        windowed: the mean of the defined values in the window; NaN if there is none.
        threshold: the threshold of `windowed`.
        meaning: what is wrong where the score is above its threshold, for the operator; may be
            empty.
    """

    name: str
    value: float
    windowed: float
    threshold: float
    meaning: str = ""

    @property
    def is_defined(self) -> bool:
        """Whether the score is defined; if not, it is neither above nor below its threshold."""
        return not math.isnan(self.windowed)

    @property
    def normalised(self) -> float:
        """The ratio of the windowed score to its threshold; NaN if undefined."""
        return self.windowed / self.threshold

    @property
    def is_above_threshold(self) -> bool:
        """Whether the windowed score is above its threshold."""
        return self.windowed > self.threshold


@dataclass(frozen=True)
class Verdict:
    """The monitor's verdict on one decision.

    Attributes:
        index: the decision's number in its rollout, from 0.
        stamp: when its observation was made, in nanoseconds.
        scores: one verdict per score of the rule.
        rule: how the scores are combined.
        level: the combined normalised score; the rule holds above 1. It is 0 where the rule is
            undefined.
        past_calibration: whether the thresholds vary over time and the rollout is longer than
            those of calibration, so that they keep their last values.
        rollouts: n, how many calibration rollouts the decision is compared with.
        rollouts_below: how many of these lie below the decision: their largest combined number
            is less than its own, each by the models of the calibration rollout's fold.
        caution: why the state is CAUTION at least, whatever the scores; empty if it need not be.
        largest_by_fold: (F, K), the largest normalised scores of the rollout so far by the models
            of each fold; NaN where they were never defined.
    """

    index: int
    stamp: int
    scores: tuple[ScoreVerdict, ...]
    rule: str
    level: float
    past_calibration: bool = False
    rollouts: int = 0
    rollouts_below: int = 0
    caution: str = ""
    largest_by_fold: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @property
    def is_undefined(self) -> bool:
        """Whether the rule is undefined, so that it cannot call for an alarm.

        It is if no score is defined, or for the rule `all` if one is not.
        """
        undefined = [not score.is_defined for score in self.scores]
        return any(undefined) if self.rule == "all" else all(undefined)

    @property
    def calls_for_alarm(self) -> bool:
        """Whether the rule holds: this decision calls for an alarm."""
        # Not `> 1`: a level that is NaN must raise an alarm.
        return not self.level <= 1.0

    @property
    def reason(self) -> str:
        """The verdict as text: first the scores above their thresholds, the largest before all."""
        above = sorted(
            (score for score in self.scores if score.is_above_threshold),
            key=lambda score: score.normalised,
            reverse=True,
        )
        below = [
            score for score in self.scores if score.is_defined and not score.is_above_threshold
        ]
        parts = [
            *(_score_text(score) for score in above),
            *_all_below(below),
            *(
                f"{score.name} undefined: too few decisions so far, or what it compares with has "
                "not come"
                for score in self.scores
                if not score.is_defined
            ),
        ]
        past = (
            "; past the longest calibration rollout, where thresholds keep their last values"
            if self.past_calibration
            else ""
        )
        caution = f"; {self.caution}" if self.caution else ""
        return f"{'; '.join(parts)} (rule '{self.rule}' at {self.level:.2f}){past}{caution}"


def _score_text(score: ScoreVerdict) -> str:
    ratio = f"{score.name} {score.normalised:.2f} of its threshold"
    return f"{score.meaning} ({ratio})" if score.meaning else ratio


def _all_below(scores: Sequence[ScoreVerdict]) -> Iterator[str]:
    if scores:
        ratios = ", ".join(f"{score.name} {score.normalised:.2f}" for score in scores)
        yield f"below {'their thresholds' if len(scores) > 1 else 'its threshold'}: {ratios}"
