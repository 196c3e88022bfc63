# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes rollouts as the arrays of an archive."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from failure_monitor.decision import Rollout
from failure_monitor.schema import plain
from failure_monitor.sources.archive_arrays import EMBEDDINGS, EXTERNAL, FLOATS, HAS, Array
from failure_monitor.sources.archive_joints import written_joints
from failure_monitor.sources.rollout_set import RolloutSet

logger = logging.getLogger(__name__)


def arrays_of(rollout_set: RolloutSet) -> dict[str, Array]:
    """Return the arrays of an archive of rollouts, by their names."""
    policy, rollouts = rollout_set.policy, rollout_set.rollouts
    lengths = np.array([len(rollout) for rollout in rollouts])
    meta: dict[str, Any] = {
        "action_names": policy.action_names,
        # What nobody stated would contradict a bundle for which it was.
        **({"action_kind": policy.action_kind} if rollout_set.action_kind_is_known else {}),
        "position_dims": [policy.action_names.index(name) for name in policy.position_names],
        "exec_horizon": policy.executed_actions,
        "control_period": policy.control_period,
    }
    if rollout_set.stated_policy is not None:
        meta["stated_policy"] = plain(rollout_set.stated_policy)
    joints, joint_names = written_joints([r.joints for r in rollouts], lengths.tolist())
    meta |= joint_names
    if joint_names and rollout_set.joint_topics:
        meta["joint_topics"] = rollout_set.joint_topics
    if rollout_set.positions_topic is not None:
        meta["positions_topic"] = plain(rollout_set.positions_topic)
    if rollout_set.message_types:
        meta["message_types"] = dict(rollout_set.message_types)
    if rollout_set.was_told_task:
        meta["was_told_task"] = True
    if "command_names" in joint_names and rollout_set.commands_topic:
        topic = rollout_set.commands_topic
        meta["commands_topic"], meta["commands_type"] = topic, rollout_set.message_types[topic]
    return {
        "action_chunks": np.concatenate([rollout.chunks for rollout in rollouts]),
        "stamp": np.concatenate([rollout.stamps for rollout in rollouts]),
        "episode_start": np.cumsum(lengths) - lengths,
        "episode_length": lengths,
        "success": np.array([bool(rollout.success) for rollout in rollouts]),
        "success_known": np.array([rollout.success is not None for rollout in rollouts]),
        "is_calibration": np.array([bool(rollout.calibration) for rollout in rollouts]),
        "calibration_known": np.array([r.calibration is not None for r in rollouts]),
        "subtype": np.array([rollout.group for rollout in rollouts]),
        "task": np.array([rollout.task for rollout in rollouts]),
        "name": np.array([rollout.name for rollout in rollouts]),
        "source": np.array([rollout.source for rollout in rollouts]),
        "sha256": np.array([rollout.sha256 for rollout in rollouts]),
        "meta_json": np.array(json.dumps(meta)),
        **(
            {EMBEDDINGS: np.concatenate([rollout.embeddings for rollout in rollouts])}
            if policy.embedding_size
            else {}
        ),
        "claim": np.array([bool(rollout.claim) for rollout in rollouts]),
        "has_claim": np.array([rollout.claim is not None for rollout in rollouts]),
        "outcome_by": np.array([rollout.outcome_by for rollout in rollouts]),
        **_numbers("judged", [rollout.judged for rollout in rollouts]),
        **_of_decisions("intervention", [rollout.interventions for rollout in rollouts], rollouts),
        **_tokens(rollouts),
        **_of_decisions("ee_pos", [rollout.positions for rollout in rollouts], rollouts),
        **{
            array: values
            for name in sorted({name for rollout in rollouts for name in rollout.external})
            for array, values in _of_decisions(
                f"{EXTERNAL}{name}", [rollout.external.get(name) for rollout in rollouts], rollouts
            ).items()
        },
        **joints,
    }


def _numbers(name: str, numbers: Sequence[float | None]) -> dict[str, Array]:
    """Return the array of one number of each rollout that has it; none if no rollout has."""
    has = np.array([number is not None for number in numbers])
    if not has.any():
        return {}
    values = np.array([math.nan if number is None else number for number in numbers])
    return {name: values, HAS + name: has}


def _of_decisions(
    name: str, values: Sequence[Array | None], rollouts: Sequence[Rollout]
) -> dict[str, Array]:
    """Return the array of values at the decisions of rollouts that have them, and which do."""
    there = [own for own in values if own is not None]
    if not there:
        return {}
    # Readers that know of no rollouts without must not take 0 for a measured value.
    nothing = np.nan if there[0].dtype.kind == FLOATS else 0
    filled = [
        np.full((len(rollout), *there[0].shape[1:]), nothing, there[0].dtype)
        if own is None
        else own
        for own, rollout in zip(values, rollouts, strict=True)
    ]
    arrays = {name: np.concatenate(filled)}
    if len(there) < len(values):
        arrays[HAS + name] = np.array([own is not None for own in values])
    return arrays


def _tokens(rollouts: Sequence[Rollout]) -> dict[str, Array]:
    shapes = {rollout.tokens.shape[1:] for rollout in rollouts if rollout.tokens is not None}
    if len(shapes) > 1:
        logger.warning(
            "tokens are left out: the rollouts' differ in their shapes (%s), and an archive holds "
            "those of one; archive the rollouts of each shape by themselves",
            ", ".join(map(str, sorted(shapes))),
        )
        return {}
    return _of_decisions("tokens", [rollout.tokens for rollout in rollouts], rollouts)
