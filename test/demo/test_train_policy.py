# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from failure_monitor.demo import train_policy
from failure_monitor.demo.demonstrations import Demonstrations
from failure_monitor.demo.policy import FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, TASKS
from failure_monitor.demo.train_policy import TrainingPlan, train, train_task


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


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch):
    random = np.random.default_rng(0)
    data = Demonstrations(
        images=random.integers(0, 255, (6, 16, 16, 3), dtype=np.uint8),
        joints=random.normal(size=(6, 9)).astype(np.float32),
        chunks=random.normal(size=(6, 8, 4)).astype(np.float32),
        seconds=np.ones(1),
        attempts=1,
    )
    plan = TrainingPlan(steps=4, batch=2, draws=2)
    whole = train(data, plan)
    monkeypatch.setattr("failure_monitor.demo.train_policy._KEPT_STEPS", 2)
    kept = tmp_path / "training.pt"
    monkeypatch.setattr(
        "failure_monitor.demo.train_policy._draw", interrupted_at(3, train_policy._draw)
    )
    with pytest.raises(KeyboardInterrupt):
        train(data, plan, checkpoint=kept)
    monkeypatch.undo()
    resumed = train(data, plan, checkpoint=kept)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def interrupted_at(step: int, draw):
    """Draw as ever, until a training is interrupted in a step."""
    steps = iter(range(1, step))

    def drawn(frames, count):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return draw(frames, count)

    return drawn
