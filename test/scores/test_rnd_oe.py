# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What random network distillation must learn, and what its export must keep."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.policy_models.onnx_file import OnnxFileError
from failure_monitor.policy_models.onnx_network import OnnxNetwork, OnnxNetworkError
from failure_monitor.policy_models.torch_to_onnx import ExportError, export_network
from failure_monitor.scores.base.score import ScoreUndefinedError
from failure_monitor.scores.rnd_oe import RandomNetworkDistillation


@pytest.fixture(scope="module")
def score(rollouts, policy):
    return fit_score("rnd_oe", rollouts, policy, seed=0)


def test_it_is_larger_far_away_than_on_fitting_data(score, rollouts):
    far = dataclasses.replace(rollouts[0], embeddings=rollouts[0].embeddings + 3)
    assert score.score_rollout(far).min() > 2 * score.score_rollout(rollouts[0]).max()


def test_both_forms_agree(score, rollouts):
    streamed = [score.update(decision) for decision in rollouts[0].decisions()]
    np.testing.assert_allclose(score.score_rollout(rollouts[0]), streamed, rtol=1e-5)


def test_a_stored_score_is_the_same_score(score, rollouts):
    again = RandomNetworkDistillation.from_state(score.state())
    np.testing.assert_array_equal(
        again.score_rollout(rollouts[1]), score.score_rollout(rollouts[1])
    )


def test_the_same_seed_gives_the_same_model(score, rollouts, policy):
    again = fit_score("rnd_oe", rollouts, policy, seed=0)
    other = fit_score("rnd_oe", rollouts, policy, seed=1)
    assert again.state().models == score.state().models
    assert other.state().models != score.state().models


def test_a_feature_that_is_constant_when_fitting_cannot_explode(rollouts, policy):
    constant = np.float32([1, 1, 1, 1, 1, 0])
    fitting = [dataclasses.replace(r, embeddings=r.embeddings * constant) for r in rollouts]
    score = fit_score("rnd_oe", fitting, policy, seed=0)
    moved = dataclasses.replace(
        fitting[0], embeddings=fitting[0].embeddings + np.float32([0, 0, 0, 0, 0, 1e-3])
    )
    np.testing.assert_allclose(
        score.score_rollout(moved), score.score_rollout(fitting[0]), rtol=1e-5
    )


def test_embeddings_that_never_change_are_refused(rollouts, policy):
    same = [dataclasses.replace(r, embeddings=np.ones_like(r.embeddings)) for r in rollouts]
    with pytest.raises(ScoreUndefinedError, match="the same at every decision"):
        fit_score("rnd_oe", same, policy, seed=0)


def test_an_export_that_computes_something_else_is_refused():
    class Unstable(torch.nn.Module):
        calls = 0

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            # Traced on its first call, compared on its second.
            self.calls += 1
            return inputs.sum(dim=1) * self.calls

    with pytest.raises(ExportError, match="differs from torch"):
        export_network(Unstable(), torch.ones(4, 3))


def test_a_file_that_is_no_model_is_refused_by_name():
    with pytest.raises(OnnxFileError, match="rnd_oe is no ONNX model"):
        OnnxNetwork(b"not a model", name="rnd_oe")


def test_a_model_that_onnx_runtime_does_not_know_is_refused_by_name():
    unknown = onnx.helper.make_node("NoSuchOperator", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([unknown], "unknown", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph).SerializeToString()
    with pytest.raises(OnnxNetworkError, match="rnd_oe: ONNX Runtime cannot load"):
        OnnxNetwork(model, name="rnd_oe")
