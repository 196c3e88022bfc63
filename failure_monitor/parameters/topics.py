# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Names of topics that are the default in several places."""

from __future__ import annotations

EMBEDDING_TOPIC = "policy/embedding"
ACTION_CHUNKS_TOPIC = "policy/action_chunks"
TOKENS_TOPIC = "policy/tokens"
POLICY_FORMAT_TOPIC = "policy/format"
JOINT_STATES_TOPIC = "joint_states"
ROLLOUT_TOPIC = "rollout/active"
LABEL_TOPIC = "rollout/label"
OUTCOME_TOPIC = "failure_monitor/outcome"
INTERVENTION_TOPIC = "intervention"
PERMIT_TOPIC = "failure_monitor/permit"
SPEED_SCALE_TOPIC = "failure_monitor/speed_scale"

EXTERNAL_NAME = "[A-Za-z][A-Za-z0-9_]*"
"""A regular expression for the names of external scores, which are part of a topic."""


def external_topic(name: str) -> str:
    """Return the default topic of the external score of that name."""
    return f"external_scores/{name}"


def judge_topic(name: str) -> str:
    """Return the topic of plain numbers of the outside judge of that name, std_msgs/Float64."""
    return f"judges/{name}/number"


def judge_answer_topic(name: str) -> str:
    """Return the topic of its numbers with the rollouts that they are of, std_msgs/String."""
    return f"judges/{name}/answer"
