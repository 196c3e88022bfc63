# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A model reads nothing but what lies in its folder, and what is no model is called so."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from failure_monitor.policy_models.onnx_file import OnnxFile, OnnxFileError, read_onnx_file
from failure_monitor.policy_models.onnx_session import ON_THE_CPU, open_session

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)
VALUE_INFO = (
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
)


def write(folder: Path, location: str | None = None) -> Path:
    """A model that multiplies, with its weights inside or where it says that they are."""
    weights = numpy_helper.from_array(WEIGHTS, "w")
    if location is not None:
        refer(weights, location)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return save(folder, helper.make_graph(nodes, "g", *VALUE_INFO, [weights]))


def refer(tensor: TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def save(folder: Path, graph: onnx.GraphProto) -> Path:
    folder.mkdir(exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def multiply(file: OnnxFile) -> np.ndarray:
    session = open_session(file, ON_THE_CPU).session
    return session.run(None, {"x": np.eye(3, dtype=np.float32)})[0]


def test_a_model_of_one_file_runs_as_it_was_read(tmp_path: Path):
    path = write(tmp_path)
    file = read_onnx_file(path)
    path.unlink()
    np.testing.assert_array_equal(multiply(file), WEIGHTS)
    assert not file.weights


@pytest.mark.parametrize("location", ["weights.bin", "parts/weights.bin", "./weights.bin"])
def test_weights_in_the_models_folder_are_read_with_it(
    tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
):
    path = write(tmp_path, location)
    (tmp_path / "parts").mkdir()
    (tmp_path / location).write_bytes(WEIGHTS.tobytes())
    file = read_onnx_file(path)
    # Neither the files nor the place where the process runs matter any more.
    path.unlink()
    (tmp_path / location).unlink()
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(multiply(file), WEIGHTS)


def test_a_model_and_weights_that_are_links_into_a_cache_are_read(tmp_path: Path):
    path = write(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(WEIGHTS.tobytes())
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for file, blob in ((path, "0a1b"), (tmp_path / "weights.bin", "2c3d")):
        file.rename(blobs / blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob)
    np.testing.assert_array_equal(multiply(read_onnx_file(snapshot / path.name)), WEIGHTS)


def test_the_hash_is_of_the_weights_too(tmp_path: Path):
    path = write(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(WEIGHTS.tobytes())
    before = read_onnx_file(path).sha256
    (tmp_path / "weights.bin").write_bytes((WEIGHTS + 1).tobytes())
    assert read_onnx_file(path).sha256 != before


@pytest.mark.parametrize("location", ["../secret.bin", "{folder}/secret.bin", "link.bin"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(WEIGHTS.tobytes())
    path = write(tmp_path / "model", location.format(folder=tmp_path))
    os.symlink(secret, tmp_path / "model" / "link.bin")
    with pytest.raises(OnnxFileError, match=r"keeps weights in '.*', which is outside its folder"):
        read_onnx_file(path)


@pytest.mark.parametrize("place", ["constant", "subgraph", "sparse", "function"])
def test_weights_outside_the_folder_are_found_wherever_a_model_names_them(
    tmp_path: Path, place: str
):
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    refer(tensor, "../secret.bin")
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    graph = helper.make_graph([constant], "g", [], VALUE_INFO[1])
    if place == "subgraph":
        branches = {"then_branch": graph, "else_branch": graph}
        graph = helper.make_graph([helper.make_node("If", ["x"], ["y"], **branches)], "h", [], [])
    elif place == "sparse":
        indices = numpy_helper.from_array(np.arange(12), "i")
        sparse = helper.make_sparse_tensor(tensor, indices, [3, 4])
        graph = helper.make_graph([], "g", [], [], sparse_initializer=[sparse])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    if place == "function":
        model.graph.ClearField("node")
        model.functions.append(
            helper.make_function("d", "f", [], ["w"], [constant], model.opset_import)
        )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(OnnxFileError, match="outside its folder"):
        read_onnx_file(tmp_path / "model" / "m.onnx")


def test_a_model_in_memory_without_its_weights_is_refused(tmp_path: Path):
    model = write(tmp_path, "weights.bin").read_bytes()
    with pytest.raises(
        OnnxFileError, match=r"encoder keeps weights in weights\.bin, which are missing"
    ):
        OnnxFile("encoder", model)


def test_weights_that_are_missing_are_named(tmp_path: Path):
    with pytest.raises(
        OnnxFileError, match=r"keeps weights in 'weights\.bin', which is not there"
    ):
        read_onnx_file(write(tmp_path, "weights.bin"))


def test_a_file_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(OnnxFileError, match=r"cannot read the ONNX model .*none\.onnx: No such"):
        read_onnx_file(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"no model at all", b"\x7fELF" + bytes(100), b"\x08\x0a", b"\x80\x04]q\x00."],
    ids=["empty", "text", "elf", "no graph", "pickle"],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxFileError, match=rf"is no ONNX model \({len(content)} bytes\)"):
        read_onnx_file(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_model_that_is_cut_off_is_refused(tmp_path: Path, share: float):
    content = write(tmp_path).read_bytes()
    with pytest.raises(OnnxFileError, match="is no ONNX model"):
        OnnxFile("m", content[: int(share * len(content))])


def wrapped(number: int, content: bytes) -> bytes:
    """A protobuf field of this number that holds bytes."""
    length, size = len(content), b""
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def test_messages_that_lie_in_one_another_without_end_are_refused():
    graph = b""
    for _ in range(2000):
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))  # of an attribute, of a node
    with pytest.raises(OnnxFileError, match="is no ONNX model"):
        OnnxFile("m", wrapped(7, graph))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_an_error_that_says_so(content: bytes):
    with suppress(OnnxFileError):
        OnnxFile("m", content)
