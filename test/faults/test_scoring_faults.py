# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What scores the decisions fails at run time, or is replaced on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from testbed.faults.cell import Cell, open_cell
from testbed.faults.scoring_model import failing_far_off
from testbed.faults.trial import SCORED, WITHHELD, Fault
from testbed.synthetic import POLICY

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.score import Score
from failure_monitor.scores.registry import score_named
from failure_monitor.thresholds.value_limits import ValueLimits

pytestmark = [pytest.mark.ros, pytest.mark.law(7)]

NETWORK = "rnd_oe.0.network.onnx"


@pytest.fixture(scope="module")
def failing_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that loads and scores, and of which a network fails far off."""
    folder = tmp_path_factory.mktemp("bundles") / "failing"
    failing = tuple(
        FoldedScore([_failing_far_off(model) for model in score.models]) for score in bundle.scores
    )
    save(replace(bundle, scores=failing, limits=ValueLimits.unknown(POLICY)), folder)
    return folder


@pytest.fixture(scope="module")
def bundle_that_cannot_choose(rollouts: list[Rollout], tmp_path_factory) -> Path:
    """A bundle whose rule does not look at embeddings, and that cannot choose a chunk far off."""
    settings = CalibrationSettings(
        scores=("ace",), choosers=("pseudo_count",), rule="any", window=2, folds=3, jobs=1
    )
    calibrated = calibrate(rollouts, POLICY, settings)
    folder = tmp_path_factory.mktemp("bundles") / "cannot_choose"
    failing = tuple(map(_failing_far_off, calibrated.choosers))
    save(replace(calibrated, choosers=failing, limits=ValueLimits.unknown(POLICY)), folder)
    return folder


def _failing_far_off(score: Score) -> Score:
    state = score.state()
    models = {part: failing_far_off(model) for part, model in state.models.items()}
    return score_named(score.name).from_state(replace(state, models=models))


@pytest.fixture(scope="module")
def cell(failing_bundle: Path) -> Iterator[Cell]:
    with open_cell(failing_bundle) as made:
        made.start_policy()
        made.start_gate()
        made.start_monitor()
        yield made


def test_the_gate_closes_when_the_scoring_raises(moving: Cell, table):
    fault: Fault = table("scoring raises (ONNX Runtime fails), then not", promised=SCORED)
    fault.halts_until_reset("far", state="ALARM", monitor_reason="the scoring failed")
    traces = [line for line in moving.monitor.output if "Traceback" in line]
    assert len(traces) == 1, "one for all decisions of that second"


def test_the_gate_closes_when_the_choice_of_a_chunk_raises(
    moving: Cell, table, bundle_that_cannot_choose: Path
):
    fault: Fault = table("choice of a chunk raises, then not", promised=SCORED)
    with moving.other_monitor(bundle=bundle_that_cannot_choose, chosen_chunk="pseudo_count"):
        moving.reset_until_moving()
        fault.halts_until_reset("far", state="ALARM", monitor_reason="the steering failed")


@pytest.mark.parametrize("is_renamed", [False, True], ids=["in place", "by another file"])
def test_a_replaced_model_is_not_taken_by_who_runs_and_refused_by_who_starts(
    moving: Cell, table, failing_bundle: Path, is_renamed: bool
):
    how = "by another file" if is_renamed else "in place"
    fault: Fault = table(f"model file replaced {how}; monitor restarted")
    network = failing_bundle / NETWORK
    content = network.read_bytes()
    if is_renamed:
        other = failing_bundle / "other.onnx"
        other.write_bytes(b"of another bundle")
        other.rename(network)
    else:
        network.write_bytes(b"of another bundle")
    fault.stays_open(2.0)
    moving.follow("strange")
    moving.wait_for(lambda: moving.alarm.state == "ALARM", "an alarm by the model as it was")
    moving.end_monitor()
    moving.start_monitor()
    moving.follow("nominal")
    fault.stays_closed(
        1.0,
        gate_reason=WITHHELD,
        state="STALE",
        monitor_reason=f"{network} is not the file that was calibrated",
    )
    assert "calibrated" in moving.reset().message
    network.write_bytes(content)
    moving.end_monitor()
    moving.start_monitor()
    # Its halt mark is of the bundle, which could not be loaded as it was reset.
    fault.recovers(by_reset=True)
