# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras or joints cease to come, or come broken, where the monitor runs the exported policy."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from testbed.faults.cell import Cell, open_cell
from testbed.faults.trial import MISSED, SCORED, WITHDRAWN, WITHHELD, Fault
from testbed.scenes import scenes

from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.policy_models.replay import black_box_rollout

pytestmark = [pytest.mark.ros, pytest.mark.law(7)]

SAMPLES = 8
MAX_JOINT_STATE_AGE = 0.5
SCRIPTED_ROBOT = "testbed.faults.scripted_robot"


@pytest.fixture(scope="module")
def black_box(exported, tmp_path_factory) -> Path:
    """A bundle of rollouts of the exported policy."""
    encoder = ObservationEncoder(read_onnx_file(exported[0]))
    sampler = PolicySampler(read_onnx_file(exported[1]))

    def rollout(seed):
        made = black_box_rollout(
            scenes(seed), encoder, sampler, name=f"{seed}", samples=SAMPLES, seed=0
        )
        return replace(made, success=True, sha256=f"{seed:064x}")

    calibrated = calibrate(
        [rollout(seed) for seed in range(12)],
        sampler.policy_format(samples=SAMPLES),
        CalibrationSettings(scores=("knn",), rule="any", window=2, folds=3, jobs=1),
    )
    folder = tmp_path_factory.mktemp("bundles") / "black_box"
    save(calibrated, folder)
    return folder


@pytest.fixture(scope="module")
def cell(black_box: Path, exported) -> Iterator[Cell]:
    encoder, sampler = exported
    watching = {
        "encoder": encoder,
        "sampler": sampler,
        "max_joint_state_age": MAX_JOINT_STATE_AGE,
    }
    with open_cell(black_box, policy=SCRIPTED_ROBOT, watching=watching) as made:
        made.start_policy()
        made.start_gate()
        made.start_monitor()
        yield made


@pytest.mark.parametrize(
    ("name", "script", "promised", "state", "reason"),
    [
        ("camera stops", "no_front", MISSED, "STALE", "no message on '/front' for more than 1 s"),
        (
            "joint states stop",
            "no_joints",
            MAX_JOINT_STATE_AGE + WITHDRAWN,
            "STALE",
            "no message on '/joint_states' for more than 0.5 s",
        ),
        ("joint states with NaN", "nan_joints", SCORED, "ALARM", "elbow are NaN"),
        ("pictures cut off", "cut_front", SCORED, "ALARM", "'front'"),
        ("black pictures (an alarm)", "dark", SCORED, "ALARM", "knn"),
    ],
)
def test_the_gate_closes_on_broken_observations(
    moving: Cell, table, name, script, promised, state, reason
):
    fault: Fault = table(f"{name}, then well again", promised=promised)
    fault.halts_until_reset(script, state=state, monitor_reason=reason)


def test_the_gate_closes_when_the_robot_s_driver_ends(moving: Cell, table):
    fault: Fault = table(
        "cameras and joints ended (SIGTERM), then restarted",
        promised=MAX_JOINT_STATE_AGE + WITHDRAWN,
    )
    fault.closes(
        lambda: moving.policy.send(signal.SIGTERM),
        gate_reason=WITHHELD,
        state="STALE",
        monitor_reason="no message on '/joint_states'",
    )
    moving.start_policy()
    fault.stays_closed(
        1.0, gate_reason=WITHHELD, state="STALE", monitor_reason="the cause is gone"
    )
    fault.recovers(by_reset=True)


def test_a_replaced_encoder_is_not_taken_by_who_runs(moving: Cell, table, exported):
    fault: Fault = table("encoder file replaced in place; monitor restarted")
    encoder, _ = exported
    content = encoder.read_bytes()
    try:
        encoder.write_bytes(b"no model")
        fault.stays_open(2.0)
        moving.end_monitor()
        moving.start_monitor()
        fault.stays_closed(1.0, gate_reason=WITHHELD, state="STALE", monitor_reason=encoder.name)
    finally:
        encoder.write_bytes(content)
    moving.end_monitor()
    moving.start_monitor()
    fault.recovers(by_reset=False)
