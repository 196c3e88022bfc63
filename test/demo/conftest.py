# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated robot and its policy, one task at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import TASKS


@pytest.fixture(scope="module", params=sorted(TASKS))
def simulation(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    simulation = Simulation(request.param)
    yield simulation
    simulation.close()


@pytest.fixture
def flow_policy(simulation: Simulation) -> FlowPolicy:
    return FlowPolicy(MODELS / simulation.task.name)
