# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration tells of joints and commands that would be missed beside the robot."""

from __future__ import annotations

from pathlib import Path

import pytest
from testbed.bags import BEGIN, PERIOD, SECOND, BagBuilder, decision_arrays
from testbed.joint_score import QUANTITIES, CommandTelltale, JointTelltale

from failure_monitor.calibration.from_sources import calibrate
from failure_monitor.scores import registry
from failure_monitor.sources.reading_options import ReadingOptions
from failure_monitor.sources.source import Topics

JOINTS = sorted({quantity.split("/")[0] for quantity in QUANTITIES})


COMMAND = "/arm/command"


def write(path: Path, seed: int, every: int, *, commands: int = 1) -> Path:
    """A rollout with joint states, and commands, before every so manieth decision."""
    embeddings, chunks = decision_arrays(8, seed=seed)
    with BagBuilder(path) as bag:
        for index in range(8):
            stamp = BEGIN + seed * SECOND + index * PERIOD
            if index % every == 0:
                values = [float(seed + index + place) for place in range(len(JOINTS))]
                bag.joint_state("/joint_states", JOINTS, values, stamp, efforts=values)
            if index % commands == 0:
                bag.floats(COMMAND, [float(seed), float(index)], stamp - PERIOD // 2)
            bag.embedding(embeddings[index], stamp, stamp + 1)
            bag.chunks(chunks[index], stamp, stamp + 1)
    return path


@pytest.mark.parametrize(("every", "is_told"), [(1, False), (2, True)])
def test_joints_that_are_stated_less_often_than_the_policy_decides_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, is_told: bool
) -> None:
    monkeypatch.setitem(registry.SCORES, JointTelltale.name, JointTelltale)
    bags = [write(tmp_path / f"bag_{seed}", seed, every) for seed in range(9)]
    remarks = calibrate(
        bags,
        scores=(JointTelltale.name,),
        folds=3,
        action_kind="delta",
        reading=ReadingOptions(jobs=1),
    ).remarks
    told = [remark for remark in remarks if "no value came between many decisions" in remark]
    assert bool(told) is is_told
    assert all(all(quantity in remark for quantity in QUANTITIES) for remark in told)


@pytest.mark.parametrize(("every", "is_told"), [(1, False), (2, True)])
def test_commands_that_are_sent_less_often_than_the_policy_decides_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, is_told: bool
) -> None:
    monkeypatch.setitem(registry.SCORES, CommandTelltale.name, CommandTelltale)
    bags = [write(tmp_path / f"bag_{seed}", seed, 1, commands=every) for seed in range(9)]
    calibration = calibrate(
        bags,
        scores=(CommandTelltale.name,),
        folds=3,
        action_kind="delta",
        reading=ReadingOptions(jobs=1, topics=Topics(commands=COMMAND)),
    )
    told = [
        remark for remark in calibration.remarks if "no command was sent since the last" in remark
    ]
    assert bool(told) is is_told
    # Behind a gate this rule and the commands would wait for one another.
    assert any("behind a gate none are before it is defined" in r for r in calibration.remarks)
    section = calibration.bundle.description.joints
    assert section is not None
    assert section.commands_topic == COMMAND
    assert calibration.bundle.description.message_types[COMMAND].endswith("Float64MultiArray")
