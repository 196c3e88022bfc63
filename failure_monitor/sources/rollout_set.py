# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of one policy, as every command works on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.source import Reception


@dataclass(frozen=True, eq=False)
class RolloutSet:
    """Rollouts of one policy.

    Attributes:
        policy: The format that all rollouts share.
        rollouts: At least one rollout, in the order of the sources.
        receptions: How the messages of rollouts in bags were received, by a rollout's SHA-256.
        positions_topic: The topic with the measured positions; None if no source names it.
        joint_topics: The topics of joint states in bags; none if no source has any.
        message_types: The types of the topics of external scores, cameras and commands, where bags
            had them.
        commands_topic: The topic of the commands as sent; empty if no source names it.
        action_kind_is_known: Whether the kind of the actions was stated, and is not the default.
        stated_policy: What the policy stated about itself in any source; None if nothing.
        was_told_task: Whether an encoder embedded some of them for the task that they state.
    """

    policy: PolicyFormat
    rollouts: tuple[Rollout, ...]
    receptions: Mapping[str, Reception] = field(default_factory=dict)
    positions_topic: PositionsTopic | None = None
    joint_topics: tuple[str, ...] = ()
    message_types: Mapping[str, str] = field(default_factory=dict)
    commands_topic: str = ""
    action_kind_is_known: bool = True
    stated_policy: PolicyDescription | None = None
    was_told_task: bool = False
