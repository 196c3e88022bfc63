# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The audit: what is wrong with rollouts, before anything is calibrated on them.

Every rollout is inspected by itself, and compared with the others: by its state trajectory and by
the default rule's scores, each fitted without it. Actions alone do not show a wrong
scene, and states alone do not show a policy that dithers, so both are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from failure_monitor.calibration.cross_fitting import Recipe, cross_fit
from failure_monitor.calibration.data_quality import DataQuality
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.executors.executor import Executor
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.thresholds.conformal import Scale

AuditVerdict = Literal["keep", "look", "drop"]

TRAJECTORY_SCORES = ("phase_knn", "one_step")
"""Scores that compare state trajectories: where they go, and by which steps."""

WINDOW = 3
MAX_FOLDS = 5
MIN_ROLLOUTS = 5
"""Smallest number of rollouts that are compared with one another."""

LONG_GAP = 3.0
"""Usual times between decisions above which a gap is flagged."""
FENCE = 3.0
"""Interquartile ranges above the third quartile: Tukey's outer fence."""
MAX_LOST = 0.05
"""Share of lost messages above which a bag is flagged."""
OUT_OF_RANGE = 0.5
"""Share of the others' range by which measured positions must lie outside to be flagged."""


@dataclass(frozen=True)
class ReceptionQuality:
    """How the messages of a rollout in a bag were received.

    Attributes:
        delay_spread: seconds by which the time from stamp to reception varies.
        lost: how many messages had no partner of their stamp, or a stamp that was used before.
    """

    delay_spread: float
    lost: int


@dataclass(frozen=True)
class RolloutAudit:
    """What the audit found about one rollout; None where it is unknown.

    Attributes:
        name: of the rollout.
        source: where it came from.
        sha256: of what it was read from.
        decisions: how many it has.
        seconds: from the first to the last.
        rate: the usual number of decisions a second.
        longest_gap: the longest time between two decisions, in seconds.
        repeated: decisions with the very embedding of the one before.
        not_finite: decisions with NaN or infinite values.
        delay_spread: seconds by which bag time and header stamps drift apart, for bags.
        lost: messages that were of no use, for bags.
        trajectory_p: the share of rollouts, itself included, whose state trajectory is at least
            as unlike the others': a conformal p-value.
        scores_p: the same by the default rule's scores.
        verdict: whether to keep it, inspect it (look), or drop it.
        reasons: to look at it or to drop it.
    """

    name: str
    source: str
    sha256: str
    decisions: int
    seconds: float
    rate: float | None
    longest_gap: float | None
    repeated: int
    not_finite: int
    delay_spread: float | None
    lost: int | None
    trajectory_p: float | None
    scores_p: float | None
    verdict: AuditVerdict
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What the audit found about a set of rollouts.

    Attributes:
        rollouts: of each.
        quality: of those that are not to be dropped, together.
        remarks: on what could not be compared.
    """

    rollouts: tuple[RolloutAudit, ...]
    quality: DataQuality
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Unlike:
    """How unlike the others every rollout is.

    Attributes:
        p: (n,), the conformal p-values.
        outlying: bool (n,), whether it lies outside of Tukey's outer fence.
    """

    p: NDArray[np.float64]
    outlying: NDArray[np.bool_]

    @classmethod
    def of(cls, maxima: NDArray[np.float64]) -> Unlike:
        """Compare the largest number of each rollout, (n,); larger is more unlike."""
        p = (maxima >= maxima[:, np.newaxis]).mean(axis=1)
        low, high = np.quantile(maxima, [0.25, 0.75])
        return cls(p, maxima > high + FENCE * (high - low))


def audit(
    rollouts: Sequence[Rollout],
    formats: Sequence[PolicyFormat],
    *,
    descriptions: Sequence[PolicyDescription | None] = (),
    receptions: Mapping[str, ReceptionQuality] | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> Audit:
    """Audit rollouts that are meant to be successful ones of one policy and task.

    Args:
        rollouts: the rollouts.
        formats: of each.
        descriptions: what the policy of each stated about itself; none if unknown.
        receptions: of those in bags, by their SHA-256.
        seed: of the folds in which they are compared.
        executor: what compares them; None for this process.
        report: receives each step, a sentence.
    """
    faults = [_faults(rollout) for rollout in rollouts]
    others = _of_another_policy(formats, descriptions or [None] * len(rollouts))
    for fault, wrong in zip(faults, others, strict=True):
        fault.extend(wrong)
    sound = [index for index, fault in enumerate(faults) if not fault]
    compared = [rollouts[index] for index in sound]
    remarks: list[str] = []
    trajectory: Unlike | None = None
    scores: Unlike | None = None
    if len(compared) < MIN_ROLLOUTS:
        remarks.append(
            f"{len(compared)} sound rollouts are too few to compare with one another: "
            f"record {MIN_ROLLOUTS} or more"
        )
    else:
        policy = formats[sound[0]]
        report("comparing state trajectories")
        trajectory = _unlike(compared, policy, TRAJECTORY_SCORES, seed, executor, remarks)
        report("comparing scores")
        chosen = choose_rule(compared, policy)
        remarks += chosen.left_out
        scores = _unlike(compared, policy, chosen.scores, seed, executor, remarks)
    suspicions = _suspicions(compared, receptions or {}, trajectory, scores)
    place = {index: number for number, index in enumerate(sound)}

    def look_up(of: Unlike | None, index: int) -> float | None:
        return None if of is None or index not in place else float(of.p[place[index]])

    return Audit(
        rollouts=tuple(
            _describe(
                rollout,
                (receptions or {}).get(rollout.sha256),
                drop=faults[index],
                look=suspicions[place[index]] if index in place else [],
                trajectory_p=look_up(trajectory, index),
                scores_p=look_up(scores, index),
            )
            for index, rollout in enumerate(rollouts)
        ),
        quality=DataQuality.of(compared, seed),
        remarks=tuple(remarks),
    )


def receptions_of(sets: Sequence[RolloutSet]) -> dict[str, ReceptionQuality]:
    """Return how the rollouts in bags were received, by their SHA-256."""
    return {
        sha256: ReceptionQuality(
            delay_spread=float(np.ptp(reception.delays)),
            lost=reception.unpaired + reception.repeated,
        )
        for each in sets
        for sha256, reception in each.receptions.items()
    }


def _faults(rollout: Rollout) -> list[str]:
    """Return why a rollout cannot calibrate, whatever the others are."""
    faults = []
    if rollout.success is False:
        faults.append("it failed")
    if rollout.has_intervention:
        faults.append("a human intervened")
    count = int(_not_finite(rollout).sum())
    if count:
        first = int(np.flatnonzero(_not_finite(rollout))[0])
        faults.append(f"{count} decisions have NaN or infinite values, the first is {first}")
    return faults


def _of_another_policy(
    formats: Sequence[PolicyFormat], descriptions: Sequence[PolicyDescription | None]
) -> list[list[str]]:
    """Return how the policy of each rollout differs from that of most."""
    usual = Counter(formats).most_common(1)[0][0]
    stated = [description for description in descriptions if description is not None]
    usually_stated = Counter(stated).most_common(1)[0][0] if stated else PolicyDescription()
    faults = []
    for own, description in zip(formats, descriptions, strict=True):
        differences = [
            f"{name.replace('_', ' ')} {vars(own)[name]}, most have {vars(usual)[name]}"
            for name in vars(own)
            # Periods that were rounded are alike, which descriptions know.
            if name != "control_period" and vars(own)[name] != vars(usual)[name]
        ]
        if not differences and description is not None:
            difference = description.differences_text(usually_stated)
            differences = [f"{difference} of most"] if difference else []
        faults.append([f"another policy: {'; '.join(differences)}"] if differences else [])
    return faults


def _unlike(
    rollouts: Sequence[Rollout],
    policy: PolicyFormat,
    scores: tuple[str, ...],
    seed: int,
    executor: Executor | None,
    remarks: list[str],
) -> Unlike | None:
    recipe = Recipe(policy, scores, WINDOW, seed)
    folds = min(MAX_FOLDS, len(rollouts))
    try:
        held_out = cross_fit(rollouts, recipe, folds=folds, executor=executor)
        return Unlike.of(_maxima(held_out.series))
    except FailureMonitorError as error:
        remarks.append(f"not compared by {', '.join(scores)}: {error}")
        return None


def _maxima(series: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the largest mean score of each rollout, (n,), on a scale robust to a few bad ones."""
    all_scores = np.concatenate(series)
    low, centre, high = np.nanquantile(all_scores, [0.25, 0.5, 0.75], axis=0)
    scale = Scale(centre, np.maximum(high - low, 1e-9))
    # A decision at which no score is defined yet is no part of the maximum.
    means = [np.nanmean(each[~np.isnan(each).all(axis=1)], axis=1) for each in map(scale, series)]
    return np.array([mean.max(initial=-np.inf) for mean in means])


def _suspicions(
    rollouts: Sequence[Rollout],
    receptions: Mapping[str, ReceptionQuality],
    trajectory: Unlike | None,
    scores: Unlike | None,
) -> list[list[str]]:
    """Return why each sound rollout should be inspected."""
    suspicions = [_own_suspicions(rollout, receptions.get(rollout.sha256)) for rollout in rollouts]
    for own, far in zip(suspicions, _out_of_range(rollouts), strict=True):
        own.extend(far)
    for what, unlike in (("state trajectory", trajectory), ("scores", scores)):
        if unlike is not None:
            for index in np.flatnonzero(unlike.outlying):
                suspicions[index].append(
                    f"by its {what} it is unlike all others (p {unlike.p[index]:.3f})"
                )
    return suspicions


def _own_suspicions(rollout: Rollout, reception: ReceptionQuality | None) -> list[str]:
    suspicions = []
    gaps = np.diff(rollout.stamps)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    if len(gaps) and gaps.max() > LONG_GAP * usual:
        suspicions.append(
            f"{gaps.max():.2f} s without a decision after decision {int(gaps.argmax())}, usually "
            f"{usual:.2f} s"
        )
    repeated = _repeated(rollout)
    if repeated.any():
        suspicions.append(
            f"{int(repeated.sum())} decisions have the very embedding of the one before, the "
            f"first is {int(np.flatnonzero(repeated)[0]) + 1}: did the camera freeze?"
        )
    if reception is not None and usual and reception.delay_spread > usual:
        suspicions.append(
            f"bag time and header stamps drift apart by {reception.delay_spread:.2f} s: are the "
            "clocks of robot and recorder in step?"
        )
    if reception is not None and reception.lost > MAX_LOST * 2 * len(rollout):
        suspicions.append(f"{reception.lost} messages of its bag had no partner of the same stamp")
    return suspicions


def _out_of_range(rollouts: Sequence[Rollout]) -> list[list[str]]:
    """Return for each rollout which measured positions are far outside those of the others."""
    measured = [rollout.positions for rollout in rollouts]
    found: list[list[str]] = [[] for _ in rollouts]
    if len(rollouts) < MIN_ROLLOUTS:
        return found
    for index, own in enumerate(measured):
        others = [other for other in measured if other is not None and other is not own]
        if own is None or not others:
            continue
        low = np.min([other.min(axis=0) for other in others], axis=0)
        high = np.max([other.max(axis=0) for other in others], axis=0)
        margin = OUT_OF_RANGE * (high - low)
        outside = (own < low - margin) | (own > high + margin)
        for column in np.flatnonzero(outside.any(axis=0)):
            found[index].append(
                f"position {column} is far outside of {low[column]:.3g} to {high[column]:.3g}, "
                f"where the others stay, first at decision {int(outside[:, column].argmax())}"
            )
    return found


def _repeated(rollout: Rollout) -> NDArray[np.bool_]:
    """Return which decisions after the first repeat the embedding before, (T − 1,).

    Without embeddings nothing is known of it: a policy may well plan the same twice.
    """
    same = rollout.embeddings[1:] == rollout.embeddings[:-1]
    return np.asarray(same.all(axis=1) & bool(rollout.embeddings.shape[1]))


def _not_finite(rollout: Rollout) -> NDArray[np.bool_]:
    finite = np.isfinite(rollout.embeddings).all(axis=1)
    finite &= np.isfinite(rollout.chunks).all(axis=(1, 2, 3))
    if rollout.positions is not None:
        finite &= np.isfinite(rollout.positions).all(axis=1)
    return np.asarray(~finite)


def _describe(
    rollout: Rollout,
    reception: ReceptionQuality | None,
    *,
    drop: Sequence[str],
    look: Sequence[str],
    trajectory_p: float | None,
    scores_p: float | None,
) -> RolloutAudit:
    timing = rollout.timing
    return RolloutAudit(
        name=rollout.name,
        source=rollout.source,
        sha256=rollout.sha256,
        decisions=len(rollout),
        seconds=timing.seconds,
        rate=timing.rate,
        longest_gap=timing.longest_gap,
        repeated=int(_repeated(rollout).sum()),
        not_finite=int(_not_finite(rollout).sum()),
        delay_spread=None if reception is None else reception.delay_spread,
        lost=None if reception is None else reception.lost,
        trajectory_p=trajectory_p,
        scores_p=scores_p,
        verdict="drop" if drop else "look" if look else "keep",
        reasons=(*drop, *look),
    )
