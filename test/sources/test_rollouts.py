# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Several sources at once: their order, and that they are of one policy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from testbed.bags import write_bag

from failure_monitor.decision import InvalidDecisionError
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError


def test_a_folder_of_bags_is_read_by_name(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write_bag(tmp_path / f"rollout_{number}", decisions=3 + number, seed=number)
    (tmp_path / "notes.txt").write_text("not a bag")
    rollouts = read_rollouts([tmp_path]).rollouts
    assert [rollout.name for rollout in rollouts] == ["rollout_0", "rollout_1", "rollout_2"]
    assert [len(rollout) for rollout in rollouts] == [3, 4, 5]


def test_sources_keep_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    paths = [write_bag(tmp_path / name, seed=seed) for seed, name in enumerate("bca")]
    assert [rollout.name for rollout in read_rollouts(paths).rollouts] == ["b", "c", "a"]


def test_a_recording_that_was_cut_off_is_not_passed_over(tmp_path: Path) -> None:
    write_bag(tmp_path / "whole")
    cut = write_bag(tmp_path / "cut.part", seed=1)
    (cut / "metadata.yaml").unlink()
    with pytest.raises(SourceError, match=r"cut\.part"):
        read_rollouts([tmp_path])


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(SourceError, match="no rollouts"):
        read_rollouts([])


@pytest.mark.parametrize(
    ("size", "difference"),
    [
        ({"embedding_size": 7}, "embedding size 6 against 7"),
        ({"samples": 3}, "samples 4 against 3"),
        ({"horizon": 9}, "horizon 5 against 9"),
    ],
)
def test_rollouts_of_two_policies_are_refused_by_name(
    tmp_path: Path, size: dict[str, int], difference: str
) -> None:
    paths = [write_bag(tmp_path / "one"), write_bag(tmp_path / "other", seed=1, **size)]
    with pytest.raises(SourceError, match=r"one .* and other .*" + difference):
        read_rollouts(paths)


def test_the_same_rollout_twice_is_refused_by_name(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    shutil.copytree(bag, tmp_path / "copy")
    with pytest.raises(SourceError, match=r"bag .* and copy .* are the same rollout"):
        read_rollouts([tmp_path])


def test_position_names_that_are_no_actions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDecisionError, match="roll"):
        read_rollouts([write_bag(tmp_path / "bag")], position_names=("roll",))


def test_bags_take_the_meaning_of_actions_from_an_archive_beside_them(tmp_path: Path) -> None:
    archived = read_rollouts(
        [write_bag(tmp_path / "one")], action_kind="delta", position_names=("dx",)
    )
    write_archive(tmp_path / "one.npz", archived)
    bag = write_bag(tmp_path / "other", seed=1)
    policy = read_rollouts([bag, tmp_path / "one.npz"]).policy
    assert (policy.action_kind, policy.position_names) == ("delta", ("dx",))


def test_archives_that_differ_in_what_actions_mean_are_refused(tmp_path: Path) -> None:
    for seed, kind in enumerate(("delta", "velocity")):
        rollouts = read_rollouts([write_bag(tmp_path / kind, seed=seed)], action_kind=kind)
        write_archive(tmp_path / f"{kind}.npz", rollouts)
    archives = [tmp_path / "delta.npz", tmp_path / "velocity.npz"]
    with pytest.raises(SourceError, match=r"action kind \(delta against velocity\)"):
        read_rollouts(archives)
    assert read_rollouts(archives, action_kind="position").policy.action_kind == "position"
