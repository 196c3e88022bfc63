# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What policies state about themselves in bags and archives, and rollouts of different ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testbed.bags import (
    ACTIVE,
    BEGIN,
    CHUNKS,
    EMBEDDING,
    FORMAT,
    PERIOD,
    STORAGES,
    BagBuilder,
    decision_arrays,
)

from failure_monitor.errors import UsageError
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.reading_options import ReadingOptions, StatedActions
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics

ACT = PolicyDescription(
    policy="act",
    checkpoint="a" * 64,
    checkpoint_name="outputs/act",
    action_names=("dx", "dy", "gripper"),
    action_kind="delta",
    position_names=("dx", "dy"),
    control_period=0.05,
    executed_actions=2,
    guided_actions=1,
)
OTHER = replace(ACT, checkpoint="b" * 64, checkpoint_name="outputs/other")


def write(
    path: Path,
    statements: dict[float, PolicyDescription | str] | None = None,
    *,
    rollouts: int = 1,
    storage: str = "mcap",
    seed: int = 0,
) -> Path:
    """Write a bag with rollouts of five decisions, one every second, from second 0, 10, ... on.

    Statements are by the second at which they are received.
    """
    embeddings, chunks = decision_arrays(5 * rollouts, seed=seed)
    events: list[tuple[int, Any]] = []
    for number in range(rollouts):
        begin = BEGIN + number * 100 * PERIOD
        events += [(begin - 1, True), (begin + 45 * PERIOD, False)]
        events += [(begin + at * 10 * PERIOD, 5 * number + at) for at in range(5)]
    for second, stated in (statements or {}).items():
        text = stated if isinstance(stated, str) else stated.to_json()
        events.append((BEGIN + round(second * 10 * PERIOD), text))
    with BagBuilder(path, storage) as bag:
        for time, event in sorted(events, key=lambda pair: pair[0]):
            if isinstance(event, bool):
                bag.flag(ACTIVE, event, time)
            elif isinstance(event, str):
                bag.text(FORMAT, event, time)
            else:
                bag.embedding(embeddings[event], time)
                bag.chunks(chunks[event], time)
    return path


def refusal(*paths: Path, **options: Any) -> str:
    with pytest.raises(SourceError) as refused:
        read_rollouts(list(paths), **options)
    return str(refused.value)


@pytest.mark.parametrize("storage", STORAGES)
def test_what_the_policy_stated_needs_no_option(tmp_path: Path, storage: str) -> None:
    path = tmp_path / ("bag.bag" if storage.startswith("ros1") else "bag")
    read = read_rollouts([write(path, {-1: ACT}, storage=storage)])
    assert read.stated_policy == ACT
    assert read.action_kind_is_known
    policy = read.policy
    assert (policy.action_kind, policy.position_names) == ("delta", ("dx", "dy"))
    assert (policy.executed_actions, policy.control_period, policy.guided_actions) == (2, 0.05, 1)


def test_a_bag_without_a_statement_is_read_as_before(tmp_path: Path) -> None:
    read = read_rollouts([write(tmp_path / "bag")], executed_actions=3)
    assert read.stated_policy is None
    assert not read.action_kind_is_known
    assert (read.policy.action_kind, read.policy.executed_actions) == ("position", 3)
    assert (read.policy.control_period, read.policy.guided_actions) == (None, 0)


@pytest.mark.parametrize(
    "received",
    [(-60,), (1.5,), (4.7,), (-60, -5), (-5, 2.5)],
    ids=["long before", "late", "after the rollout", "again", "again in the rollout"],
)
def test_a_statement_is_of_the_whole_rollout(tmp_path: Path, received: tuple[float, ...]) -> None:
    bag = write(tmp_path / "bag", dict.fromkeys(received, ACT))
    assert read_rollouts([bag]).stated_policy == ACT


def test_the_policy_before_the_rollout_is_not_the_rollouts(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", {-5: OTHER, -1: ACT, 4.8: OTHER})
    assert read_rollouts([bag]).stated_policy == ACT


def test_a_statement_may_come_a_moment_after_the_decision_that_it_is_of(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", {-1: OTHER, 0.3: ACT})
    assert read_rollouts([bag]).stated_policy == ACT


def test_a_policy_that_changes_in_the_middle_of_a_rollout_is_rejected(tmp_path: Path) -> None:
    sentence = refusal(write(tmp_path / "bag", {-1: ACT, 2.5: OTHER}))
    assert f"{tmp_path / 'bag'}: by {FORMAT} the policy changed in the middle of bag" in sentence
    assert "(checkpoint aaaaaaaaaaaa (outputs/act) against bbbbbbbbbbbb (outputs/other))" in (
        sentence
    )
    assert "changed in the middle" in refusal(write(tmp_path / "late", {1.5: ACT, 2.5: OTHER}))


def test_rollouts_of_different_policies_in_one_bag_are_rejected(tmp_path: Path) -> None:
    sentence = refusal(write(tmp_path / "bag", {-1: ACT, 5: OTHER}, rollouts=2))
    assert f"by {FORMAT} the policy of bag/000 is not that of bag/001 (checkpoint" in sentence


def test_only_what_the_checkpoint_is_called_may_change(tmp_path: Path) -> None:
    moved = replace(ACT, checkpoint_name="/elsewhere")
    bag = write(tmp_path / "bag", {-1: ACT, 5: moved}, rollouts=2)
    assert len(read_rollouts([bag]).rollouts) == 2


def test_one_that_states_less_contradicts_nothing(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", {-1: PolicyDescription(policy="act"), 2.5: ACT})
    assert read_rollouts([bag]).stated_policy == ACT


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "invalid JSON"),
        ('{"version": 3}', "of version 3"),
        ('{"action_kind": "x"}', "field 'action_kind'"),
    ],
)
def test_what_is_no_statement_is_rejected_with_its_place(
    tmp_path: Path, text: str, why: str
) -> None:
    bag = write(tmp_path / "bag", {-2: ACT, -1: text})
    sentence = refusal(bag)
    assert sentence.startswith(f"{bag}, {FORMAT}, message 1: ")
    assert why in sentence
    assert "--format-topic ''" in sentence
    assert read_rollouts([bag], Topics(format="")).stated_policy is None


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        (PolicyDescription(action_names=("x", "y")), r"it names the actions ['x', 'y']"),
        (PolicyDescription(position_names=("z",)), "its position_names ['z'] are not among"),
    ],
)
def test_a_statement_on_other_actions_is_rejected(
    tmp_path: Path, stated: PolicyDescription, why: str
) -> None:
    sentence = refusal(write(tmp_path / "bag", {-1: stated}))
    assert f"{tmp_path / 'bag'}: on {FORMAT}, {why}" in sentence


def test_a_statement_on_longer_chunks_is_rejected_with_its_source(tmp_path: Path) -> None:
    sentence = refusal(write(tmp_path / "bag", {-1: replace(ACT, executed_actions=30)}))
    assert str(tmp_path / "bag") in sentence
    assert "it states that 30 actions of a chunk are executed, and a chunk has" in sentence
    assert "--format-topic ''" in sentence


def test_sources_of_different_policies_are_rejected_with_both_named(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", {-1: ACT}), write(tmp_path / "other", {-1: OTHER}, seed=1)
    sentence = refusal(one, other)
    assert f"one ({one}) and other ({other}) are not of the same policy" in sentence
    assert "aaaaaaaaaaaa (outputs/act) against bbbbbbbbbbbb (outputs/other)" in sentence


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "normalised"},
        {"execution": "ensemble"},
        {"control_period": 0.1},
        {"guided_actions": 0},
        {"executed_actions": 3},
        {"dispersion_of": "plan"},
        {"action_kind": "velocity"},
    ],
    ids=str,
)
def test_sources_that_were_executed_differently_are_rejected(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    first = replace(ACT, unit="robot", execution="queue", dispersion_of="noise")
    one = write(tmp_path / "one", {-1: first})
    other = write(tmp_path / "other", {-1: replace(first, **change)}, seed=1)
    name = next(iter(change)).replace("_", " ")
    assert f"are not of the same policy, by what it stated ({name} " in refusal(one, other)


def test_periods_that_were_rounded_are_of_one_policy(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {-1: ACT})
    other = write(tmp_path / "other", {-1: replace(ACT, control_period=0.0505)}, seed=1)
    assert read_rollouts([one, other]).policy.control_period == 0.05
    first, second = ReadingOptions(jobs=1).read_groups([[one], [other]])
    assert first.policy == second.policy
    with pytest.raises(UsageError, match=r"'--control-period 0\.1' contradicts"):
        read_rollouts([one], control_period=0.1)


def test_groups_of_different_policies_are_rejected(tmp_path: Path) -> None:
    silent = write(tmp_path / "silent")
    one = write(tmp_path / "one", {-1: replace(ACT, action_kind=None)}, seed=1)
    other = write(tmp_path / "other", {-1: replace(OTHER, action_kind=None)}, seed=2)
    stated = StatedActions("delta", ("dx", "dy"), 2)
    options = ReadingOptions(jobs=1)
    with pytest.raises(SourceError, match=r"other .* is of another policy, by what it stated"):
        options.read_groups([[one], [other]], stated)
    with pytest.raises(SourceError, match=r"other .* is of another policy, by what it stated"):
        options.read_groups([[silent], [one], [other]], stated)


def test_a_bag_that_states_nothing_is_taken_beside_one_that_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent, stated = write(tmp_path / "silent"), write(tmp_path / "stated", {-1: ACT}, seed=1)
    read = read_rollouts([silent, stated])
    assert read.stated_policy == ACT
    assert "the policy of 1 rollouts stated nothing about itself (silent)" in caplog.text


@pytest.mark.parametrize(
    ("option", "given", "sentence"),
    [
        ("action_kind", "position", "'--action-kind position' contradicts .* stated delta"),
        ("position_names", ("dx",), "'--position-names dx' contradicts .* stated dx,dy"),
        ("executed_actions", 3, "'--executed-actions 3' contradicts .* stated 2"),
    ],
)
def test_an_option_does_not_contradict_what_the_policy_stated(
    tmp_path: Path, option: str, given: Any, sentence: str
) -> None:
    bag = write(tmp_path / "bag", {-1: ACT})
    with pytest.raises(UsageError, match=sentence):
        read_rollouts([bag], **{option: given})
    read_rollouts([bag], **{option: getattr(ACT, option)})
    corrected = read_rollouts([bag], Topics(format=""), **{option: given})
    assert getattr(corrected.policy, option) == given


def test_an_option_completes_what_the_policy_did_not_state(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", {-1: replace(ACT, executed_actions=None)})
    assert read_rollouts([bag], executed_actions=4).policy.executed_actions == 4


def test_a_topic_of_that_name_of_another_type_is_named(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    embeddings, chunks = decision_arrays(1)
    with BagBuilder(bag) as builder:
        builder.flag(FORMAT, True, BEGIN)
        builder.embedding(embeddings[0], BEGIN + 1)
        builder.chunks(chunks[0], BEGIN + 1)
    sentence = refusal(bag)
    assert f"{FORMAT} is a std_msgs/msg/Bool, expected a std_msgs/msg/String" in sentence
    assert "none with --format-topic ''" in sentence
    assert read_rollouts([bag], Topics(format="")).stated_policy is None


def test_an_archive_keeps_what_the_policy_stated(tmp_path: Path) -> None:
    read = read_rollouts([write(tmp_path / "bag", {-1: ACT})])
    path = tmp_path / "rollouts.npz"
    write_archive(path, read)
    again = read_rollouts([path])
    assert again.stated_policy == ACT
    assert again.policy == read.policy
    assert read_rollouts([path], Topics(format="")).stated_policy is None
    with pytest.raises(
        UsageError, match=r"'--action-kind position' contradicts the policy of bag"
    ):
        read_rollouts([path], action_kind="position")
    other = write(tmp_path / "other", {-1: OTHER}, seed=1)
    assert "are not of the same policy, by what it stated" in refusal(path, other)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"version": 2}, "of version 2"),
        (["act"], "expected named values"),
        ({"action_names": ["x"]}, "it names the actions ['x']"),
    ],
)
def test_an_archive_with_another_statement_is_rejected(
    tmp_path: Path, stated: Any, why: str
) -> None:
    path = tmp_path / "rollouts.npz"
    write_archive(path, read_rollouts([write(tmp_path / "bag", {-1: ACT})]))
    arrays = dict(np.load(path))
    meta = json.loads(str(arrays["meta_json"])) | {"stated_policy": stated}
    np.savez(path, **arrays | {"meta_json": np.array(json.dumps(meta))})
    sentence = refusal(path)
    assert sentence.startswith(f"{path}: 'stated_policy' in 'meta_json': ")
    assert why in sentence
    assert read_rollouts([path], Topics(format="")).stated_policy is None


def test_the_topics_of_the_policy_are_apart(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")
    for topic in (EMBEDDING, CHUNKS, ACTIVE):
        with pytest.raises(UsageError, match="two meanings"):
            read_rollouts([bag], Topics(format=topic))


@pytest.mark.parametrize(
    ("execution", "executed", "waits"),
    [("queue", 2, True), ("ensemble", 1, True), ("queue", None, False), ("server", 2, False)],
)
def test_whether_the_robot_waits_for_its_policy_follows_from_how_chunks_are_executed(
    tmp_path, execution, executed, waits
):
    stated = replace(ACT, execution=execution, executed_actions=executed)
    first = read_rollouts([write(tmp_path / "stated", {-0.2: stated})])
    assert first.policy.waits is waits
    write_archive(tmp_path / "kept.npz", first)
    assert read_rollouts([tmp_path / "kept.npz"]).policy.waits is waits
    silent = write(tmp_path / "silent", seed=1)
    assert read_rollouts([silent], like=first.policy).policy.waits is waits
