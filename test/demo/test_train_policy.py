# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from failure_monitor.demo import export
from failure_monitor.demo.policy import FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, TASKS
from failure_monitor.demo.train_policy import TrainingPlan, train_task
from failure_monitor.errors import FailureMonitorError


def export_tiny(path: Path) -> tuple[nn.Module, float]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))
    difference = export.export_onnx(
        module,
        {"x": torch.randn(4, 3)},
        "y",
        path,
        dynamic={"x": "rows"},
        metadata={"h_exec": 2, "names": ["a", "b"]},
    )
    return module, difference


def test_an_exported_model_equals_torch_for_any_batch(tmp_path: Path):
    module, difference = export_tiny(tmp_path / "tiny.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "tiny.onnx"))
    x = torch.randn(9, 3)
    (y,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert difference <= export.TOLERANCE
    assert session.get_modelmeta().custom_metadata_map["names"] == '["a", "b"]'


def test_an_export_that_differs_is_refused_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(FailureMonitorError, match="torch differ"):
        export_tiny(tmp_path / "tiny.onnx")
    assert not (tmp_path / "tiny.onnx").exists()


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
