# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX file as bytes, with the weights that it keeps in other files.

Large models keep weights in files beside them and name these files. Such a name may point
anywhere, and not every version of ONNX Runtime checks it. Here a model is read as a whole: the
files that it names must be in its own folder, and ONNX Runtime gets everything from memory.

The names stand deep in a protobuf message. Only the fields that lead to them, and to the
operators, are parsed, so a node beside a robot needs no `onnx` package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names

# The messages of onnx.proto that lead to a tensor: field number to message.
_PATHS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "ExternalData"},
}
_KEY, _VALUE = 1, 2
_OPERATOR, _DOMAIN = 4, 7
_GRAPH = 7
_MAX_DEPTH = 100
"""Largest depth of nested messages, the same as protobuf's."""


class OnnxFileError(FailureMonitorError):
    """A file that is no ONNX model, or one that names files outside its folder."""


class _MalformedError(Exception):
    """Bytes that are no protobuf message."""


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A model in memory.

    Attributes:
        name: the model's name in errors.
        model: the bytes of the `.onnx` file.
        weights: the bytes of the files of weights beside it, by name; usually empty.
    """

    name: str
    model: bytes
    weights: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = sorted(_external_names(self.name, self.model) - set(self.weights))
        if missing:
            raise OnnxFileError(
                f"{self.name} keeps weights in {list_names(missing)}, which are missing: load it "
                "from its own folder, or save it again as one file"
            )

    @property
    def operators(self) -> frozenset[str]:
        """The operators of the graph, its subgraphs and functions.

        They have their names in ONNX, and those of another domain its name before theirs.
        """
        nodes = [
            dict(_fields(content))
            for kind, content in _messages(memoryview(self.model), "Model", 0)
            if kind == "Node"
        ]
        named = [(_text(node.get(_DOMAIN)), _text(node.get(_OPERATOR))) for node in nodes]
        return frozenset(
            name if domain in ("", "ai.onnx") else f"{domain}.{name}" for domain, name in named
        )

    @property
    def sha256(self) -> str:
        """The SHA-256 of the model and its weights, as hexadecimal."""
        digest = hashlib.sha256(self.model)
        for name in sorted(self.weights):
            digest.update(self.weights[name])
        return digest.hexdigest()


def read_onnx_file(path: Path) -> OnnxFile:
    """Read a model and the weights beside it.

    Raises:
        OnnxFileError: the model cannot be read, is no ONNX model, or names a file outside its
            folder.
    """
    model = _read(path)
    weights = {
        name: _read(_beside(path, name)) for name in sorted(_external_names(str(path), model))
    }
    return OnnxFile(str(path), model, weights)


def _beside(path: Path, name: str) -> Path:
    """Return the file of weights of that name beside a model.

    Caches of downloads link a model and its weights from one folder to files in another.
    """
    folders = [path.parent.resolve(), path.resolve().parent]
    found = next((file for folder in folders if (file := folder / name).exists()), None)
    beside = (folders[0] / name if found is None else found).resolve()
    if found is None and beside.is_relative_to(folders[0]):
        raise OnnxFileError(
            f"{path} keeps weights in '{name}', which is not there: put it beside the model, or "
            "save the model again as one file"
        )
    if Path(name).is_absolute() or not any(beside.is_relative_to(folder) for folder in folders):
        raise OnnxFileError(
            f"{path} keeps weights in '{name}', which is outside its folder and is not read: "
            "save it again as one file"
        )
    return beside


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OnnxFileError(
            f"cannot read the ONNX model {path}: {error.strerror or error}"
        ) from None


def _external_names(name: str, model: bytes) -> set[str]:
    try:
        fields = list(_fields(memoryview(model)))
        if not any(number == _GRAPH for number, _ in fields):
            raise _MalformedError
        return {
            _text(entry[_VALUE])
            for kind, content in _messages(memoryview(model), "Model", 0)
            if kind == "ExternalData"
            and _text((entry := dict(_fields(content))).get(_KEY)) == "location"
            and _VALUE in entry
        }
    except _MalformedError:
        raise OnnxFileError(
            f"{name} is no ONNX model ({len(model)} bytes): name the file that "
            "failure_monitor.policy_models.export wrote, whole"
        ) from None


def _messages(message: memoryview, kind: str, depth: int) -> Iterator[tuple[str, memoryview]]:
    """Yield the messages within a message, however deep, with their kinds."""
    if depth > _MAX_DEPTH:
        raise _MalformedError
    for number, content in _fields(message):
        inner = _PATHS[kind].get(number)
        if inner is not None:
            yield inner, content
            if inner in _PATHS:
                yield from _messages(content, inner, depth + 1)


def _text(content: memoryview | None) -> str:
    return "" if content is None else bytes(content).decode("utf-8", "replace")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the numbers and contents of a protobuf message's fields that hold bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _MalformedError
        if at + length > len(message):
            raise _MalformedError
        if kind == 2:
            yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise _MalformedError
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError
