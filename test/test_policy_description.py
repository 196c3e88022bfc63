# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a policy states about itself is read strictly, and compared field by field."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from failure_monitor.policy_description import (
    NOT_COMPARED,
    PolicyDescription,
    PolicyDescriptionError,
    describe_format,
)

FULL = PolicyDescription(
    policy="act",
    checkpoint="a" * 64,
    checkpoint_name="outputs/act",
    action_names=("dx", "dy", "gripper"),
    action_kind="delta",
    position_names=("dx", "dy"),
    unit="robot",
    control_period=1 / 30,
    execution="queue",
    executed_actions=8,
    guided_actions=0,
    dispersion_of="noise",
)
OTHER = PolicyDescription(
    policy="diffusion",
    checkpoint="b" * 64,
    checkpoint_name="outputs/diffusion",
    action_names=("dx", "dy", "grip"),
    action_kind="position",
    position_names=("dx",),
    unit="normalised",
    control_period=1 / 20,
    execution="ensemble",
    executed_actions=4,
    guided_actions=3,
    dispersion_of="plan",
)
NAMES = [field.name for field in fields(PolicyDescription)]


def test_what_is_published_is_read_again() -> None:
    assert PolicyDescription.from_json(FULL.to_json()) == FULL
    assert PolicyDescription.from_json(PolicyDescription().to_json()) == PolicyDescription()


def test_what_is_written_by_hand_needs_no_field() -> None:
    assert PolicyDescription.from_json('{"action_kind": "delta"}').action_kind == "delta"
    assert PolicyDescription.from_json("{}") == PolicyDescription()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid JSON"),
        ("{", "invalid JSON"),
        ("[" * 20_000, "invalid JSON"),
        ("[1]", "expected named values"),
        ("3", "expected named values"),
        ('{"kind": "delta"}', "field 'kind': unknown, expected one of version, policy"),
        ('{"action_kind": "jump"}', "field 'action_kind': expected one of 'position'"),
        ('{"checkpoint": "abc"}', "field 'checkpoint': expected a SHA-256"),
        ('{"control_period": 0}', "field 'control_period': expected a number above 0"),
        ('{"control_period": NaN}', "field 'control_period': expected a finite number"),
        ('{"executed_actions": 2.5}', "field 'executed_actions': expected an integer"),
        ('{"guided_actions": -1}', "field 'guided_actions': expected a number of at least 0"),
        ('{"executed_actions": 1%s}' % ("0" * 4000), "expected a number below 1000000, got 100"),
        ('{"version": 0}', "field 'version': expected one of 1"),
        ('{"version": true}', "field 'version': expected one of 1"),
        ('{"action_names": ["x"], "position_names": ["y"]}', r"\['y'\] are not among"),
        (
            '{"action_kind": "delta", "action_kind": "position"}',
            "field 'action_kind' stands twice",
        ),
        ('{"policy": "%s"}' % ("a" * 30_000), "it has 30014 characters, expected at most 30000"),
        ('{"%s": 1}' % ("a" * 30_000), "characters, expected at most 30000"),
    ],
)
def test_what_is_no_description_is_rejected_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(PolicyDescriptionError, match=why):
        PolicyDescription.from_json(text)


@pytest.mark.parametrize("character", ["\\ud800", "\\u0000", "\\u001b", "\\n", "\\u202e"])
@pytest.mark.parametrize("text", ['{"policy": "%s"}', '{"action_names": ["%s"]}', '{"%s": 1}'])
def test_what_no_message_or_terminal_can_show_is_rejected(text: str, character: str) -> None:
    with pytest.raises(PolicyDescriptionError, match="expected printable characters") as raised:
        PolicyDescription.from_json(text % character)
    assert str(raised.value).isprintable()


def test_what_could_not_be_read_is_known_before_it_is_published() -> None:
    assert FULL.why_unreadable() == ""
    # Of a policy that names another extra at every decision.
    endless = replace(FULL, extras=tuple(f"loss_of_step_{number}" for number in range(3000)))
    assert "characters, expected at most 30000" in endless.why_unreadable()
    assert "expected printable characters" in replace(FULL, policy="act\n").why_unreadable()


def test_names_in_any_script_are_read() -> None:
    assert PolicyDescription.from_json('{"policy": "Größe 抓"}').policy == "Größe 抓"


def test_a_newer_version_is_named() -> None:
    text = json.dumps({"version": 2, "flavour": "sweet"})
    with pytest.raises(PolicyDescriptionError, match=r"is of version 2, .* knows 1: update it"):
        PolicyDescription.from_json(text)


@pytest.mark.parametrize("name", NAMES)
def test_each_field_that_both_state_is_compared(name: str) -> None:
    # Positions are among the actions of either.
    full = replace(FULL, position_names=("dx",) if name == "action_names" else ("dx", "dy"))
    found = list(replace(full, **{name: getattr(OTHER, name)}).differences(full))
    expected = [(name, getattr(OTHER, name), getattr(FULL, name))]
    assert found == ([] if name in NOT_COMPARED else expected)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_COMPARED])
def test_what_one_does_not_state_is_no_difference_but_known_as_unstated(name: str) -> None:
    default = next(field.default for field in fields(PolicyDescription) if field.name == name)
    silent = replace(FULL, **{name: default})
    assert list(silent.differences(FULL)) == list(FULL.differences(silent)) == []
    assert list(silent.unstated(FULL)) == [name]
    assert list(FULL.unstated(silent)) == []
    assert silent.completed_by(OTHER) == replace(silent, **{name: getattr(OTHER, name)})


def test_the_number_of_guided_actions_is_stated_when_it_is_0() -> None:
    assert list(FULL.differences(replace(FULL, guided_actions=2))) == [("guided_actions", 0, 2)]


def test_periods_that_were_rounded_are_alike() -> None:
    assert not list(FULL.differences(replace(FULL, control_period=0.033)))
    assert list(FULL.differences(replace(FULL, control_period=0.03)))


def test_a_difference_names_both_checkpoints() -> None:
    other = replace(FULL, checkpoint="b" * 64, checkpoint_name="")
    assert FULL.differences_text(other) == (
        "checkpoint aaaaaaaaaaaa (outputs/act) against bbbbbbbbbbbb"
    )
    assert FULL.differences_text(replace(FULL, position_names=("dy",), control_period=0.5)) == (
        "position names dx, dy against dy; control period 0.03333 against 0.5"
    )
    assert FULL.differences_text(FULL) == ""


def test_the_name_of_another_checkpoint_does_not_complete_one() -> None:
    unnamed = replace(FULL, checkpoint_name="")
    assert unnamed.completed_by(FULL).checkpoint_name == "outputs/act"
    assert unnamed.completed_by(OTHER).checkpoint_name == ""


def test_decisions_of_other_actions_are_not_the_policys() -> None:
    assert FULL.why_not_of(FULL.action_names) == ""
    assert "carry ['x', 'y']" in FULL.why_not_of(("x", "y"))
    positions = PolicyDescription(position_names=("z",))
    assert "['z'] are not among the actions ['x', 'y']" in positions.why_not_of(("x", "y"))


def test_no_more_actions_are_executed_or_guided_than_a_chunk_has() -> None:
    names = FULL.action_names
    assert FULL.why_not_of(names, 8) == replace(FULL, guided_actions=7).why_not_of(names, 8) == ""
    assert "8 actions of a chunk are executed, and a chunk has 7" in FULL.why_not_of(names, 7)
    guided = replace(FULL, guided_actions=8)
    assert "8 leading actions of a chunk are led" in guided.why_not_of(names, 8)


def test_a_format_says_what_it_knows_of_a_policy() -> None:
    from testbed.synthetic import POLICY

    said = describe_format(replace(POLICY, control_period=0.1, guided_actions=0))
    assert (said.action_names, said.control_period) == (POLICY.action_names, 0.1)
    # That of a policy of which nobody said otherwise is no statement.
    assert said.guided_actions is None
    assert describe_format(replace(POLICY, guided_actions=2)).guided_actions == 2
