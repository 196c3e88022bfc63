# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of an exported encoder or sampler: its metadata beside its graph.

An ONNX graph holds the names, shapes and dtypes of inputs and outputs. What the numbers mean
stands in the model's metadata, as JSON under one key. The page docs/onnx_contract.md is for those
who write such models.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from failure_monitor.decision import ActionKind
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.schema import SchemaError, above, not_empty, read

CONTRACT_VERSION = 1
METADATA_KEY = "failure_monitor"
"""Key of the contract in a model's `metadata_props`."""

EMBEDDING, NOISE, CHUNKS = "embedding", "noise", "chunks"
"""Names of inputs and outputs; the names of cameras are free."""

NoiseDistribution = Literal["standard_normal", "uniform"]


class OnnxContractError(FailureMonitorError):
    """A model that does not follow the contract of docs/onnx_contract.md."""


def _distinct(names: tuple[str, ...]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        raise ValueError(f"names must be distinct and not empty, got {list(names)}")


Names = Annotated[tuple[str, ...], _distinct]


@dataclass(frozen=True, kw_only=True)
class EncoderContract:
    """The contract of an observation encoder.

    Attributes:
        contract: the version of the contract.
        kind: the kind of model.
        cameras: the names of the inputs that are images.
        joint_names: the joints of the input `joints`, in its order; empty without this input.
    """

    contract: Literal[1]
    kind: Literal["encoder"]
    cameras: Names = ()
    joint_names: Names = ()

    def __post_init__(self) -> None:
        """Check the inputs.

        Raises:
            ValueError: there is none, or a name has two meanings.
        """
        if JOINTS in self.cameras:
            raise ValueError(f"a camera cannot be named '{JOINTS}', the name of the joints' input")
        if not self.cameras and not self.joint_names:
            raise ValueError("an encoder needs a camera or joints")


@dataclass(frozen=True, kw_only=True)
class SamplerContract:
    """The contract of a policy sampler.

    Attributes:
        contract: the version of the contract.
        kind: the kind of model.
        action_names: the names of the D action dimensions, in order.
        action_kind: the meaning of an action, as in `PolicyFormat`.
        position_names: as in `PolicyFormat`; empty means all.
        executed_actions: the number of actions of a chunk that are executed before the next
            decision; None if unknown.
        noise: the distribution of the input `noise`: standard normal, or uniform over [0, 1).
    """

    contract: Literal[1]
    kind: Literal["sampler"]
    action_names: Annotated[Names, not_empty]
    action_kind: ActionKind
    position_names: Names = ()
    executed_actions: Annotated[int, above(0)] | None = None
    noise: NoiseDistribution = "standard_normal"


Contract = TypeVar("Contract", EncoderContract, SamplerContract)


def read_contract(properties: Mapping[str, str], kind: type[Contract], *, name: str) -> Contract:
    """Read the contract in a model's metadata.

    Args:
        properties: the model's `metadata_props`.
        kind: the expected contract.
        name: the model's name in errors.

    Raises:
        OnnxContractError: the contract is missing, of another kind or version, or invalid.
    """
    text = properties.get(METADATA_KEY)
    (expected,) = get_args(get_type_hints(kind)["kind"])
    if text is None:
        raise OnnxContractError(
            f"{name} has no metadata '{METADATA_KEY}', so the meaning of its inputs is unknown: "
            f"export it with failure_monitor.policy_models.export.export_{expected}, or write the "
            "metadata as described in docs/onnx_contract.md"
        )
    try:
        content = json.loads(text)
        _check_version_and_kind(content, expected, name)
        return read(kind, content)
    except SchemaError as error:
        fault = f"field '{error.where}': {error.reason}" if error.where else error.reason
    except (ValueError, RecursionError) as error:
        fault = f"Invalid JSON: {error}"
    raise OnnxContractError(
        f"{name}, metadata '{METADATA_KEY}': {fault}: write it as described in "
        "docs/onnx_contract.md, or export again"
    )


def _check_version_and_kind(content: Any, expected: str, name: str) -> None:
    if not isinstance(content, dict):
        return
    version, kind = content.get("contract"), content.get("kind")
    if isinstance(version, int) and version != CONTRACT_VERSION:
        raise OnnxContractError(
            f"{name}, metadata '{METADATA_KEY}': the contract is of version {version}, this "
            f"failure_monitor knows {CONTRACT_VERSION}: update it, or export the model with it"
        )
    if isinstance(kind, str) and kind != expected:
        raise OnnxContractError(
            f"{name}, metadata '{METADATA_KEY}': the model is of kind '{kind}', expected "
            f"'{expected}': encoder and sampler are mixed up"
        )
