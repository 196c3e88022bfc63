# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An archive keeps every field of a rollout and of its decisions, whichever rollouts have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testbed.synthetic import POLICY, STATED

from failure_monitor.decision import Decision, Rollout
from failure_monitor.joint_motion import JointMotion
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics

DECISIONS = 4
RANDOM = np.random.default_rng(0)


def numbers(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return RANDOM.normal(size=(DECISIONS, *shape)).astype(dtype)


def joints() -> JointMotion:
    states, means, commands = (numbers(2, dtype=float) for _ in range(3))
    means[0] = commands[0] = np.nan
    names = ("elbow/position", "elbow/velocity")
    return JointMotion(names, states, means, ("elbow", "wrist"), commands)


NEEDED: dict[str, Any] = {
    "name": "first",
    "stamps": 1.7e9 + 0.1 * np.arange(DECISIONS),
    "embeddings": numbers(POLICY.embedding_size),
    "chunks": numbers(*POLICY.chunk_shape),
}
"""What every rollout has."""

OF_SOME: dict[str, Any] = {
    "success": False,
    "group": "occlusion",
    "source": "shift/bag_1",
    "sha256": "a" * 64,
    "calibration": False,
    "positions": numbers(2),
    "task": "pick",
    "external": {"critic": numbers(dtype=float), "other": numbers(dtype=float)},
    "interventions": np.array([False, True, False, True]),
    "joints": joints(),
    "tokens": numbers(3, 5),
    "claim": False,
    "outcome_by": "operator",
    "judged": 0.1,
}
"""Values that are none of those by default."""


def same(one: Any, other: Any) -> bool:
    if is_dataclass(one) and not isinstance(one, type):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    if isinstance(one, Mapping):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and bool(one == other)


def test_every_field_of_a_rollout_has_a_value_here_that_is_not_its_default() -> None:
    assert [field.name for field in fields(Rollout)] == [*NEEDED, *OF_SOME]
    unlike = Rollout(**NEEDED)
    assert not any(same(getattr(unlike, name), value) for name, value in OF_SOME.items())
    (decision, *_) = Rollout(**NEEDED, **OF_SOME).decisions()
    bare = Decision(0, *(np.empty(0, np.float32),) * 2)
    assert not [
        field.name
        for field in fields(Decision)
        if same(getattr(decision, field.name), getattr(bare, field.name))
    ]


@pytest.mark.parametrize("which", ["those with", "those without", "both", "some of each"])
def test_an_archive_keeps_every_field_of_rollouts_and_decisions(
    tmp_path: Path, which: str
) -> None:
    name, source, sha256 = "second", "shift/bag_2", "b" * 64
    bare = Rollout(**NEEDED | {"name": name}, source=source, sha256=sha256)
    whole = Rollout(**NEEDED, **OF_SOME)
    some = OF_SOME | {"sha256": "c" * 64, "judged": None, "tokens": None, "positions": None}
    other = Rollout(
        **NEEDED | {"name": "third"}, **some | {"external": {"critic": numbers(dtype=float)}}
    )
    rollouts = {
        "those with": (whole,),
        "those without": (bare,),
        "both": (bare, whole),
        "some of each": (whole, other, bare),
    }[which]
    write_archive(tmp_path / "set.npz", RolloutSet(POLICY, rollouts))
    again = read_rollouts([tmp_path / "set.npz"], Topics(tokens="/policy/tokens")).rollouts
    for before, after in zip(rollouts, again, strict=True):
        assert not [
            field.name
            for field in fields(Rollout)
            if not same(getattr(before, field.name), getattr(after, field.name))
        ]
        for one, two in zip(before.decisions(), after.decisions(), strict=True):
            assert same(one, two)


def test_an_archive_keeps_what_sources_state(tmp_path: Path) -> None:
    whole = Rollout(**NEEDED, **OF_SOME)
    stated: dict[str, Any] = {
        "positions_topic": PositionsTopic(
            "/arm", "sensor_msgs/msg/JointState", ("elbow", "wrist")
        ),
        "joint_topics": ("/joint_states", "/gripper"),
        "commands_topic": "/command",
        "message_types": {
            "/critic": "std_msgs/msg/Float32",
            "/command": "sensor_msgs/msg/JointState",
        },
        "action_kind_is_known": False,
        "stated_policy": STATED,
        "was_told_task": True,
    }
    # How bags' messages were received is of bags alone.
    others = {"policy", "rollouts", "receptions"}
    assert {field.name for field in fields(RolloutSet)} - others == set(stated)
    for changes in (stated, {}):
        write_archive(tmp_path / "set.npz", RolloutSet(POLICY, (whole,), **changes))
        again = read_rollouts([tmp_path / "set.npz"])
        for name, value in changes.items():
            # The policy itself states the kind of its actions.
            expected = True if name == "action_kind_is_known" else value
            assert same(getattr(again, name), expected), name
        assert changes or again.positions_topic is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("positions_topic", "/arm"),
        ("positions_topic", {"name": "/arm", "message_type": "std_msgs/msg/Bool", "joints": []}),
        ("positions_topic", {"name": 1, "message_type": "sensor_msgs/msg/JointState"}),
        ("message_types", ["std_msgs/msg/Bool"]),
        ("message_types", {"/critic": 1}),
        ("was_told_task", "yes"),
    ],
)
def test_what_sources_cannot_state_is_refused_by_name(
    tmp_path: Path, key: str, value: Any
) -> None:
    path = tmp_path / "set.npz"
    write_archive(path, RolloutSet(POLICY, (Rollout(**NEEDED, **OF_SOME),)))
    arrays = dict(np.load(path))
    meta = json.loads(str(arrays["meta_json"])) | {key: value}
    np.savez(path, **arrays | {"meta_json": np.array(json.dumps(meta))})
    with pytest.raises(SourceError, match=f"'{key}' in 'meta_json' is "):
        read_rollouts([path])


def test_an_archive_of_before_these_fields_is_read(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    write_archive(path, RolloutSet(POLICY, (Rollout(**NEEDED, **OF_SOME),)))
    later = ("claim", "outcome_by", "judged", "has_")
    arrays = {n: a for n, a in np.load(path).items() if not n.startswith(later)}
    np.savez(path, **arrays)
    (rollout,) = read_rollouts([path]).rollouts
    assert (rollout.claim, rollout.outcome_by, rollout.judged) == (None, "", None)
    assert same(rollout.positions, OF_SOME["positions"])
    assert same(rollout.external, OF_SOME["external"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"outcome_by": np.array(["somebody"])}, "'outcome_by' of rollout 0 is 'somebody', exp"),
        ({"judged": np.array([True])}, "'judged' is bool"),
        ({"has_ee_pos": np.array([True, True])}, "'has_ee_pos' is bool"),
        ({"has_external_critic": np.array([0.5])}, "'has_external_critic' is float64"),
    ],
)
def test_wrong_ones_are_refused_by_name(
    tmp_path: Path, changes: dict[str, np.ndarray], sentence: str
) -> None:
    path = tmp_path / "set.npz"
    write_archive(path, RolloutSet(POLICY, (Rollout(**NEEDED, **OF_SOME),)))
    np.savez(path, **dict(np.load(path)) | changes)
    with pytest.raises(SourceError, match=sentence):
        read_rollouts([path])


def test_tokens_of_several_shapes_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Rollout(**NEEDED, sha256="a", tokens=numbers(3, 5))
    other = Rollout(**NEEDED, sha256="b", tokens=numbers(2, 5))
    write_archive(tmp_path / "set.npz", RolloutSet(POLICY, (one, other)))
    assert (
        "tokens are left out: the rollouts' differ in their shapes ((2, 5), (3, 5))" in caplog.text
    )
