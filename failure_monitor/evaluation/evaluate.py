# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation: a bundle and rollouts of known outcome in, figures out.

Beside the rule stands a control: a stop-watch that alarms when a rollout outlasts the calibration
rollouts, calibrated at the same alpha. A rule is worth what it detects beyond it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.evaluation.dial import Dial
from failure_monitor.evaluation.dial_text import dial_json
from failure_monitor.evaluation.judge_figures import JudgeFigures, judge_figures, judge_table
from failure_monitor.evaluation.metrics import Metrics, RolloutResult, measure
from failure_monitor.evaluation.outcome_figures import (
    OutcomeFigures,
    outcome_figures,
    outcome_table,
)
from failure_monitor.executors.executor import Executor, SerialExecutor
from failure_monitor.joint_motion import (
    MAX_UNKNOWN_SHARE,
    seldom_stated,
    share_without_command,
)
from failure_monitor.judges.judge import CalibratedJudge
from failure_monitor.listed_names import list_names
from failure_monitor.outcome.check import OutcomeCheck
from failure_monitor.outcome.known_outcomes import KnownOutcomes
from failure_monitor.sources.judged_rollouts import judged_rollout
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.text_table import TextTable
from failure_monitor.thresholds.conformal import finite_sample_quantile

logger = logging.getLogger(__name__)

UNDEFINED = "–"

GroupKey = Literal["group", "task"]
GROUP_KEYS: tuple[GroupKey, ...] = get_args(GroupKey)
"""What rollouts carry that figures can be broken down by."""


class EvaluationError(FailureMonitorError):
    """The rollouts cannot show how well a bundle does."""


class CalibrationLength(Protocol):
    """What an evaluation needs to know of a calibration rollout."""

    @property
    def decisions(self) -> int:
        """Its length."""

    @property
    def sha256(self) -> str:
        """Of what it was read from."""


class CalibratedRule(Protocol):
    """What an evaluation needs of a `Bundle`."""

    @property
    def policy(self) -> PolicyFormat:
        """The policy that it is for."""

    @property
    def alpha(self) -> float:
        """The promised false-alarm rate."""

    @property
    def rule(self) -> str:
        """How its scores combine."""

    @property
    def calibration(self) -> Sequence[CalibrationLength]:
        """The rollouts that set its thresholds."""

    @property
    def fit(self) -> Sequence[CalibrationLength]:
        """The rollouts that its scores were fitted on, where these are others."""

    @property
    def joint_quantities(self) -> Sequence[str]:
        """What its scores need of joints."""

    @property
    def command_names(self) -> Sequence[str]:
        """What its scores need of the commands as sent."""

    @property
    def outcome_check(self) -> OutcomeCheck | None:
        """The check of how rollouts end; None if it has none."""

    def calibration_of(self, rollout: Rollout) -> Sequence[CalibrationLength]:
        """Return the rollouts that set the threshold for one like this: those of its task."""

    def compare(self, rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """Return the combined normalised score at every decision, (T,), and what lies below.

        A score above 1 is an alarm. The latter is how many calibration rollouts lie below the
        decision, (T,); None if that is unknown.
        """


@dataclass(frozen=True)
class Breakdown:
    """The figures over all rollouts, and over each group."""

    overall: Metrics
    by_group: Mapping[str, Metrics]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a rule does on rollouts of known outcome.

    Attributes:
        alpha: the promised false-alarm rate.
        rule: how the scores combine.
        n_calibration: how many rollouts set the threshold.
        early_decisions: by task, the median length of the calibration rollouts that a rollout of
            the task is compared with; decisions of a smaller number are early.
        group_by: what its figures are broken down by.
        results: one per evaluated rollout.
        elapsed: the results of the control, elapsed time.
        metrics: the rule's figures.
        control: those of elapsed time.
        left_out: how many rollouts were left out, being set apart for calibration.
        seen: how many of the evaluated rollouts the bundle was calibrated or its scores fitted on.
        dial: the rule at other alphas; None if the bundle does not tell.
        outcome: what the outcome check finds; None if the bundle has none.
        known: by whom the outcomes are known.
        judge: what an outside judge makes of them; None if none was asked for.
    """

    alpha: float
    rule: str
    n_calibration: int
    early_decisions: Mapping[str, float]
    group_by: GroupKey
    results: tuple[RolloutResult, ...]
    elapsed: tuple[RolloutResult, ...]
    metrics: Breakdown
    control: Breakdown
    left_out: int
    seen: int
    dial: Dial | None = None
    outcome: OutcomeFigures | None = None
    known: KnownOutcomes | None = None
    judge: JudgeFigures | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's own types; what is not defined is null."""
        return {
            "alpha": self.alpha,
            "rule": self.rule,
            "n_calibration": self.n_calibration,
            "group_by": self.group_by,
            "rollouts": [
                {
                    "id": result.name,
                    "success": result.success,
                    "group": result.group,
                    "task": result.task,
                    "alarm_decision": result.alarm_decision,
                    "intervention": result.intervention,
                    "decisions": result.decisions,
                    "max_normalised_score": result.max_level,
                    "early_max_normalised_score": result.early_max_level,
                }
                for result in self.results
            ],
            "metrics": asdict(self.metrics),
            "elapsed_time_control": asdict(self.control),
            "dial": None if self.dial is None else dial_json(self.dial),
            "outcomes_known": None if self.known is None else self.known.to_json(),
            "outcome_check": None if self.outcome is None else self.outcome.to_json(),
            "judge": None if self.judge is None else self.judge.to_json(),
        }


def evaluate(
    bundle: CalibratedRule,
    rollout_set: RolloutSet,
    *,
    group_by: GroupKey = "group",
    executor: Executor | None = None,
    judge: CalibratedJudge | None = None,
) -> Evaluation:
    """Score rollouts of known outcome, and measure how well the alarms separate them.

    Rollouts that their source sets apart for calibration are left out.

    Args:
        bundle: what is measured.
        rollout_set: on which rollouts.
        group_by: what the figures are broken down by.
        executor: what scores the rollouts; None for this process.
        judge: an outside judge, whose numbers were read with the rollouts.

    Raises:
        EvaluationError: the rollouts are of another policy, have no outcome, or none is left.
        SourceError: the judge has a number of none of them.
        InvalidDecisionError: a decision is not of the bundle's format.
    """
    rollouts = evaluated(rollout_set)
    left_out = len(rollout_set.rollouts) - len(rollouts)
    _reject(bundle, rollout_set, rollouts)
    judged = None
    if judge is not None:
        judged = judge_figures(judge, [judged_rollout(each, judge.name) for each in rollouts])
    seen = _warn_of_calibration_rollouts(bundle, rollouts)
    early_decisions = {rollout.task: _median_length(bundle, rollout) for rollout in rollouts}

    def result(
        rollout: Rollout, levels: NDArray[np.float64], below: NDArray[np.int64] | None = None
    ) -> RolloutResult:
        return RolloutResult(
            name=rollout.name,
            success=bool(rollout.success),
            group=rollout.group,
            task=rollout.task,
            levels=levels,
            stamps=rollout.stamps,
            early_decisions=early_decisions[rollout.task],
            below=below,
            intervention=None if rollout.interventions is None else rollout.has_intervention,
            calibration_rollouts=len(bundle.calibration_of(rollout)),
        )

    compared = (executor or SerialExecutor()).map(
        _compared, bundle, rollouts, sizes=[len(rollout) for rollout in rollouts]
    )
    results = tuple(
        result(rollout, *each) for rollout, each in zip(rollouts, compared, strict=True)
    )
    _warn_of_what_is_seldom(bundle, rollouts)
    elapsed = tuple(result(rollout, _elapsed(bundle, rollout)) for rollout in rollouts)
    return Evaluation(
        alpha=bundle.alpha,
        rule=bundle.rule,
        n_calibration=len(bundle.calibration),
        early_decisions=early_decisions,
        group_by=group_by,
        results=results,
        elapsed=elapsed,
        metrics=_break_down(results, group_by),
        control=_break_down(elapsed, group_by),
        left_out=left_out,
        seen=seen,
        dial=Dial.of(results, bundle.alpha),
        outcome=outcome_figures(bundle.outcome_check, rollouts),
        known=KnownOutcomes.of(rollouts),
        judge=judged,
    )


def evaluated(rollout_set: RolloutSet) -> list[Rollout]:
    """Return the rollouts of a set that are not set apart for calibration.

    Of those in which a human intervened, the policy's part: a failure that ends at its onset.
    """
    return [each.policys_part for each in rollout_set.rollouts if not each.calibration]


def _reject(bundle: CalibratedRule, rollout_set: RolloutSet, rollouts: Sequence[Rollout]) -> None:
    if rollout_set.policy.action_names != bundle.policy.action_names:
        raise EvaluationError(
            f"the rollouts' actions are {list(rollout_set.policy.action_names)}, the bundle's "
            f"{list(bundle.policy.action_names)}: these are another policy's rollouts; calibrate "
            "on its own"
        )
    if rollout_set.policy.position_indices != bundle.policy.position_indices:
        raise EvaluationError(
            f"the rollouts' position names are {_position_names(rollout_set.policy)}, the "
            f"bundle's {_position_names(bundle.policy)}: these are another policy's rollouts; "
            "calibrate on its own"
        )
    if not rollouts:
        raise EvaluationError(
            f"nothing to evaluate: all {len(rollout_set.rollouts)} rollouts are set apart for "
            "calibration; add some that are not"
        )
    unlabelled = [rollout.name for rollout in rollouts if rollout.success is None]
    if unlabelled:
        raise EvaluationError(
            f"{len(unlabelled)} of the rollouts have no outcome ({list_names(unlabelled)}): "
            "record whether they succeeded, or leave them out"
        )
    for rollout in rollouts:
        rollout.check(bundle.policy)


def _position_names(policy: PolicyFormat) -> list[str]:
    return list(policy.position_names or policy.action_names)


def _warn_of_calibration_rollouts(bundle: CalibratedRule, rollouts: Sequence[Rollout]) -> int:
    known = {rollout.sha256 for rollout in (*bundle.calibration, *bundle.fit)} - {""}
    seen = [rollout.name for rollout in rollouts if rollout.sha256 in known]
    if seen:
        logger.warning(
            "%d of the %d rollouts made this bundle (%s): the figures flatter it; evaluate "
            "on other rollouts",
            len(seen),
            len(rollouts),
            list_names(seen),
        )
    return len(seen)


def _warn_of_what_is_seldom(bundle: CalibratedRule, rollouts: Sequence[Rollout]) -> None:
    """Warn of what the monitor would not go on without: here scores are undefined, no more."""
    motions = [rollout.joints for rollout in rollouts if rollout.joints is not None]
    without = share_without_command(motions, bundle.command_names) if motions else 0.0
    if without > MAX_UNKNOWN_SHARE:
        logger.warning(
            "before %.0f %% of the decisions no command was sent since the last one, or not all "
            "of it, so that scores of joints are undefined there; beside the robot that is STALE "
            "where commands may pass: the figures say little of such a robot",
            100 * without,
        )
    names = seldom_stated(motions, bundle.joint_quantities) if motions else ()
    if names:
        logger.warning(
            "of %s no value came between many decisions and those before, which beside the robot "
            "is STALE: the figures say little of such a robot",
            list_names(names),
        )


def _compared(
    bundle: CalibratedRule, rollout: Rollout
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    levels, below = bundle.compare(rollout)
    if not np.isfinite(levels).all():
        raise EvaluationError(
            f"{rollout.name}: the bundle's scores are not finite at decision "
            f"{np.flatnonzero(~np.isfinite(levels))[0]}: calibrate again"
        )
    return levels, below


def _lengths(bundle: CalibratedRule, rollout: Rollout) -> NDArray[np.float64]:
    return np.array([float(other.decisions) for other in bundle.calibration_of(rollout)])


def _median_length(bundle: CalibratedRule, rollout: Rollout) -> float:
    return float(np.median(_lengths(bundle, rollout)))


def _elapsed(bundle: CalibratedRule, rollout: Rollout) -> NDArray[np.float64]:
    """Return the results of the control: elapsed time, with a limit as the rule's."""
    limit = finite_sample_quantile(_lengths(bundle, rollout), bundle.alpha)
    return np.arange(1, len(rollout) + 1) / limit


def _break_down(results: Sequence[RolloutResult], group_by: GroupKey) -> Breakdown:
    longest = max(result.decisions for result in results)
    groups: dict[str, list[RolloutResult]] = {}
    for result in results:
        groups.setdefault(result.task if group_by == "task" else result.group, []).append(result)
    return Breakdown(
        overall=measure(results, longest=longest),
        by_group={group: measure(groups[group], longest=longest) for group in sorted(groups)},
    )


def text_tables(evaluation: Evaluation) -> tuple[TextTable, ...]:
    """Return the figures as tables: the early ones, those of whole rollouts, the alarms."""
    rows = _rows(evaluation)
    return (
        _table(_early_title(evaluation.early_decisions), rows, _early_cells),
        _table("Whole rollouts, where late alarms count too", rows, _whole_cells),
        _table("Alarms", rows, _alarm_cells, _caption(evaluation)),
        *_outcome_table(evaluation.outcome),
        *(() if evaluation.judge is None else (judge_table(evaluation.judge),)),
        *_intervention_table(rows),
    )


def _outcome_table(outcome: OutcomeFigures | None) -> tuple[TextTable, ...]:
    """Return the table of the outcome check; none where no rollout claims success."""
    return (outcome_table(outcome),) if outcome is not None and outcome.rollouts else ()


def _intervention_table(rows: Sequence[tuple[str, Metrics]]) -> tuple[TextTable, ...]:
    """Return the table of a human's interventions; none where none is known of."""
    if not rows[0][1].interventions:
        return ()
    return (
        _table(
            "Interventions: a failure each, which ends the rollout where a human took over",
            rows,
            _intervention_cells,
            "Lead time from the alarm to the last decision before the human. Nobody followed an "
            "alarm where no human intervened.",
        ),
    )


def control_by_group(evaluation: Evaluation) -> TextTable | None:
    """Return what elapsed time reaches early in each group; None where there is one group."""
    rows = _group_rows(evaluation.control, evaluation.group_by)
    title = f"Elapsed time (control), early, by {evaluation.group_by}"
    return _table(title, rows, _early_cells) if rows else None


def _early_title(early_decisions: Mapping[str, float]) -> str:
    decisions = sorted(set(early_decisions.values()))
    if len(decisions) == 1:
        return (
            f"Early: alarms before decision {decisions[0]:g}, the median length of the "
            "calibration rollouts"
        )
    each = ", ".join(f"{task} {early:g}" for task, early in sorted(early_decisions.items()))
    return f"Early: alarms before the median length of the task's calibration rollouts ({each})"


def _table(
    title: str,
    rows: Sequence[tuple[str, Metrics]],
    cells: Callable[[Metrics], Mapping[str, str]],
    caption: str = "",
) -> TextTable:
    return TextTable(
        title=title,
        columns=("rollouts", *cells(rows[0][1])),
        rows=tuple((name, *cells(metrics).values()) for name, metrics in rows),
        caption=caption,
    )


def _rows(evaluation: Evaluation) -> list[tuple[str, Metrics]]:
    return [
        ("all", evaluation.metrics.overall),
        *_group_rows(evaluation.metrics, evaluation.group_by),
        ("elapsed time (control)", evaluation.control.overall),
    ]


def _group_rows(breakdown: Breakdown, group_by: GroupKey) -> list[tuple[str, Metrics]]:
    """Return the figures of each group, where there are several."""
    if len(breakdown.by_group) < 2:
        return []
    return [(group or f"(no {group_by})", each) for group, each in breakdown.by_group.items()]


def _early_cells(metrics: Metrics) -> dict[str, str]:
    return {
        "success": str(metrics.n_success),
        "failure": str(metrics.n_failure),
        "bal. acc.": _cell(metrics.early_balanced_accuracy),
        "AUROC": _cell(metrics.early_auroc),
        "TPR": _cell(metrics.early_tpr),
        "TNR": _cell(metrics.early_tnr),
    }


def _whole_cells(metrics: Metrics) -> dict[str, str]:
    return {
        "bal. acc.": _cell(metrics.balanced_accuracy),
        "AUROC": _cell(metrics.auroc),
        "TPR": _cell(metrics.tpr),
        "TNR": _cell(metrics.tnr),
        "TWA": _cell(metrics.twa),
        "detection time": _cell(metrics.detection_time),
    }


def _alarm_cells(metrics: Metrics) -> dict[str, str]:
    low, high = metrics.false_alarm_interval or (None, None)
    return {
        "false-alarm rate, undisturbed": _cell(metrics.false_alarm_rate),
        "95 % interval": UNDEFINED if low is None else f"{_cell(low)}–{_cell(high)}",
        "lead time": _cell(metrics.lead_time_s, unit=" s"),
        "alarms per hour": _cell(metrics.alarms_per_hour, digits=0),
    }


def _intervention_cells(metrics: Metrics) -> dict[str, str]:
    return {
        "interventions": UNDEFINED
        if metrics.interventions is None
        else str(metrics.interventions),
        "foreseen": _cell(metrics.interventions_foreseen),
        "lead time": _cell(metrics.intervention_lead_time_s, unit=" s"),
        "alarms nobody followed": UNDEFINED
        if metrics.unfollowed_alarms is None
        else str(metrics.unfollowed_alarms),
    }


def _cell(value: float | None, digits: int = 2, unit: str = "") -> str:
    return UNDEFINED if value is None else f"{value:.{digits}f}{unit}"


def _caption(evaluation: Evaluation) -> str:
    parts = [
        f"rule '{evaluation.rule}', alpha {evaluation.alpha:g}, "
        f"{evaluation.n_calibration} calibration rollouts"
    ]
    if evaluation.left_out:
        parts.append(
            f"left out: {evaluation.left_out} rollouts that are set apart for calibration"
        )
    if evaluation.seen:
        parts.append(f"{evaluation.seen} of the rollouts made this bundle")
    if evaluation.known is not None:
        parts.append(evaluation.known.text)
    return "; ".join(parts)
