# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a FIPER rollout folder gives, and that a bad episode is refused by name."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testbed.fiper_episodes import episode, metadata, steps, write_episode, write_folder

from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.decision import Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources import fiper
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError


def read(tmp_path: Path, name: str = "test/episode_s_0000.pkl", **changes: Any) -> RolloutSet:
    """A folder of one episode."""
    write_episode(tmp_path / name, episode(**changes))
    return read_rollouts([tmp_path])


def read_one(tmp_path: Path, name: str = "test/episode_s_0000.pkl", **changes: Any) -> Rollout:
    (rollout,) = read(tmp_path, name, **changes).rollouts
    return rollout


def refusal(tmp_path: Path, content: Any, name: str = "test/episode_s_0000.pkl") -> str:
    path = write_episode(tmp_path / name, content)
    with pytest.raises(SourceError) as refused:
        read_rollouts([tmp_path])
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def changed_step(index: int, **changes: Any) -> list[dict[str, Any]]:
    made = steps()
    made[index] |= changes
    return made


def test_a_folder_gives_its_episodes(tmp_path: Path) -> None:
    rollouts = read_rollouts([write_folder(tmp_path)]).rollouts
    assert [(r.name, len(r), r.success, r.group, r.calibration) for r in rollouts] == [
        ("calibration/episode_s_0000", 3, True, "id", True),
        ("test/episode_f_0000", 5, False, "eb", False),
        ("test/episode_s_0001", 6, True, "id", False),
    ]
    expected = steps(5, seed=2)
    np.testing.assert_array_equal(
        rollouts[1].embeddings, [step["obs_embedding"] for step in expected]
    )
    np.testing.assert_allclose(rollouts[1].stamps, 0.14 * np.arange(5))
    file = tmp_path / "test" / "episode_f_0000.pkl"
    assert rollouts[1].source == str(file)
    assert rollouts[1].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_failures_in_the_calibration_folder_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rollouts = read_rollouts([write_folder(tmp_path)]).rollouts
    assert all(rollout.success for rollout in rollouts if rollout.calibration)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "1 of the 2 episodes in calibration/ failed and are left out" in record.message


def test_calibration_takes_the_successes_that_are_set_apart(tmp_path: Path) -> None:
    chosen, _ = choose(read_rollouts([write_folder(tmp_path)]).rollouts)
    assert [rollout.name for rollout in chosen] == ["calibration/episode_s_0000"]


def test_the_folder_of_a_task_leads_to_its_rollouts(tmp_path: Path) -> None:
    write_folder(tmp_path / "sorting" / "rollouts")
    (tmp_path / "sorting" / "videos").mkdir()
    assert len(read_rollouts([tmp_path / "sorting"]).rollouts) == 3


def test_the_policy_is_what_the_metadata_say(tmp_path: Path) -> None:
    policy = read(tmp_path).policy
    assert (policy.embedding_size, policy.chunk_shape) == (6, (4, 5, 3))
    assert policy.action_names == ("vel_0", "vel_1", "gripper_0")
    assert (policy.action_kind, policy.position_names) == ("velocity", ("vel_0", "vel_1"))
    assert policy.executed_actions == 2


@pytest.mark.parametrize(
    ("mappings", "names", "kind", "positions"),
    [
        ({"pos": [0, 1], "vel": [2]}, ("pos_0", "pos_1", "vel_0"), "position", ("pos_0", "pos_1")),
        (
            {"joint_pos": (0, 1, 2)},
            ("joint_pos_0", "joint_pos_1", "joint_pos_2"),
            "position",
            None,
        ),
        (
            {"joint_vel": [1]},
            ("action_0", "joint_vel_0", "action_2"),
            "velocity",
            ("joint_vel_0",),
        ),
        ({"pos": [2], "gripper": [2]}, ("action_0", "action_1", "pos_0"), "position", ("pos_0",)),
    ],
)
def test_action_mappings_name_the_actions(
    tmp_path: Path,
    mappings: dict[str, Any],
    names: tuple[str, ...],
    kind: str,
    positions: tuple[str, ...] | None,
) -> None:
    policy = read(tmp_path, metadata=metadata(action_mappings=mappings)).policy
    assert (policy.action_names, policy.action_kind) == (names, kind)
    assert policy.position_names == (positions or names)


@pytest.mark.parametrize("mappings", [None, {}, {"rpy": [0]}])
def test_what_the_metadata_do_not_say_of_actions_the_caller_may(
    tmp_path: Path, mappings: dict[str, Any] | None
) -> None:
    changes = {"action_mappings": mappings, "action_execution_horizon": None}
    write_episode(tmp_path / "test" / "episode_s_0.pkl", episode(metadata=metadata(**changes)))
    policy = read_rollouts([tmp_path], action_kind="delta", executed_actions=3).policy
    assert (policy.action_kind, policy.position_names) == ("delta", ())
    assert policy.executed_actions == 3


def test_the_executed_sample_comes_first(tmp_path: Path) -> None:
    chunks = read_one(tmp_path).chunks
    for index, step in enumerate(steps()):
        np.testing.assert_array_equal(chunks[index, 0], step["action"].astype(np.float32))
        assert {row.tobytes() for row in chunks[index]} == {
            row.tobytes() for row in step["action_pred"].astype(np.float32)
        }


def test_an_executed_chunk_may_be_cut_to_what_was_executed(tmp_path: Path) -> None:
    expected = steps()[1]["action"].astype(np.float32)
    chunks = read_one(tmp_path, rollout=changed_step(1, action=steps()[1]["action"][:2])).chunks
    np.testing.assert_array_equal(chunks[1, 0], expected)


def test_an_executed_chunk_that_was_never_sampled_is_remarked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chunks = read_one(tmp_path, rollout=changed_step(1, action=np.zeros((5, 3)))).chunks
    np.testing.assert_array_equal(chunks[1], steps()[1]["action_pred"].astype(np.float32))
    assert "in 1 of 1 episodes 'action' is not always one of 'action_pred'" in caplog.text


def test_what_is_wrapped_in_a_list_for_its_robot_is_unwrapped(tmp_path: Path) -> None:
    wrapped = [
        step | {key: [step[key]] for key in ("action", "action_pred", "obs_embedding")}
        for step in steps()
    ]
    rollout = read_one(tmp_path / "wrapped", rollout=wrapped)
    np.testing.assert_array_equal(rollout.chunks, read_one(tmp_path / "bare").chunks)


@pytest.mark.parametrize(
    ("subtype", "group"),
    [("id", "id"), ("ca", "id"), ("na", "id"), ("ood", "ood"), ("hh", "hh"), (None, "")],
)
def test_the_subtype_is_the_group(tmp_path: Path, subtype: str | None, group: str) -> None:
    assert read_one(tmp_path, metadata=metadata(rollout_subtype=subtype)).group == group


@pytest.mark.parametrize(
    ("name", "stated", "success"),
    [
        ("episode_s_0000.pkl", True, True),
        ("episode_f_0000.pkl", np.bool_(False), False),
        ("episode_f_0000.pkl", None, False),
        ("episode_s_0000_task03.pkl", None, True),
        ("episode_7.pkl", False, False),
        ("episode_7.pkl", None, None),
    ],
)
def test_the_outcome_is_what_metadata_and_name_say(
    tmp_path: Path, name: str, stated: Any, success: bool | None
) -> None:
    rollout = read_one(tmp_path, f"test/{name}", metadata=metadata(successful=stated))
    assert rollout.success is success


@pytest.mark.parametrize(("mark", "stated"), [("s", False), ("f", True)])
def test_a_name_that_contradicts_the_metadata_is_refused(
    tmp_path: Path, mark: str, stated: bool
) -> None:
    content = episode(metadata=metadata(success=stated))
    message = refusal(tmp_path, content, f"test/episode_{mark}_0000.pkl")
    assert "by its name the episode" in message
    assert "correct one of them" in message


@pytest.mark.parametrize(
    "timestamp", [None, 3.0, float("nan"), "now", 10**400], ids=lambda value: str(value)[:4]
)
def test_without_time_stamps_decisions_count_as_seconds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, timestamp: Any
) -> None:
    rollout = read_one(tmp_path, rollout=steps(timestamp=timestamp))
    np.testing.assert_array_equal(rollout.stamps, np.arange(6.0))
    assert "1 of 1 episodes have no increasing time stamps" in caplog.text


def test_a_whole_folder_without_failures_gives_no_remark(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path)
    assert not caplog.records


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_every_protocol_since_3_is_read(tmp_path: Path, protocol: int) -> None:
    content = OrderedDict(episode())
    write_episode(tmp_path / "test" / "episode_s_0000.pkl", content, protocol)
    (rollout,) = read_rollouts([tmp_path]).rollouts
    np.testing.assert_array_equal(rollout.chunks, read_one(tmp_path / "other").chunks)


def test_the_arrays_can_be_written(tmp_path: Path) -> None:
    rollout = read_one(tmp_path)
    rollout.embeddings[0, 0] = 7
    rollout.chunks[0, 0, 0, 0] = 7


def test_episodes_survive_being_archived(tmp_path: Path) -> None:
    folder = read_rollouts([write_folder(tmp_path / "fiper")])
    write_archive(tmp_path / "set.npz", folder)
    again = read_rollouts([tmp_path / "set.npz"])
    assert again.policy == folder.policy
    for one, other in zip(folder.rollouts, again.rollouts, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)


class Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


SYSTEM = f"'{os.system.__module__}.system'"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("metadata", SYSTEM),
        ("rollout", SYSTEM),
        ("an array that is read", "dtype is 'O8'"),
        ("a field that is not read", SYSTEM),
    ],
)
def test_a_malicious_episode_is_refused_by_name_and_does_not_run(
    tmp_path: Path, place: str, reason: str
) -> None:
    bomb = Touch(tmp_path / "marker")
    hidden = np.empty(1, dtype=object)
    hidden[0] = bomb
    content = {
        "metadata": episode(metadata=metadata(task=bomb)),
        "rollout": episode(rollout=bomb),
        "an array that is read": episode(rollout=changed_step(2, obs_embedding=hidden)),
        "a field that is not read": episode(rollout=changed_step(2, rgb=bomb)),
    }[place]
    assert reason in refusal(tmp_path, content)
    assert not (tmp_path / "marker").exists()
    pickle.loads(pickle.dumps(content))
    assert (tmp_path / "marker").exists()


def test_a_truncated_episode_is_refused_by_name(tmp_path: Path) -> None:
    path = write_episode(tmp_path / "test" / "episode_s_0000.pkl", episode())
    whole = path.read_bytes()
    for size in (*range(0, len(whole), len(whole) // 40), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"episode_s_0000\.pkl: the pickle is cut off"):
            read_rollouts([tmp_path])


def test_torch_tensors_are_refused_with_how_to_convert_them(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    content = episode(rollout=steps(obs_embedding=torch.zeros(6)))
    message = refusal(tmp_path, content)
    assert "holds torch tensors" in message
    assert "tensor.cpu().numpy()" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1, 2], "the episode is of type list, expected a dict of 'metadata' and 'rollout'"),
        ({"rollout": []}, "the episode is a dict of rollout, expected"),
        (episode(metadata=None), "'metadata' is None, expected a dict"),
        (episode(rollout=[]), "'rollout' is of type list, expected a list of dicts"),
        (episode(rollout=[1]), "'rollout' is of type list, expected a list of dicts"),
        (episode(metadata=metadata(num_robots=2)), "'num_robots' in 'metadata' is 2"),
        (
            episode(metadata=metadata(num_robots=np.ones(2))),
            "an array of float64 (2,), expected 1",
        ),
        (episode(metadata=metadata(successful="yes")), "'successful' in 'metadata' is 'yes'"),
        (episode(metadata=metadata(successful=10**5000)), "of type int, expected True or False"),
        (
            episode(metadata=metadata(rollout_subtype=[1])),
            "'rollout_subtype' in 'metadata' is of type list",
        ),
        (
            episode(metadata=metadata(action_mappings=[0])),
            "'action_mappings' in 'metadata' is of type list",
        ),
        (episode(metadata=metadata(action_mappings={1: [0]})), "expected a dict with names"),
        (episode(metadata=metadata(action_mappings={"pos": [3]})), "numbers from 0 to 2"),
        (episode(metadata=metadata(action_mappings={"pos": 0})), "'pos' of 'action_mappings'"),
        (episode(metadata=metadata(action_execution_horizon=6)), "is 6, expected a whole number"),
        (
            episode(rollout=changed_step(3, obs_embedding=None)),
            "'obs_embedding' of decision 3 is N",
        ),
        (episode(rollout=changed_step(3, obs_embedding=[1.0])), "is 1.0, expected a float array"),
        (episode(rollout=changed_step(3, obs_embedding=np.zeros(7))), "expected (6,) as before"),
        (episode(rollout=changed_step(0, obs_embedding=np.zeros(0))), "an array of float64 (0,)"),
        (episode(rollout=changed_step(2, action_pred=np.zeros((5, 3)))), "expected a float array"),
        (
            episode(rollout=changed_step(2, action_pred=2 * [np.zeros((4, 5, 3))])),
            "is of type list, expected",
        ),
        (
            episode(rollout=changed_step(1, action_pred=np.zeros((4, 5, 3), int))),
            "an array of int64 (4, 5, 3)",
        ),
    ],
)
def test_an_episode_of_another_layout_is_refused_by_name_and_field(
    tmp_path: Path, content: Any, reason: str
) -> None:
    message = refusal(tmp_path, content)
    assert reason in message
    assert "save it as FIPER does, or leave it out" in message


def test_episodes_of_two_policies_are_refused_by_name(tmp_path: Path) -> None:
    write_episode(tmp_path / "test" / "episode_s_0000.pkl", episode())
    other = metadata(action_mappings={"pos": [0]}, action_execution_horizon=3)
    content = episode(metadata=other, rollout=steps(seed=1))
    message = refusal(tmp_path, content, "test/episode_s_0001.pkl")
    assert "kind velocity against position" in message
    assert "executed 2 against 3" in message


def test_an_episode_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fiper, "MAX_EPISODE_SIZE", 1000)
    assert "more than the 1000 of an episode" in refusal(tmp_path, episode())


def test_one_array_that_is_said_a_million_times_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fiper, "MAX_EPISODE_SIZE", 1 << 20)
    step = steps(1)[0] | {"action_pred": np.zeros((64, 16, 7), np.float32)}
    assert "'action_pred' of 100 decisions of shape (64, 16, 7) takes more" in refusal(
        tmp_path, episode(rollout=100 * [step])
    )


def test_a_folder_of_failures_alone_holds_no_rollouts(tmp_path: Path) -> None:
    content = episode(metadata=metadata(success=False))
    write_episode(tmp_path / "calibration" / "episode_f_0000.pkl", content)
    with pytest.raises(SourceError, match="no rollouts"):
        read_rollouts([tmp_path])


def test_values_that_are_not_finite_are_refused_by_episode_and_decision(tmp_path: Path) -> None:
    rollout_set = read(tmp_path, rollout=changed_step(4, obs_embedding=np.full(6, np.nan)))
    with pytest.raises(FailureMonitorError, match=r"test/episode_s_0000, decision 4: .*NaN"):
        rollout_set.rollouts[0].check(rollout_set.policy)


def test_a_folder_without_episodes_is_no_fiper_folder(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "notes.pkl").write_bytes(b"")
    with pytest.raises(SourceError, match=r"no known source .* FIPER rollout folder"):
        read_rollouts([tmp_path])
