# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What tests of nodes share: a node that plays the policy, and decisions for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from failure_monitor.decision import Decision, PolicyFormat, Rollout

if TYPE_CHECKING:
    from testbed.ros_graph import Observer


@pytest.fixture
def observer(policy: PolicyFormat) -> Iterator[Observer]:
    from testbed.ros_graph import Observer, observing  # needs ROS

    with observing(Observer, policy.action_names) as observer:
        observer.listen_to_monitor()
        yield observer


@pytest.fixture
def decision(rollouts: list[Rollout]) -> Decision:
    return next(rollouts[0].decisions())


@pytest.fixture
def strange(decision: Decision) -> Decision:
    """A decision that is above every threshold."""
    return dataclasses.replace(decision, embedding=decision.embedding + 5)
