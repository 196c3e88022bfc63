# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How LeRobot's PI0Policy and PI05Policy are watched, of LeRobot 0.6."""

from __future__ import annotations

from failure_monitor.policies.flow_policy import FlowPolicy, follows_of, records_of


class Pi0(FlowPolicy):
    """LeRobot's PI0Policy and PI05Policy."""

    network = "paligemma_with_expert"
    records: tuple[str, ...] = records_of(network)
    follows: tuple[str, ...] = follows_of(network)
    needs: tuple[str, ...] = (*FlowPolicy.needs, "_action_queue")

    def __init__(self, kind: str) -> None:
        """Name the kind, `pi0` or `pi05`."""
        self.kind = kind
