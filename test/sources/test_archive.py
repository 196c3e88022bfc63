# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an archive gives, takes, and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testbed.bags import write_bag
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.decision import InvalidDecisionError
from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

LENGTHS = (3, 5, 4)
DECISIONS = sum(LENGTHS)


def archive_arrays() -> dict[str, Any]:
    """Three rollouts as other tools write them."""
    random = np.random.default_rng(0)
    meta = {
        "action_names": ["dx", "dy"],
        "action_kind": "delta",
        "position_dims": [1],
        "decision_dt_s": 0.2,
        "exec_horizon": 4,
    }
    return {
        "action_chunks": random.normal(size=(DECISIONS, 3, 4, 2)).astype(np.float16),
        "obs_embedding": random.normal(size=(DECISIONS, 5)).astype(np.float32),
        "env_step": np.concatenate([4 * np.arange(n) for n in LENGTHS]).astype(np.int32),
        "episode_start": np.array([0, 3, 8], dtype=np.int64),
        "episode_length": np.array(LENGTHS, dtype=np.int32),
        "success": np.array([True, False, True]),
        "is_calibration": np.array([True, False, False]),
        "subtype": np.array(["id", "light", "id"]),
        "meta_json": np.array(json.dumps(meta)),
        "ee_pos": np.zeros((DECISIONS, 3)),
    }


def write_arrays(path: Path, **changes: Any) -> Path:
    arrays = archive_arrays() | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def meta_json(**changes: Any) -> np.ndarray:
    meta = json.loads(str(archive_arrays()["meta_json"])) | changes
    return np.array(json.dumps({key: value for key, value in meta.items() if value is not None}))


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as refused:
        read_rollouts([path])
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_an_archive_gives_its_rollouts(tmp_path: Path) -> None:
    arrays = archive_arrays()
    rollout_set = read_rollouts([write_arrays(tmp_path / "task.npz")])
    rollouts = rollout_set.rollouts
    assert [len(rollout) for rollout in rollouts] == list(LENGTHS)
    assert [rollout.name for rollout in rollouts] == ["task/000", "task/001", "task/002"]
    assert [rollout.success for rollout in rollouts] == [True, False, True]
    assert [rollout.calibration for rollout in rollouts] == [True, False, False]
    assert [rollout.group for rollout in rollouts] == ["id", "light", "id"]
    np.testing.assert_array_equal(rollouts[1].embeddings, arrays["obs_embedding"][3:8])
    np.testing.assert_array_equal(rollouts[1].chunks, arrays["action_chunks"][3:8])
    assert rollouts[1].chunks.dtype == np.float32
    np.testing.assert_allclose(rollouts[1].stamps, 0.2 * np.arange(5))
    assert len({rollout.sha256 for rollout in rollouts}) == 3
    policy = rollout_set.policy
    assert (policy.embedding_size, policy.chunk_shape) == (5, (3, 4, 2))
    assert (policy.action_names, policy.action_kind) == (("dx", "dy"), "delta")
    assert policy.position_names == ("dy",)
    assert policy.executed_actions == 4


def test_what_the_caller_says_of_actions_overrides_the_archive(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "task.npz")
    policy = read_rollouts([path], action_kind="position", position_names=("dx",)).policy
    assert (policy.action_kind, policy.position_names) == ("position", ("dx",))


def test_an_archive_may_lack_what_is_optional(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "task.npz", is_calibration=None, subtype=None)
    for rollout in read_rollouts([path]).rollouts:
        assert (rollout.calibration, rollout.group) == (None, "")


def test_the_task_is_that_of_the_rollout_or_else_that_of_all(tmp_path: Path) -> None:
    path = write_arrays(
        tmp_path / "set.npz", task=np.array(["fold", "", ""]), meta_json=meta_json(task="pick")
    )
    assert [r.task for r in read_rollouts([path]).rollouts] == ["fold", "pick", "pick"]
    assert {r.task for r in read_rollouts([path], task="place").rollouts} == {"place"}
    untold = write_arrays(tmp_path / "untold.npz", meta_json=meta_json(task=None))
    assert {r.task for r in read_rollouts([untold]).rollouts} == {""}


def test_a_task_is_a_text(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "set.npz", meta_json=meta_json(task=["pick"]))
    assert "'task' in 'meta_json' is [\"pick\"], expected a text" in refusal(path)


def test_rollouts_survive_being_archived(tmp_path: Path) -> None:
    rollouts = tuple(
        replace(
            synthetic_rollout(seed, decisions=3 + seed, success=success),
            group=f"group {seed}",
            source=f"somewhere/{seed}",
            task=f"task {seed % 2}",
            calibration=calibration,
        )
        for seed, (success, calibration) in enumerate(
            [(True, None), (False, True), (None, False), (True, True)]
        )
    )
    write_archive(tmp_path / "set.npz", RolloutSet(POLICY, rollouts))
    again = read_rollouts([tmp_path / "set.npz"])
    assert again.policy == POLICY
    for one, other in zip(rollouts, again.rollouts, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_measured_positions_come_in_the_units_of_the_actions(tmp_path: Path) -> None:
    path = write_arrays(
        tmp_path / "task.npz",
        ee_pos=np.full((DECISIONS, 2), 0.05),
        meta_json=meta_json(position_dims=[0, 1], position_scale=0.01),
    )
    first, *_ = read_rollouts([path]).rollouts
    assert first.positions is not None
    np.testing.assert_allclose(first.positions, np.full((LENGTHS[0], 2), 5.0))
    # Three measured numbers are not those of the one position action.
    first, *_ = read_rollouts([write_arrays(tmp_path / "other.npz")]).rollouts
    assert first.positions is None


def test_measured_positions_and_executed_actions_survive_being_archived(tmp_path: Path) -> None:
    rollout = synthetic_rollout(0)
    positions = np.arange(2.0 * len(rollout), dtype=np.float32).reshape(-1, 2)
    policy = replace(POLICY, executed_actions=3)
    write_archive(
        tmp_path / "set.npz", RolloutSet(policy, (replace(rollout, positions=positions),))
    )
    again = read_rollouts([tmp_path / "set.npz"])
    assert again.policy == policy
    np.testing.assert_array_equal(again.rollouts[0].positions, positions)


def test_the_control_period_survives_being_archived(tmp_path: Path) -> None:
    policy = replace(POLICY, control_period=1 / 30)
    write_archive(tmp_path / "set.npz", RolloutSet(policy, (synthetic_rollout(0),)))
    assert read_rollouts([tmp_path / "set.npz"]).policy == policy


def test_control_steps_state_the_control_period_and_stamps_do_not(tmp_path: Path) -> None:
    steps = read_rollouts([write_arrays(tmp_path / "steps.npz")])
    assert steps.policy.control_period == 0.2 / 4
    stamps = np.concatenate([0.3 * np.arange(n) for n in LENGTHS])
    stamped = write_arrays(tmp_path / "stamped.npz", stamp=stamps)
    assert read_rollouts([stamped]).policy.control_period is None
    stated = write_arrays(
        tmp_path / "stated.npz", stamp=stamps, meta_json=meta_json(control_period=0.1)
    )
    assert read_rollouts([stated]).policy.control_period == 0.1
    assert read_rollouts([stated], control_period=0.3).policy.control_period == 0.3
    with pytest.raises(SourceError, match=r"differ in their control period \(0.05 against 0.1\)"):
        read_rollouts([tmp_path / "steps.npz", stated])


@pytest.mark.parametrize("period", [0, -0.1, "fast", True, float("inf")])
def test_a_wrong_control_period_is_refused(tmp_path: Path, period: Any) -> None:
    path = write_arrays(
        tmp_path / "task.npz",
        stamp=np.arange(float(DECISIONS)),
        meta_json=meta_json(control_period=period),
    )
    assert "'control_period' in 'meta_json'" in refusal(path)


@pytest.mark.parametrize("actions", [0, 2.5, "four", True])
def test_a_wrong_number_of_executed_actions_is_refused(tmp_path: Path, actions: Any) -> None:
    path = write_arrays(
        tmp_path / "task.npz",
        stamp=np.arange(float(DECISIONS)),
        meta_json=meta_json(exec_horizon=actions),
    )
    assert "'exec_horizon' in 'meta_json'" in refusal(path)


def test_more_executed_actions_than_a_chunk_has_are_refused(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "task.npz", meta_json=meta_json(exec_horizon=5))
    with pytest.raises(InvalidDecisionError, match="a chunk has 4: give a number from 1 to 4"):
        read_rollouts([path])


def test_a_bag_is_the_same_rollout_after_it_was_archived(tmp_path: Path) -> None:
    bags = read_rollouts([write_bag(tmp_path / "bag")])
    write_archive(tmp_path / "set.npz", bags)
    (archived,) = read_rollouts([tmp_path / "set.npz"]).rollouts
    assert archived.sha256 == bags.rollouts[0].sha256
    np.testing.assert_array_equal(archived.chunks, bags.rollouts[0].chunks)


def test_an_archive_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    write_archive(path, RolloutSet(POLICY, (synthetic_rollout(0),)))
    before = path.read_bytes()
    broken = replace(synthetic_rollout(1), embeddings=np.zeros((2, 99), np.float32))
    with pytest.raises(ValueError, match="dimensions"):
        write_archive(path, RolloutSet(POLICY, (synthetic_rollout(0), broken)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["set.zip", "missing/set.npz"])
def test_a_place_where_no_archive_can_be_written_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(FailureMonitorError, match=path):
        write_archive(tmp_path / path, RolloutSet(POLICY, (synthetic_rollout(0),)))


@pytest.mark.parametrize(
    "name",
    [
        "action_chunks",
        "env_step",
        "episode_start",
        "episode_length",
        "success",
        "meta_json",
    ],
)
def test_a_missing_array_is_refused_by_name(tmp_path: Path, name: str) -> None:
    assert f"no array '{name}'" in refusal(write_arrays(tmp_path / "task.npz", **{name: None}))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("action_chunks", np.zeros((DECISIONS, 3, 4))),
        ("action_chunks", np.zeros((DECISIONS, 3, 4, 2), dtype=np.int32)),
        ("obs_embedding", np.zeros((DECISIONS - 1, 5))),
        ("env_step", np.zeros(DECISIONS + 1, dtype=np.int32)),
        ("stamp", np.zeros(DECISIONS, dtype=np.int32)),
        ("episode_length", np.array([3, 5])),
        ("success", np.array([1, 0, 1])),
        ("success", np.array([True, False])),
        ("is_calibration", np.array([True])),
        ("subtype", np.array(["id"])),
        ("success_known", np.array([True])),
    ],
)
def test_an_array_of_another_kind_or_size_is_refused_by_name(
    tmp_path: Path, name: str, array: np.ndarray
) -> None:
    message = refusal(write_arrays(tmp_path / "task.npz", **{name: array}))
    assert f"'{name}' is {array.dtype} {array.shape}, expected" in message


@pytest.mark.parametrize("shape", [(0, 4, 2), (3, 0, 2), (3, 4, 0)])
def test_chunks_without_an_action_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_arrays(tmp_path / "task.npz", action_chunks=np.zeros((DECISIONS, *shape)))
    assert "expected at least one chunk of one action" in refusal(path)


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"a": ' * 100_000])
def test_a_meta_json_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = write_arrays(tmp_path / "task.npz", meta_json=np.array(text))
    assert "'meta_json' is not JSON" in refusal(path)


@pytest.mark.parametrize(("start", "length"), [(8, 5), (-1, 4), (12, 1), (3, 0)])
def test_a_rollout_outside_the_arrays_is_refused(tmp_path: Path, start: int, length: int) -> None:
    path = write_arrays(
        tmp_path / "task.npz",
        episode_start=np.array([0, 3, start]),
        episode_length=np.array([3, 5, length]),
    )
    message = refusal(path)
    assert "rollout 2" in message
    assert "episode_length" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"action_names": None},
        {"action_names": ["dx"]},
        {"action_names": [1, 2]},
        {"action_kind": "torque"},
        {"position_dims": [0, 2]},
        {"position_dims": 1},
        {"position_dims": [1.0]},
        {"position_dims": [True]},
        {"decision_dt_s": True},
        {"decision_dt_s": None},
        {"exec_horizon": 0},
    ],
)
def test_a_wrong_item_of_the_meta_data_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = write_arrays(tmp_path / "task.npz", meta_json=meta_json(**changes))
    assert f"'{next(iter(changes))}' in 'meta_json'" in refusal(path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_meta_data_that_are_no_json_object_are_refused(tmp_path: Path, text: str) -> None:
    assert "meta_json" in refusal(write_arrays(tmp_path / "task.npz", meta_json=np.array(text)))


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "task.npz", success=np.array([True, False, None]))
    assert "'success' cannot be read" in refusal(path)


EPOCH = np.concatenate([1.7e9 + 0.1 * np.arange(n) for n in LENGTHS])


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {"stamp": EPOCH.astype(np.float32)},
            [
                "'stamp' of rollout 0 does not rise",
                "float32 cannot tell such times apart",
                "float64",
            ],
        ),
        (
            {"stamp": np.where(np.arange(DECISIONS) >= 6, EPOCH - 2, EPOCH)},
            ["'stamp' of rollout 1 does not rise: its decision 2", "a clock was set back"],
        ),
        (
            {"stamp": np.where(np.arange(DECISIONS) == 3, 0, EPOCH)},
            ["'stamp' of rollout 1 is 0 at its first decision", "the first has no stamp"],
        ),
        (
            {"stamp": np.where(np.arange(DECISIONS) == 4, np.nan, EPOCH)},
            ["'stamp' of rollout 1 is NaN or infinite at its decision 1"],
        ),
        (
            {"env_step": np.zeros(DECISIONS, np.int32)},
            ["'env_step' of rollout 0 does not rise", "write the time of each observation"],
        ),
        (
            {"episode_start": np.array([0, 2, 8])},
            ["give the decision 2 to the rollouts 0 and 1"],
        ),
    ],
)
def test_times_and_rollouts_that_cannot_be_are_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], sentences: list[str]
) -> None:
    message = refusal(write_arrays(tmp_path / "task.npz", **changes))
    for sentence in sentences:
        assert sentence in message


def test_times_may_begin_at_0(tmp_path: Path) -> None:
    stamps = np.concatenate([0.1 * np.arange(n) for n in LENGTHS]).astype(np.float32)
    path = write_arrays(tmp_path / "task.npz", stamp=stamps)
    assert [len(rollout) for rollout in read_rollouts([path]).rollouts] == list(LENGTHS)


def test_a_truncated_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "task.npz")
    whole = path.read_bytes()
    for size in (*range(0, len(whole), len(whole) // 20), len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "\n" not in refusal(path)


def test_a_damaged_array_is_refused_by_name(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "task.npz")
    content = bytearray(path.read_bytes())
    place = content.find(archive_arrays()["obs_embedding"].tobytes())
    content[place + 10] ^= 0xFF
    path.write_bytes(content)
    assert "'obs_embedding' cannot be read" in refusal(path)


def test_a_file_that_only_looks_like_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.npz"
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    assert "single array" in refusal(path)
    np.savez(
        path,
        **(
            archive_arrays()
            | {
                "episode_start": np.array([], dtype=int),
                "episode_length": np.array([], dtype=int),
                "success": np.array([], dtype=bool),
                "is_calibration": np.array([], dtype=bool),
                "subtype": np.array([], dtype=str),
            }
        ),
    )
    assert "no rollouts" in refusal(path)
