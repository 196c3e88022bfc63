# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""From a rule and rollouts to figures: what is counted, what is refused, what is written."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.atomic_file import write_json
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.cli.terminal_table import terminal_table
from failure_monitor.decision import InvalidDecisionError, PolicyFormat, Rollout
from failure_monitor.evaluation.evaluate import (
    EvaluationError,
    control_by_group,
    evaluate,
    text_tables,
)
from failure_monitor.joint_motion import JointMotion
from failure_monitor.sources.rollout_set import RolloutSet

FAILED_LENGTH = 30


@dataclass(frozen=True)
class CalibratedLength:
    decisions: int
    sha256: str


@dataclass(frozen=True)
class FirstFeatureRule:
    """A rule whose level is the embedding's first feature."""

    policy: PolicyFormat = POLICY
    alpha: float = 0.1
    rule: str = "mean"
    calibration: tuple[CalibratedLength, ...] = field(
        default=tuple(CalibratedLength(10 + index, f"calibration {index}") for index in range(10))
    )
    fit: tuple[CalibratedLength, ...] = (CalibratedLength(10, "fitting 0"),)
    outcome_check: None = None
    joint_quantities: tuple[str, ...] = ()
    command_names: tuple[str, ...] = ()

    def calibration_of(self, rollout: Rollout) -> tuple[CalibratedLength, ...]:
        return self.calibration

    def compare(self, rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        levels = rollout.embeddings[:, 0].astype(np.float64)
        return levels, np.where(levels > 1, 10, 0)


def rollout(
    seed: int, *, alarm: int | None, success: bool | None, decisions: int = 12, group: str = "id"
) -> Rollout:
    made = synthetic_rollout(seed, decisions=decisions, success=success)
    levels = np.full(decisions, 0.5)
    if alarm is not None:
        levels[alarm:] = 2.0
    embeddings = made.embeddings.copy()
    embeddings[:, 0] = levels
    return replace(made, embeddings=embeddings, group=group)


def labelled() -> tuple[Rollout, ...]:
    return (
        rollout(0, alarm=None, success=True),
        rollout(1, alarm=11, success=True),
        rollout(2, alarm=4, success=False, decisions=FAILED_LENGTH, group="light"),
        rollout(3, alarm=25, success=False, decisions=FAILED_LENGTH, group="light"),
        rollout(4, alarm=None, success=True, group="light"),
    )


def of(*rollouts: Rollout) -> RolloutSet:
    return RolloutSet(POLICY, rollouts)


def rendered(evaluation) -> list[str]:
    console = Console(width=120, record=True)
    texts = []
    for table in text_tables(evaluation):
        console.print(terminal_table(table))
        texts.append(console.export_text())
    return texts


def test_the_rule_is_measured_over_all_rollouts_and_per_group() -> None:
    metrics = evaluate(FirstFeatureRule(), of(*labelled())).metrics
    assert (metrics.overall.tpr, metrics.overall.tnr) == (1.0, pytest.approx(2 / 3))
    assert metrics.overall.early_tpr == 0.5
    assert metrics.overall.false_alarm_rate == 0.5
    assert list(metrics.by_group) == ["id", "light"]
    assert metrics.by_group["light"].tnr == 1.0
    assert metrics.by_group["light"].false_alarm_rate is None
    assert metrics.by_group["id"].tpr is None


def test_figures_can_be_broken_down_by_task() -> None:
    press, pull = (replace(rollout(n, alarm=None, success=True), task=f"task {n}") for n in (1, 2))
    evaluation = evaluate(FirstFeatureRule(), of(press, pull), group_by="task")
    assert list(evaluation.metrics.by_group) == ["task 1", "task 2"]
    # What counts as undisturbed is still told by the group.
    assert evaluation.metrics.overall.false_alarm_rate == 0.0
    assert "task 1" in rendered(evaluation)[0]


def test_the_control_is_told_for_each_group_where_there_are_several() -> None:
    table = control_by_group(evaluate(FirstFeatureRule(), of(*labelled())))
    assert [row[0] for row in table.rows] == ["id", "light"]
    assert control_by_group(evaluate(FirstFeatureRule(), of(labelled()[0]))) is None


def test_detection_times_of_groups_are_fractions_of_the_same_longest_rollout() -> None:
    short = rollout(9, alarm=6, success=False, decisions=15, group="short")
    evaluation = evaluate(FirstFeatureRule(), of(*labelled(), short))
    assert evaluation.metrics.by_group["short"].detection_time == 6 / FAILED_LENGTH


def test_decisions_are_early_before_the_median_calibration_length() -> None:
    assert evaluate(FirstFeatureRule(), of(*labelled())).early_decisions == {"": 14.5}


@dataclass(frozen=True)
class TwoTaskRule(FirstFeatureRule):
    """The same, calibrated on short rollouts of one task and on long ones of another."""

    def calibration_of(self, rollout: Rollout) -> tuple[CalibratedLength, ...]:
        return self.calibration[:9] if rollout.task == "short" else self.calibration[1:]


def test_early_is_told_task_by_task() -> None:
    late = rollout(1, alarm=14, success=False, decisions=FAILED_LENGTH)
    short, long = (replace(late, task=task) for task in ("short", "long"))
    evaluation = evaluate(TwoTaskRule(), of(short, long))
    assert evaluation.early_decisions == {"short": 14.0, "long": 15.0}
    assert [result.alarms_early for result in evaluation.results] == [False, True]
    assert "(long 15, short 14)" in rendered(evaluation)[0].replace("\n", " ")


def test_the_control_alarms_when_a_rollout_outlasts_the_calibration_quantile() -> None:
    # ⌈(10 + 1) · (1 − 0.1)⌉ = 10, and the tenth smallest length is 19.
    at, above = (rollout(n, alarm=None, success=True, decisions=n) for n in (19, 20))
    failed = rollout(1, alarm=None, success=False, decisions=FAILED_LENGTH)
    control = evaluate(FirstFeatureRule(), of(at, above, failed)).control.overall
    assert (control.tnr, control.tpr) == (0.5, 1.0)
    assert control.detection_time == 19 / FAILED_LENGTH
    assert control.auroc == 1.0
    assert (control.early_tpr, control.early_auroc) == (0.0, 0.5)


def test_rollouts_set_apart_for_calibration_are_left_out_and_counted() -> None:
    apart = replace(rollout(7, alarm=1, success=True), calibration=True)
    others = tuple(replace(one, calibration=False) for one in labelled())
    evaluation = evaluate(FirstFeatureRule(), of(apart, *others))
    assert evaluation.left_out == 1
    assert evaluation.metrics == evaluate(FirstFeatureRule(), of(*labelled())).metrics
    assert "left out: 1 rollout" in rendered(evaluation)[-1]


@pytest.mark.parametrize("sha256", ["calibration 3", "fitting 0"])
def test_rollouts_that_made_the_bundle_are_counted_in_a_warning(
    caplog: pytest.LogCaptureFixture, sha256: str
) -> None:
    seen = replace(rollout(7, alarm=None, success=True), sha256=sha256)
    evaluation = evaluate(FirstFeatureRule(), of(seen, *labelled()))
    assert evaluation.seen == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "1 of the 6 rollouts made this bundle (rollout 7)" in record.message


@pytest.mark.parametrize(("sent", "is_told"), [(range(1, 12), False), (range(1, 7), True)])
def test_what_beside_the_robot_would_be_stale_is_told(
    caplog: pytest.LogCaptureFixture, sent: range, is_told: bool
) -> None:
    rule = FirstFeatureRule(joint_quantities=("x/position",), command_names=("1 of 1",))
    states, values = np.zeros((12, 1)), np.full((12, 1), np.nan)
    values[sent] = 1.0
    motion = JointMotion(("x/position",), states, values, ("1 of 1",), values)
    evaluate(rule, of(replace(rollout(0, alarm=None, success=True), joints=motion)))
    told = [message for message in caplog.messages if "beside the robot" in message]
    assert len(told) == 2 * is_told


def test_unlabelled_rollouts_are_refused_by_name() -> None:
    with pytest.raises(EvaluationError, match=r"2 of the .* \(rollout 7, rollout 8\)"):
        evaluate(
            FirstFeatureRule(),
            of(*labelled(), *(rollout(n, alarm=None, success=None) for n in (7, 8))),
        )


def test_only_calibration_rollouts_leave_nothing_to_evaluate() -> None:
    with pytest.raises(EvaluationError, match="nothing to evaluate"):
        evaluate(FirstFeatureRule(), of(replace(labelled()[0], calibration=True)))


def test_rollouts_of_another_policy_are_refused() -> None:
    renamed = replace(POLICY, action_names=("dy", "dx", "gripper"))
    with pytest.raises(EvaluationError, match="another policy"):
        evaluate(FirstFeatureRule(), RolloutSet(renamed, labelled()))
    wider = replace(labelled()[0], embeddings=np.zeros((12, 7), np.float32))
    with pytest.raises(InvalidDecisionError, match="rollout 0, decision 0: the embedding"):
        evaluate(FirstFeatureRule(), of(wider))


def test_a_value_that_is_not_finite_is_refused_by_rollout_and_decision() -> None:
    broken = labelled()[1]
    broken.chunks[5, 0, 0, 0] = np.nan
    with pytest.raises(InvalidDecisionError, match="rollout 1, decision 5"):
        evaluate(FirstFeatureRule(), of(broken))


def test_a_level_that_is_not_finite_is_no_silence() -> None:
    class Broken(FirstFeatureRule):
        def compare(self, rollout: Rollout) -> tuple[NDArray[np.float64], None]:
            return np.full(len(rollout), np.nan), None

    with pytest.raises(EvaluationError, match="rollout 0"):
        evaluate(Broken(), of(*labelled()))


def test_the_json_file_has_the_documented_structure(tmp_path: Path) -> None:
    evaluation = evaluate(FirstFeatureRule(), of(*labelled()))
    write_json(tmp_path / "results.json", evaluation.to_json())
    content = json.loads((tmp_path / "results.json").read_text())
    assert {name: content[name] for name in ("alpha", "rule", "n_calibration")} == {
        "alpha": 0.1,
        "rule": "mean",
        "n_calibration": 10,
    }
    assert content["rollouts"][3] == {
        "id": "rollout 3",
        "success": False,
        "group": "light",
        "task": "",
        "alarm_decision": 25,
        "intervention": None,
        "decisions": 30,
        "max_normalised_score": 2.0,
        "early_max_normalised_score": 0.5,
    }
    assert content["rollouts"][0]["alarm_decision"] is None
    for breakdown in (content["metrics"], content["elapsed_time_control"]):
        assert breakdown.keys() == {"overall", "by_group"}
        assert breakdown["by_group"].keys() == {"id", "light"}
    overall = content["metrics"]["overall"]
    assert overall.keys() == {
        "n_success",
        "n_failure",
        "tpr",
        "tnr",
        "balanced_accuracy",
        "detection_time",
        "twa",
        "early_tpr",
        "early_tnr",
        "early_balanced_accuracy",
        "auroc",
        "early_auroc",
        "false_alarm_rate",
        "false_alarm_interval",
        "lead_time_s",
        "alarms_per_hour",
        "interventions",
        "interventions_foreseen",
        "intervention_lead_time_s",
        "unfollowed_alarms",
    }
    assert len(overall["false_alarm_interval"]) == 2
    assert content["metrics"]["by_group"]["id"]["tpr"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_every_table_has_the_control_and_dashes_for_what_is_undefined() -> None:
    for text in rendered(evaluate(FirstFeatureRule(), of(*labelled()))):
        rows = {line.split("│")[1].strip(): line for line in text.splitlines() if "│" in line}
        assert rows.keys() == {"all", "id", "light", "elapsed time (control)"}
        assert "–" in rows["id"]
        assert "nan" not in text.lower()
        assert "None" not in text


def test_group_names_with_brackets_are_shown_as_they_are() -> None:
    strange = replace(labelled()[0], group="[bold]1[/]")
    for text in rendered(evaluate(FirstFeatureRule(), of(*labelled(), strange))):
        assert "[bold]1[/]" in text


def test_a_calibrated_bundle_is_such_a_rule(bundle: Bundle, rollouts: list[Rollout]) -> None:
    fresh = [synthetic_rollout(100 + seed) for seed in range(20)]
    strange = replace(synthetic_rollout(200, success=False))
    strange.embeddings[:] += 5
    evaluation = evaluate(bundle, RolloutSet(bundle.policy, (*fresh, strange)))
    assert evaluation.n_calibration == len(rollouts)
    assert evaluation.metrics.overall.early_auroc == 1.0
    assert evaluation.results[-1].alarm_decision is not None
    np.testing.assert_array_equal(evaluation.results[0].levels, bundle.levels(fresh[0]))
