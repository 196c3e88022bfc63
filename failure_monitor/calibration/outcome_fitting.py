# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome check from the ends of the rollouts of calibration, cross-fitted like the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.outcome.check import OutcomeCheck, TrueEnds
from failure_monitor.outcome.end_model import MIN_ENDS, EndModel
from failure_monitor.outcome.end_parts import LAST, PARTS, EndFormat, rows
from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.thresholds.conformal import (
    CalibrationError,
    Rule,
    Scale,
    combine,
    rank,
)
from failure_monitor.thresholds.paired_threshold import paired_threshold, weights_of_groups

RULE: Rule = "any"
"""How the parts of an end combine: one that is unlike is enough to doubt it."""

DOUBTED = "a share of doubted true successes"
"""What is promised by the outcome check's alpha."""

ALIKE = 1e-9
"""Distance, in deviations, below which an end is the mean of others but for rounding."""


@dataclass(frozen=True)
class EndSettings:
    """How ends are compared.

    Attributes:
        alpha: the chance that a true success is doubted.
        parts: the names of the parts.
        joints: the names of the quantities of joints.
        left_out: why other parts are not compared.
        future: the shares of groups among successful rollouts to come, if they are weighed.
        across_tasks: whether ends are compared across tasks.
    """

    alpha: float
    parts: tuple[str, ...]
    joints: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    future: Mapping[str, float] = field(default_factory=dict)
    across_tasks: bool = False


def end_settings(
    rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    scores: Sequence[FoldedScore],
    alpha: float,
) -> EndSettings:
    """Return how ends are compared: by all that the policy and the robot give beside the rule.

    Measured positions and joints are compared where a score of the rule needs them, for the
    monitor does not receive them otherwise.
    """
    left_out: dict[str, str] = {}
    if not policy.embedding_size:
        left_out["embedding"] = "the policy gives none"
    if not any(score.needs_positions for score in scores):
        left_out["positions"] = "no score of the rule needs them, so the monitor receives none"
    elif any(rollout.positions is None for rollout in rollouts):
        left_out["positions"] = "some rollouts have none"
    quantities = dict.fromkeys(name for score in scores for name in score.joint_quantities)
    joints = tuple(
        name
        for name in quantities
        if all(
            rollout.joints is not None
            and name in rollout.joints.names
            and np.isfinite(rollout.joints.select([name]).states[-1]).all()
            for rollout in rollouts
        )
    )
    if not quantities:
        left_out["joints"] = "no score of the rule needs them, so the monitor receives none"
    elif not joints:
        left_out["joints"] = "some rollouts end without known states"
    parts = tuple(part for part in PARTS if part not in left_out)
    return EndSettings(alpha, parts, joints, left_out)


def fit_outcome_check(
    rollouts: Sequence[Rollout],
    folds: NDArray[np.int64],
    policy: PolicyFormat,
    settings: EndSettings,
    fit_rollouts: Sequence[Rollout] = (),
    fit_folds: NDArray[np.int64] | None = None,
) -> OutcomeCheck:
    """Calibrate the outcome check.

    Args:
        rollouts: successful ones.
        folds: (n,), the fold of each.
        policy: the format of their decisions.
        settings: how ends are compared.
        fit_rollouts: successful ones to learn from, where these are others.
        fit_folds: the folds of these.
    """
    format_ = EndFormat(policy, settings.joints)
    known: dict[str, TrueEnds] = {}
    unknown: dict[str, str] = {}
    names = [""] if settings.across_tasks else sorted({rollout.task for rollout in rollouts})
    for name in names:
        own = [n for n, r in enumerate(rollouts) if settings.across_tasks or r.task == name]
        others = [n for n, r in enumerate(fit_rollouts) if settings.across_tasks or r.task == name]
        try:
            known[name] = _true_ends(
                [rollouts[place] for place in own],
                folds[own],
                format_,
                settings,
                [fit_rollouts[place] for place in others] if fit_rollouts else None,
                None if fit_folds is None else fit_folds[others],
            )
        except (CalibrationError, ValueError) as error:
            unknown[name] = f"no end of the calibration rollouts can be compared with: {error}"
    return OutcomeCheck(format_, settings.alpha, known, settings.parts, unknown, settings.left_out)


def _true_ends(
    rollouts: Sequence[Rollout],
    folds: NDArray[np.int64],
    format_: EndFormat,
    settings: EndSettings,
    teachers: Sequence[Rollout] | None,
    teachers_folds: NDArray[np.int64] | None,
) -> TrueEnds:
    """Return what is known of the ends of one task.

    Raises:
        CalibrationError: the rollouts do not support it.
        EndError: an end lacks a part.
    """
    if settings.future:
        groups = [rollout.group for rollout in rollouts]
        weights_of_groups(groups, settings.future, settings.alpha, DOUBTED)
    elif not settings.across_tasks:
        rank(len(rollouts), settings.alpha, DOUBTED)
    values = {part: rows(part, format_, _ends(rollouts)) for part in settings.parts}
    if teachers is not None and not teachers:
        raise CalibrationError(
            "none of the rollouts to fit on is of this task: give some of it, or none to fit on"
        )
    if teachers is None:
        models = {part: _of_folds(each, folds) for part, each in values.items()}
        distances = _held_out(models, values, folds)
        scales = _scales(distances, folds)
    else:
        assert teachers_folds is not None
        taught = {part: rows(part, format_, _ends(teachers)) for part in settings.parts}
        of_folds = {part: _of_folds(each, teachers_folds) for part, each in taught.items()}
        scales = [Scale.fit([_held_out(of_folds, taught, teachers_folds)])]
        models = {part: EndModel.fit(each) for part, each in taught.items()}
        folds = np.zeros(len(rollouts), dtype=np.int64)
        distances = _held_out(models, values, folds)
    if np.median(distances.max(axis=1)) < ALIKE:
        raise CalibrationError(
            "most of these ends are exactly alike, so that nothing shows by how much true ends "
            "differ: check that what was recorded is not one rollout again and again"
        )
    maxima = np.array(
        [
            float(combine(RULE, scales[fold](row)))
            for row, fold in zip(distances, folds, strict=True)
        ]
    )
    threshold = paired_threshold(
        RULE,
        scales,
        maxima,
        folds,
        settings.alpha,
        tasks=[rollout.task for rollout in rollouts] if settings.across_tasks else (),
        groups=[rollout.group for rollout in rollouts],
        future=settings.future,
    )
    return TrueEnds(
        models,
        {part: each.min(axis=0) for part, each in values.items()},
        {part: each.max(axis=0) for part, each in values.items()},
        threshold,
    )


def _ends(rollouts: Sequence[Rollout]) -> list[RolloutEnd]:
    ends = [end for rollout in rollouts if (end := RolloutEnd.of_rollout(rollout)) is not None]
    short = [rollout.name for rollout in rollouts if len(rollout) < LAST]
    if short:
        raise CalibrationError(
            f"{len(short)} successful rollouts have fewer than {LAST} decisions ({short[0]}): "
            "leave these out"
        )
    return ends


def _of_folds(values: NDArray[np.float64], folds: NDArray[np.int64]) -> EndModel:
    """Return the models of all folds, each of the ends (n, V) outside it."""
    models = []
    for fold in range(int(folds.max()) + 1):
        teachers = values[folds != fold]
        if len(teachers) < MIN_ENDS:
            raise CalibrationError(
                f"{MIN_ENDS} ends or more are needed to learn from, and there "
                f"{'is 1' if len(teachers) == 1 else f'are {len(teachers)}'}: record more "
                "successful rollouts of this task"
            )
        models.append(EndModel.fit(teachers))
    return EndModel.of_folds(models)


def _held_out(
    models: Mapping[str, EndModel],
    values: Mapping[str, NDArray[np.float64]],
    folds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the distance of every end by the model of its fold, (n, K)."""
    return np.stack(
        [
            np.array([model(row)[fold] for row, fold in zip(values[part], folds, strict=True)])
            for part, model in models.items()
        ],
        axis=-1,
    )


def _scales(distances: NDArray[np.float64], folds: NDArray[np.int64]) -> list[Scale]:
    """Return the scale of every fold, of the distances in the others."""
    return [Scale.fit([distances[folds != fold]]) for fold in range(int(folds.max()) + 1)]
