# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score's network that ONNX Runtime takes, runs, and at some inputs cannot run."""

from __future__ import annotations

FARTHEST = 1000.0
"""A network that `failing_far_off` has changed fails where the sum of its inputs exceeds this."""


def failing_far_off(network: bytes) -> bytes:
    """Return the same network, but for inputs far off.

    There it reads the second of one number.

    Args:
        network: a serialised ONNX model of inputs (N, F) and outputs (N,).
    """
    import onnx  # here: the scripted policy, which needs FARTHEST alone, starts fast
    from onnx import TensorProto, helper

    model = onnx.load_model_from_string(network)
    graph = model.graph
    inputs, output = graph.input[0].name, graph.output[0]
    for node in graph.node:
        node.output[:] = ["own_" + name if name == output.name else name for name in node.output]
    graph.initializer.extend(
        [
            helper.make_tensor("farthest", TensorProto.FLOAT, [], [FARTHEST]),
            helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("ReduceSum", [inputs], ["sum"], keepdims=0),
            helper.make_node("Greater", ["sum", "farthest"], ["is_far"]),
            helper.make_node("Cast", ["is_far"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["nothing", "index"], ["found"]),
            helper.make_node("Add", ["own_" + output.name, "found"], [output.name]),
        ]
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()
