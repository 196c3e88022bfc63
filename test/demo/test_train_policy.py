# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from failure_monitor.demo.policy import FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, TASKS
from failure_monitor.demo.train_policy import TrainingPlan, train_task


@pytest.mark.slow
def test_a_training_ends_in_models_that_the_policy_loads(tmp_path: Path):
    task = next(iter(TASKS))
    train_task(task, tmp_path, TrainingPlan(demonstrations=2, steps=2, batch=4, draws=2))
    policy = FlowPolicy(tmp_path)
    simulation = Simulation(task)
    embedding = policy.embed(simulation.render(), simulation.joint_positions)
    assert policy.joint_names == simulation.joint_names
    simulation.close()
    chunks = policy.sample(embedding, np.random.default_rng(0), samples=3)
    assert policy.task == task
    assert policy.action_names == ACTION_NAMES
    assert chunks.shape == (3, policy.horizon, 4)
