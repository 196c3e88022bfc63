# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The options that say how bags are read, as every command takes them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import (
    ACTION_NAMES,
    ACTIVE,
    BEGIN,
    PERIOD,
    SECOND,
    SUCCESS,
    BagBuilder,
    decision_arrays,
    write_bag,
)
from testbed.command_line import run_here
from testbed.repository import ROOT

from failure_monitor.sources.rollouts import read_rollouts


def archived(tmp_path: Path, *arguments: object):
    """The rollouts that `archive` writes with these arguments."""
    result = run_here("archive", *arguments, "--output", tmp_path / "out.npz")
    assert result.exit_code == 0, result.output
    return read_rollouts([tmp_path / "out.npz"]).rollouts


def refusal(tmp_path: Path, *arguments: object) -> tuple[int, str]:
    result = run_here("archive", *arguments, "--output", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
    return result.exit_code, result.output


def write_session(path: Path, marker: str = ACTIVE) -> Path:
    """Three rollouts of two decisions, 10 s apart, and everything else that is recorded."""
    embeddings, chunks = decision_arrays(6)
    with BagBuilder(path) as bag:
        for rollout in range(3):
            begin = BEGIN + 10 * rollout * SECOND
            bag.flag(marker, True, begin - 1)
            for index in (2 * rollout, 2 * rollout + 1):
                stamp = begin + index * PERIOD
                bag.joint_state("/joints", ("a", "b", "c"), (index, -index, 0), stamp)
                bag.number("/energy", 0.5 + index, stamp)
                bag.embedding(embeddings[index], stamp)
                bag.chunks(chunks[index], stamp)
            bag.text("/kind", f"group {rollout}", begin + SECOND)
            bag.flag(marker, False, begin + SECOND)
            bag.flag(SUCCESS, rollout != 1, begin + SECOND + 1)
    return path


def test_markers_are_found_without_being_asked_for(tmp_path: Path) -> None:
    rollouts = archived(tmp_path, write_session(tmp_path / "day"), "--group-topic", "kind")
    assert [r.name for r in rollouts] == ["day/000", "day/001", "day/002"]
    assert [r.success for r in rollouts] == [True, False, True]
    assert [r.group for r in rollouts] == ["group 0", "group 1", "group 2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--boundaries", "outcomes"),
        ("--boundaries", "pauses", "--pause", "5"),
        ("--boundaries", "markers", "--active-topic", "runs"),
        ("--active-topic", "/runs"),
    ],
)
def test_boundaries_can_be_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    day = write_session(tmp_path / "day", marker="/runs")
    rollouts = archived(tmp_path, day, *arguments)
    assert [len(rollout) for rollout in rollouts] == [2, 2, 2]
    assert [rollout.success for rollout in rollouts] == [True, False, True]


def test_labels_are_read_from_a_file(tmp_path: Path) -> None:
    write_session(tmp_path / "day")
    (tmp_path / "labels.yaml").write_text(
        "day/000: {outcome: failure, group: light, task: pick}\n"
    )
    rollouts = archived(tmp_path, tmp_path / "day", "--labels", tmp_path / "labels.yaml")
    assert [rollout.success for rollout in rollouts] == [False, False, True]
    assert (rollouts[0].group, rollouts[0].task) == ("light", "pick")


def test_positions_and_external_scores_are_read_on_demand(tmp_path: Path) -> None:
    day = write_session(tmp_path / "day")
    options = ("--positions-topic", "joints", "--measured-joints", "b,a")
    rollouts = archived(tmp_path, day, *options, "--position-names", "dx,dy")
    np.testing.assert_array_equal(rollouts[1].positions, [[-2, 2], [-3, 3]])


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--boundaries", "naps"], 2, "there is no boundaries 'naps': choose auto, bag"),
        (["--boundaries", "pauses"], 2, "'--boundaries pauses' and '--pause SECONDS' go together"),
        (["--pause", "3"], 2, "go together"),
        (["--boundaries", "pauses", "--pause", "-1"], 2, "'--pause': -1 is not in the range x>0"),
        (
            ["--boundaries", "pauses", "--pause", "nan"],
            2,
            "'--pause': nan is not in the range x>0",
        ),
        (["--external", "energy"], 2, "'--external energy' is no name with its topic"),
        (["--external", "a:=/x", "--external", "b:=/x"], 2, "the topic /x has two meanings"),
        (["--external", "energy:=/nothing"], 1, "has no topic /nothing, only /policy/action_ch"),
        (["--positions-topic", "/joints"], 1, "has no topic /joints"),
        (["--labels", "nowhere.csv"], 1, "nowhere.csv cannot be read"),
        (["--action-kind", "torque"], 2, "there is no action kind 'torque'"),
        (["--jobs", "0"], 2, "jobs"),
    ],
)
def test_an_option_that_means_nothing_is_refused_in_one_sentence(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    write_bag(tmp_path / "bag")
    exit_code, output = refusal(tmp_path, tmp_path / "bag", *arguments)
    assert exit_code == code
    assert sentence in output
    assert "Traceback" not in output


def test_every_command_that_reads_bags_takes_the_same_options() -> None:
    for command in ("archive", "calibrate", "evaluate", "inspect"):
        text = run_here(command, "--help").output
        for option in ("--labels", "--boundaries", "--external", "--positions-topic", "--jobs"):
            assert option in text, (command, option)


def test_every_option_in_the_documentation_is_there() -> None:
    page = (ROOT / "docs" / "bags.md").read_text()
    options = set(re.findall(r"--[a-z][a-z-]+", page)) - {"--output", "--outcome", "--ros-args"}
    text = run_here("evaluate", "--help").output + run_here("archive", "--help").output
    assert len(options) > 15
    assert [option for option in sorted(options) if option not in text] == []


def test_names_of_actions_name_the_joints_unless_told_otherwise(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(1)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.joint_state("/joints", ACTION_NAMES, (1, 2, 3), BEGIN)
        bag.embedding(embeddings[0], BEGIN)
        bag.chunks(chunks[0], BEGIN)
    rollouts = archived(tmp_path, tmp_path / "bag", "--positions-topic", "/joints")
    np.testing.assert_array_equal(rollouts[0].positions, [[1, 2, 3]])
