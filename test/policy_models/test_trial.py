# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Models that depend on chance, or on the others in a batch, are refused when they are loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from torch import nn

from failure_monitor.policy_models.contract import METADATA_KEY, OnnxContractError
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import OnnxFile
from failure_monitor.policy_models.torch_to_onnx import to_onnx
from failure_monitor.policy_models.trial import try_out

ENCODER = {"contract": 1, "kind": "encoder", "joint_names": ["a", "b", "c"]}
SAMPLER = {
    "contract": 1,
    "kind": "sampler",
    "action_names": ["x", "y"],
    "action_kind": "delta",
}
WEIGHTS = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def constant(name: str, value: object, dtype: type) -> NodeProto:
    return helper.make_node(
        "Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype))
    )


def serialised(
    graph: onnx.GraphProto,
    contract: dict[str, object],
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    domains = [helper.make_opsetid("", 17), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    model = helper.make_model(graph, opset_imports=domains, functions=functions)
    model.ir_version = 8
    helper.set_model_props(model, {METADATA_KEY: json.dumps(contract)})
    content: bytes = model.SerializeToString()
    return content


def encoder(*nodes: NodeProto, functions: Sequence[onnx.FunctionProto] = ()) -> ObservationEncoder:
    """An encoder of joints, with nodes from `e` to `embedding`."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["joints", "W"], ["e"]), *nodes],
        "encoder",
        [helper.make_tensor_value_info("joints", TensorProto.FLOAT, ("N", 3))],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ("N", 8))],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    return ObservationEncoder(OnnxFile("encoder.onnx", serialised(graph, ENCODER, functions)))


def sampler(*nodes: NodeProto) -> PolicySampler:
    """A sampler of noise around what the embedding gives, with nodes from `noise` to `n`."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["embedding", "W"], ["m"]),
            constant("shape", [-1, 1, 4, 2], np.int64),
            helper.make_node("Reshape", ["m", "shape"], ["mean"]),
            *nodes,
            helper.make_node("Add", ["mean", "n"], ["chunks"]),
        ],
        "sampler",
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ("N", 3)),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ("N", "B", 4, 2)),
        ],
        [helper.make_tensor_value_info("chunks", TensorProto.FLOAT, ("N", "B", 4, 2))],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    return PolicySampler(OnnxFile("sampler.onnx", serialised(graph, SAMPLER)))


def noisy(*, to: str, seed: float | None = None) -> list[NodeProto]:
    settings = {"scale": 1e-3} | ({} if seed is None else {"seed": seed})
    return [
        helper.make_node("RandomNormalLike", ["e"], ["r"], **settings),
        helper.make_node("Add", ["e", "r"], [to]),
    ]


def in_a_branch() -> list[NodeProto]:
    """An `If` that never takes the branch that draws."""
    result = [helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)]
    drawing = helper.make_graph(noisy(to="branch"), "drawing", [], result)
    plain = helper.make_graph(
        [helper.make_node("Identity", ["e"], ["branch"])], "plain", [], result
    )
    return [
        constant("never", False, np.bool_),
        helper.make_node("If", ["never"], ["embedding"], then_branch=drawing, else_branch=plain),
    ]


def dropout(training: bool) -> list[NodeProto]:
    return [
        constant("ratio", 0.5, np.float32),
        constant("training", training, np.bool_),
        helper.make_node("Dropout", ["e", "ratio", "training"], ["embedding"]),
    ]


def test_random_operators_are_found_wherever_they_are():
    drawing = helper.make_function(
        "mine", "Drawing", ["e"], ["o"], noisy(to="o"), [helper.make_opsetid("", 17)]
    )
    for build in (
        lambda: encoder(*noisy(to="embedding")),
        lambda: encoder(*noisy(to="embedding", seed=1.0)),
        lambda: encoder(*in_a_branch()),
        lambda: encoder(
            helper.make_node("Drawing", ["e"], ["embedding"], domain="mine"), functions=[drawing]
        ),
        lambda: sampler(helper.make_node("RandomNormalLike", ["noise"], ["n"])),
    ):
        with pytest.raises(
            OnnxContractError, match=r"coder|sampler.*random numbers .* RandomNormalLike.*'noise'"
        ):
            build()


@pytest.mark.parametrize("operator", ["Bernoulli", "RandomUniformLike"])
def test_other_random_operators_are_refused(operator: str):
    with pytest.raises(OnnxContractError, match=rf"its own \(operator {operator}\)"):
        sampler(
            helper.make_node("Sigmoid", ["noise"], ["p"]), helper.make_node(operator, ["p"], ["n"])
        )


def test_dropout_is_refused_in_training_mode_alone():
    encoder(*dropout(training=False))
    with pytest.raises(OnnxContractError, match=r"different results for the same .*dropout in"):
        encoder(*dropout(training=True))


def test_statistics_over_the_batch_are_refused():
    with pytest.raises(OnnxContractError, match=r"encoder.*alone than beside others in a batch"):
        encoder(
            helper.make_node("ReduceMean", ["e"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["e", "mean"], ["embedding"]),
        )
    with pytest.raises(OnnxContractError, match=r"sampler.*alone than beside others in a batch"):
        sampler(
            constant("axis", 0, np.int64), helper.make_node("CumSum", ["noise", "axis"], ["n"])
        )


def test_batch_normalisation_is_refused_in_training_mode_alone():
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8, momentum=0.0))

    def load(training: bool) -> None:
        module.train(training)
        inputs, free = {"joints": torch.randn(4, 3)}, {"joints": "N", "embedding": "N"}
        model = onnx.load_from_string(to_onnx(module, inputs, ["embedding"], free=free))
        (node,) = [each for each in model.graph.node if each.op_type == "BatchNormalization"]
        if training:
            (mode,) = [each for each in node.attribute if each.name == "training_mode"]
            mode.i = 1
            node.output.extend(["running_mean", "running_var"])
        helper.set_model_props(model, {METADATA_KEY: json.dumps(ENCODER)})
        ObservationEncoder(OnnxFile("encoder.onnx", model.SerializeToString()))

    load(training=False)
    with pytest.raises(OnnxContractError, match=r"alone than beside others in a batch"):
        load(training=True)


def test_dynamic_quantisation_is_taken_and_computed_alone(tmp_path: Path):
    (tmp_path / "plain.onnx").write_bytes(
        encoder(helper.make_node("Identity", ["e"], ["embedding"])).file.model
    )
    quantize_dynamic(str(tmp_path / "plain.onnx"), str(tmp_path / "quantised.onnx"))
    model = onnx.load(str(tmp_path / "quantised.onnx"))
    helper.set_model_props(model, {METADATA_KEY: json.dumps(ENCODER)})
    quantised = ObservationEncoder(OnnxFile("q.onnx", model.SerializeToString()))
    joints = np.array([[0.1, 0.2, -0.1], [9.0, 9.0, -9.0]], np.float32)
    together = quantised.embed_batch({}, joints)
    alone = quantised.embed({}, joints[0])
    assert np.abs(together[0] - alone).max() > 0.01


def test_a_result_that_is_no_number_is_refused_at_once_or_the_second_time():
    with pytest.raises(OnnxContractError, match="nothing but NaN or infinite values"):
        encoder(
            helper.make_node("Sub", ["e", "e"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["embedding"]),
        )
    runs = iter([np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 2)), np.full((1, 2), np.nan)])
    file = encoder(helper.make_node("Identity", ["e"], ["embedding"])).file
    with pytest.raises(OnnxContractError, match="different results for the same inputs"):
        try_out(file, lambda _: [next(runs).astype(np.float32)], {"joints": np.zeros((2, 3))})


@pytest.mark.parametrize("half", [False, True])
def test_a_deep_sound_model_is_taken(half: bool):
    """Batches of other sizes differ in the last bits, which depth amplifies."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256), nn.GELU()) for _ in range(12)]
    module = nn.Sequential(nn.Linear(3, 256), *layers, nn.Linear(256, 8))

    class Cast(nn.Module):
        def forward(self, joints: torch.Tensor) -> torch.Tensor:
            return (module.half()(joints.half()) if half else module(joints)).float()

    cast = Cast()
    cast.module = module.half() if half else module
    inputs, free = {"joints": torch.randn(4, 3)}, {"joints": "N", "embedding": "N"}
    model = onnx.load_from_string(to_onnx(cast.eval(), inputs, ["embedding"], free=free))
    helper.set_model_props(model, {METADATA_KEY: json.dumps(ENCODER)})
    ObservationEncoder(OnnxFile("encoder.onnx", model.SerializeToString()))
