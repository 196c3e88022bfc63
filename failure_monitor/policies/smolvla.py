# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How LeRobot's SmolVLAPolicy is watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from failure_monitor.policies.flow_policy import FlowPolicy, follows_of, records_of


class SmolVLA(FlowPolicy):
    """LeRobot's SmolVLAPolicy."""

    kind = "smolvla"
    network = "vlm_with_expert"
    records: tuple[str, ...] = records_of(network)
    follows: tuple[str, ...] = follows_of(network)
    needs: tuple[str, ...] = (
        *FlowPolicy.needs,
        "_get_action_chunk",
        "_queues",
        "config.adapt_to_pi_aloha",
    )

    def predict(self, policy: Any, batch: Any) -> Any:
        """Let a policy predict a chunk: `select_action` has prepared the observation in place."""
        return policy._get_action_chunk(batch)

    def queued(self, policy: Any) -> Sequence[Any]:
        """Return the actions of the queue."""
        return list(policy._queues["action"])

    def _actions(self, policy: Any, sampled: Any) -> Any:
        actions = super()._actions(policy, sampled)
        if policy.config.adapt_to_pi_aloha:
            return policy._pi_aloha_encode_actions(actions)
        return actions
