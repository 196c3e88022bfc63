# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joint residual: what joints did since the last decision, against what was to be expected.

From the states s of all joints at the decision before, the mean command c since then (as sent,
where all rollouts of calibration have recorded that, or else the executed actions of the chunk
before) and the embedding e then, along its 64 principal components where more features vary, ridge
regression predicts how the chosen quantities changed:

    x_t = [s_{t−1}, c_t, e_{t−1}, 1],    ŷ_t = s_{t−1} + Wᵀ x_t

with y the mean of a position or effort since the decision before, or its state where no mean is
known. With residuals ρ of the fitting rollouts, each predicted from the others,

    σ_q = √mean ρ_q²,    R²_q = 1 − mean ρ_q² / var (y_q − s_q), at least 0
    w_q ∝ R²_q / Σ_p |corr(ρ_q, ρ_p)|,    Σ w_q = 1
    score = (Σ_q w_q z_q⁴)^¼,    z_q = (y_q − ŷ_q) / σ_q, clipped

so that what commands and state do not determine counts little, joints that err together count
once, and one joint that is far off counts more than many that are slightly. Undefined at a
rollout's first decision, and where no action was executed, no command was sent, or a quantity is
not known.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, InvalidDecisionError, PolicyFormat, Rollout
from failure_monitor.joint_motion import JointMotion, JointMotionError, is_of_kind
from failure_monitor.listed_names import list_names
from failure_monitor.scores.base.executed_actions import ExecutedActions
from failure_monitor.scores.base.principal_components import PrincipalFeatures
from failure_monitor.scores.base.ridge import ridge_leaving_out
from failure_monitor.scores.base.sampled_chunks import require_second_decisions
from failure_monitor.scores.base.score import ScoreState, ScoreUndefinedError
from failure_monitor.scores.base.standardisation import CLIP, Standardisation
from failure_monitor.scores.base.together_score import TogetherScore, outside_each

RIDGE = 1.0
COMPONENTS = 64
"""Most directions in which the embedding is known: there is one model of them for each fold."""
MIN_RESIDUAL = 1e-3
"""In standard deviations of the change: no quantity counts as predicted more exactly."""
ONE = np.ones(1)

Residual = TypeVar("Residual", bound="JointResidual")
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the score remembers of the decision before.

    Attributes:
        stamp: in nanoseconds.
        states: (S,), of the joints.
        actions: (H, D), the executed chunk.
        embedding: (P,), standardised.
    """

    stamp: int
    states: Array
    actions: Array
    embedding: Array


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the model is given, brought to scale.

    Attributes:
        quantities: the names of the S quantities of the joints.
        commands: the names of the D values of commands as sent; none where the executed actions
            of D dimensions stand for them.
        executed: how many actions of a chunk are executed.
        motion: standardisation of states and commands, (S + D,).
        embedding: what is taken of embeddings, (P,); None where the policy gives none.
    """

    quantities: tuple[str, ...]
    commands: tuple[str, ...]
    executed: ExecutedActions
    motion: Standardisation
    embedding: PrincipalFeatures | None

    def seen(self, decision: Decision, joints: JointMotion) -> _Seen:
        """Return what is to be remembered of a decision, the same to all with these inputs."""
        return decision.once(
            ("joints", self.identity),
            lambda: _Seen(
                decision.stamp,
                joints.states,
                decision.chunks[0].astype(np.float64),
                self._of_embedding(decision),
            ),
        )

    def after(self, before: _Seen, decision: Decision, sent: Array | None) -> Array | None:
        """Return x of the decision after `before`; None where it is not known.

        Args:
            before: what was seen at the decision before.
            decision: the decision.
            sent: the mean of the commands sent since then, NaN where none was; None where the
                executed actions stand for them.
        """
        return decision.once(
            ("joints", self.identity, before), lambda: self._after(before, decision.stamp, sent)
        )

    def _after(self, before: _Seen, stamp: int, sent: Array | None) -> Array | None:
        command = self._executed(before, stamp) if sent is None else sent
        moved = np.concatenate([before.states, command])
        if not _are_known(moved):
            return None
        return np.concatenate([self.motion(moved), before.embedding, ONE])

    def _executed(self, before: _Seen, stamp: int) -> Array:
        """Return the mean of the executed actions, NaN where none was; (D,)."""
        actions = before.actions[: self.executed.between(before.stamp, stamp)]
        if not len(actions):
            return np.full(actions.shape[1], np.nan)
        return np.asarray(actions.sum(axis=0) / len(actions))

    def _of_embedding(self, decision: Decision) -> Array:
        if self.embedding is None:
            return np.empty(0)
        if self.embedding.components is None:
            return self.embedding.standardisation.of_embedding(decision)
        return self.embedding.of_embedding(decision).astype(np.float64)

    @cached_property
    def identity(self) -> bytes:
        """What only those have in common that take the same of decisions."""
        of_embedding = b"" if self.embedding is None else self.embedding.identity
        named = repr((self.quantities, self.commands, self.executed)).encode()
        return b"".join([self.motion.identity, of_embedding, named])


class JointResidual(TogetherScore):
    """The residual of what joints did; a subclass says which of their quantities count."""

    first_defined = 1
    counted: ClassVar[str]
    """What errors call the quantities that count."""

    _before: _Seen | None = None

    def __init__(
        self,
        *,
        inputs: Inputs,
        targets: NDArray[np.int64],
        are_means: NDArray[np.bool_],
        change: Standardisation,
        regression: Array,
        residual: Array,
        weights: Array,
    ) -> None:
        """Create the score from F models of Q quantities.

        Args:
            inputs: what the models are given.
            targets: (T,), the places of predicted quantities among those of `inputs`.
            are_means: (T,), whether their mean is predicted, or else their state.
            change: standardisation of their changes, (T,) to (Q,).
            regression: W of every model in a row, (X, F·Q).
            residual: σ, (F, Q).
            weights: w, (F, Q).
        """
        self._steps = _Steps(self.name, inputs, targets, are_means)
        self._change = change
        self._regression = regression
        self._residual = residual
        self._weights = weights
        self.joint_quantities = inputs.quantities
        self.command_names = inputs.commands

    @classmethod
    @abstractmethod
    def counts(cls, quantity: str) -> bool:
        """Return whether a quantity counts that is a position or an effort."""

    @property
    def models(self) -> int:
        """F, how many models there are."""
        return len(self._residual)

    @classmethod
    def fit_together(
        cls: type[Residual],
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64] | None,
        policy: PolicyFormat,
        seed: int = 0,
    ) -> Residual:
        """Fit the models to the rollouts.

        Raises:
            ScoreUndefinedError: what joints did is not known; it, or what was sent, differs in
                kind between rollouts; none of them counts; it is unknown how many actions are
                executed; no rollout has a second decision; nothing moves, or as nothing predicts
                it.
        """
        motions = _common_joints(rollouts, cls.name)
        quantities = motions[0].names
        targets = np.array(
            [place for place, name in enumerate(quantities) if _is_predicted(cls, name)], np.int64
        )
        if not len(targets):
            raise ScoreUndefinedError(
                f"{cls.name}: the rollouts give no position or effort of {cls.counted}, only "
                f"{list_names(quantities)}: record its joint states too "
                "(--more-joint-states-topics), or leave this score out of the rule"
            )
        require_second_decisions(rollouts, cls.name)
        executed = ExecutedActions.of(policy, rollouts, cls.name)
        means = np.concatenate([motion.means for motion in motions])[:, targets]
        are_means = np.isfinite(means).any(axis=0)
        steps = _Steps(
            cls.name, _inputs(cls.name, rollouts, motions, executed), targets, are_means
        )
        known = [[step for step in steps.of(rollout) if step is not None] for rollout in rollouts]
        if not any(known):
            raise ScoreUndefinedError(
                f"{cls.name}: at no decision of the rollouts all of {', '.join(quantities)} are "
                "known, as the joints are stated less often than the policy decides, or no "
                "action was executed or command sent: record them more often, or leave this score "
                "out of the rule"
            )
        change = Standardisation.fit(
            np.array([moved for of_rollout in known for _, moved in of_rollout]),
            f"{cls.name}: the changes of {', '.join(np.array(quantities)[targets])}",
        )
        regressions, residuals, weights = [], [], []
        for others in outside_each(rollouts, folds):
            taught = [known[place] for place in others if known[place]]
            if not taught:
                raise ScoreUndefinedError(
                    f"{cls.name}: what the joints did is known in too few rollouts to leave a "
                    "fold of them out: record it in more, or leave this score out of the rule"
                )
            fitted = _ridge(taught, change)
            regressions.append(fitted.regression)
            residuals.append(fitted.sizes)
            weights.append(_weights(fitted))
        if not np.any(weights):
            raise ScoreUndefinedError(
                f"{cls.name}: nothing predicts what the joints do (R² is 0 on rollouts that were "
                "held out): check that the executed chunk comes first among the samples, "
                "calibrate on more rollouts, or leave this score out of the rule"
            )
        return cls(
            inputs=steps.inputs,
            targets=targets,
            are_means=are_means,
            change=change,
            regression=np.concatenate(regressions, axis=1),
            residual=np.stack(residuals),
            weights=np.stack(weights),
        )

    def start_rollout(self) -> None:
        """Forget the decision before."""
        self._before = None

    def resume(self, number: int, *, stopped: bool = False) -> None:
        """Continue after decisions that were not seen, so that the next one has no step."""
        self._before = None

    def is_defined_for(self, decision: Decision) -> bool:
        """Return whether all is known of the step from the decision before."""
        return self._steps.step(self._before, decision) is not None

    def defined(self, rollout: Rollout) -> NDArray[np.bool_]:
        """Return which decisions of a rollout have the score, (T,)."""
        return np.array([step is not None for step in self._steps.of(rollout)])

    def update_all(self, decision: Decision) -> Array:
        """Return the size of the residual of the step from the last decision, (F,)."""
        before, self._before = self._before, self._steps.seen(decision)
        return self._sizes(self._steps.step(before, decision))

    def score_all(self, rollout: Rollout) -> Array:
        """Return the size of the residual of the step to every decision, (T, F)."""
        return np.stack([*map(self._sizes, self._steps.of(rollout))])

    def _sizes(self, step: tuple[Array, Array] | None) -> Array:
        """Return the size of the residual of a step, (F,); NaN where there is none."""
        if step is None:
            return np.full(self.models, np.nan)
        x, change = step
        scaled = self._change(change) - (x @ self._regression).reshape(self._residual.shape)
        scaled /= self._residual
        powers = scaled * scaled
        np.minimum(powers, CLIP**2, out=powers)
        powers *= powers
        powers *= self._weights
        return np.asarray(np.sqrt(np.sqrt(powers.sum(axis=1))))

    def state(self) -> ScoreState:
        """Return the models."""
        inputs = self._steps.inputs
        embedding, components = {}, {}
        if inputs.embedding is not None:
            embedding = inputs.embedding.standardisation.arrays("embedding")
            if inputs.embedding.components is not None:
                components = {"components": inputs.embedding.components}
        return ScoreState(
            parameters=inputs.executed.parameters(),
            arrays={
                "quantities": np.array(inputs.quantities),
                **({"commands": np.array(inputs.commands)} if inputs.commands else {}),
                "targets": self._steps.targets,
                "are_means": self._steps.are_means,
                "regression": self._regression,
                "residual": self._residual,
                "weights": self._weights,
                **inputs.motion.arrays("motion"),
                **self._change.arrays("change"),
                **embedding,
                **components,
            },
        )

    @classmethod
    def from_state(cls: type[Residual], state: ScoreState) -> Residual:
        """Restore the score with stored models."""
        arrays = state.arrays
        embedding, components = None, arrays.get("components")
        if "embedding_varying" in arrays:
            embedding = PrincipalFeatures(
                Standardisation.from_state(state, "embedding"),
                None if components is None else components.astype(np.float32, order="C"),
            )
        return cls(
            inputs=Inputs(
                quantities=tuple(str(name) for name in arrays["quantities"]),
                commands=tuple(str(name) for name in arrays.get("commands", ())),
                executed=ExecutedActions.from_parameters(state.parameters),
                motion=Standardisation.from_state(state, "motion"),
                embedding=embedding,
            ),
            targets=arrays["targets"].astype(np.int64),
            are_means=arrays["are_means"].astype(np.bool_),
            change=Standardisation.from_state(state, "change"),
            regression=arrays["regression"].astype(np.float64),
            residual=arrays["residual"].astype(np.float64),
            weights=arrays["weights"].astype(np.float64),
        )


@dataclass(frozen=True, eq=False)
class _Steps:
    """The steps of a rollout from one decision to the next, as the models are given them.

    Attributes:
        score: the name of the score.
        inputs: what the models are given.
        targets: (T,), the places of predicted quantities.
        are_means: (T,), whether their mean is predicted, or else their state.
    """

    score: str
    inputs: Inputs
    targets: NDArray[np.int64]
    are_means: NDArray[np.bool_]

    def seen(self, decision: Decision) -> _Seen:
        """Return what is to be remembered of a decision."""
        joints = self._joints(decision)
        # Here, so that a rollout's first decision is rejected already.
        self._sent(joints)
        return self.inputs.seen(decision, joints)

    def step(self, before: _Seen | None, decision: Decision) -> tuple[Array, Array] | None:
        """Return x and the changes of the predicted quantities; None where one is not known."""
        if before is None:
            return None
        return decision.once((self, before), lambda: self._step(before, decision))

    def _step(self, before: _Seen, decision: Decision) -> tuple[Array, Array] | None:
        joints = self._joints(decision)
        reached = self._reached(joints)
        x = self.inputs.after(before, decision, self._sent(joints))
        if x is None or not _are_known(reached):
            return None
        return x, reached - before.states[self.targets]

    def of(self, rollout: Rollout) -> Iterable[tuple[Array, Array] | None]:
        """Yield the step to every decision of a rollout.

        Raises:
            InvalidDecisionError: the joints of a decision are unknown, or are others.
        """
        before = None
        try:
            for decision in rollout.decisions():
                yield self.step(before, decision)
                before = self.seen(decision)
        except InvalidDecisionError as error:
            raise InvalidDecisionError(f"{rollout.name}: {error}") from None

    def _reached(self, joints: JointMotion) -> Array:
        """Return the predicted quantities as they came, (T,)."""
        means = joints.means[self.targets]
        if self._are_all_means:
            return means
        return np.where(self.are_means, means, joints.states[self.targets])

    @cached_property
    def _are_all_means(self) -> bool:
        return bool(self.are_means.all())

    def _joints(self, decision: Decision) -> JointMotion:
        if decision.joints is None:
            raise InvalidDecisionError(
                f"what the joints did is not known, which the score {self.score} needs: publish "
                "and record joint states as in calibration, or calibrate a rule without it"
            )
        try:
            return decision.joints.select(self.inputs.quantities)
        except JointMotionError as error:
            raise InvalidDecisionError(f"the score {self.score}: {error}") from None

    def _sent(self, joints: JointMotion) -> Array | None:
        """Return the mean of the commands as sent; None where executed actions stand for them."""
        if not self.inputs.commands:
            return None
        try:
            return joints.select_commands(self.inputs.commands)
        except JointMotionError as error:
            raise InvalidDecisionError(f"the score {self.score}: {error}") from None


def _are_known(values: Array) -> bool:
    """Return whether all values are finite, in half the time of `np.isfinite(values).all()`."""
    return bool(np.count_nonzero(np.isfinite(values)) == values.size)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A fitted model of Q quantities.

    Attributes:
        regression: W, (X, Q).
        residuals: those of leaving each rollout out, (N, Q).
        sizes: their sizes, (Q,).
        determination: R², (Q,).
    """

    regression: Array
    residuals: Array
    sizes: Array
    determination: Array


def _is_predicted(score: type[JointResidual], quantity: str) -> bool:
    return not is_of_kind(quantity, "velocity") and score.counts(quantity)


def _common_joints(rollouts: Sequence[Rollout], score: str) -> list[JointMotion]:
    """Return what the joints did in every rollout, the same quantities in the same order."""
    motions: list[JointMotion] = []
    for rollout in rollouts:
        if rollout.joints is None:
            raise ScoreUndefinedError(
                f"{score}: what the joints did in {rollout.name} is not known: record joint "
                "states, or leave this score out of the rule"
            )
        if motions and set(rollout.joints.names) != set(motions[0].names):
            raise ScoreUndefinedError(
                f"{score}: {_difference(rollouts[0], rollout)}: record the same of every rollout, "
                "or leave this score out of the rule"
            )
        motions.append(rollout.joints.select(motions[0].names) if motions else rollout.joints)
    return motions


def _common_commands(
    rollouts: Sequence[Rollout], motions: Sequence[JointMotion], score: str
) -> tuple[str, ...]:
    """Return the values of commands as sent that all rollouts have; none if none has any."""
    names = motions[0].command_names
    for rollout, motion in zip(rollouts, motions, strict=True):
        if set(motion.command_names) != set(names):
            raise ScoreUndefinedError(
                f"{score}: the commands as sent in {rollouts[0].name} are {list_names(names)}, "
                f"and in {rollout.name} {list_names(motion.command_names)}: record the same of "
                "every rollout, or of none (without --commands-topic), or leave this score out of "
                "the rule"
            )
    return names


def _difference(one: Rollout, other: Rollout) -> str:
    """Return which quantities of joints only one of two rollouts gives, as text."""
    named = [(each.name, each.joints.names) for each in (one, other) if each.joints is not None]
    only = []
    for (name, names), (_, others) in zip(named, named[::-1], strict=True):
        if own := [quantity for quantity in names if quantity not in others]:
            only.append(f"only {name} gives {list_names(own)} of its joints")
    return "; ".join(only)


def _inputs(
    score: str,
    rollouts: Sequence[Rollout],
    motions: Sequence[JointMotion],
    executed: ExecutedActions,
) -> Inputs:
    """Return what the models are given, brought to the scale of these rollouts."""
    states = np.concatenate([motion.states for motion in motions])
    sent = _common_commands(rollouts, motions, score)
    if sent:
        commands = np.concatenate([motion.select_commands(sent) for motion in motions])
    else:
        # A mean over actions varies no more than they do.
        commands = np.concatenate([rollout.chunks[:, 0].mean(axis=1) for rollout in rollouts])
    moved = np.concatenate([states, commands], axis=1)
    is_known = np.isfinite(moved).all(axis=1)
    if not is_known.any():
        raise ScoreUndefinedError(
            f"{score}: at no decision of the rollouts all of {', '.join(motions[0].names)} are "
            "known: record them more often, or leave this score out of the rule"
        )
    motion = Standardisation.fit(
        moved[is_known],
        f"{score}: the states of joints and the commands",
    )
    embedding = None
    if rollouts[0].embeddings.shape[1]:
        embedding = PrincipalFeatures.fit(
            np.concatenate([rollout.embeddings for rollout in rollouts]),
            f"{score}: the embeddings",
            COMPONENTS,
        )
    return Inputs(motions[0].names, sent, executed, motion, embedding)


def _ridge(known: Sequence[Sequence[tuple[Array, Array]]], change: Standardisation) -> _Fitted:
    """Fit W to the steps of every rollout, with the residuals of each when it is left out."""
    inputs = [np.array([x for x, _ in of_rollout]) for of_rollout in known]
    wanted = [change(np.array([y for _, y in of_rollout])) for of_rollout in known]
    regression, residuals = ridge_leaving_out(inputs, wanted, RIDGE)
    mean_square = np.mean(residuals**2, axis=0)
    variance = np.maximum(np.var(np.concatenate(wanted), axis=0), MIN_RESIDUAL**2)
    sizes = np.sqrt(mean_square) + MIN_RESIDUAL
    return _Fitted(regression, residuals, sizes, 1 - mean_square / variance)


def _weights(fitted: _Fitted) -> Array:
    """Return w, (Q,); 0 where the rollouts of a fold's model let it predict nothing."""
    determined = np.maximum(fitted.determination, 0.0)
    scaled = fitted.residuals / np.sqrt(np.mean(fitted.residuals**2, axis=0) + MIN_RESIDUAL**2)
    alike = np.abs(scaled.T @ scaled) / len(scaled)
    np.fill_diagonal(alike, 1.0)
    shared = determined / alike.sum(axis=0)
    return np.asarray(shared / (shared.sum() or 1.0))
