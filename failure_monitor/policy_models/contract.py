# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of an exported encoder or sampler: its metadata beside its graph.

An ONNX graph holds the names, shapes and dtypes of inputs and outputs. What the numbers mean stands
in the model's metadata, as JSON under one key. The page docs/onnx_contract.md is for those who
write such models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from failure_monitor.decision import ActionKind
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.joint_vector import JOINTS

CONTRACT_VERSION = 1
METADATA_KEY = "failure_monitor"
"""Key of the contract in a model's `metadata_props`."""

EMBEDDING, NOISE, CHUNKS = "embedding", "noise", "chunks"
"""Names of inputs and outputs; the names of cameras are free."""

NoiseDistribution = Literal["standard_normal", "uniform"]


class OnnxContractError(FailureMonitorError):
    """A model that does not follow the contract of docs/onnx_contract.md."""


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        raise ValueError(f"names must be distinct and not empty, got {list(names)}")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_distinct)]


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    contract: Literal[1]


class EncoderContract(_Contract):
    """The contract of an observation encoder.

    Attributes:
        contract: the version of the contract.
        kind: the kind of model.
        cameras: the names of the inputs that are images.
        joint_names: the joints of the input `joints`, in its order; empty without this input.
    """

    kind: Literal["encoder"]
    cameras: Names = ()
    joint_names: Names = ()

    @model_validator(mode="after")
    def _check_inputs(self) -> EncoderContract:
        if JOINTS in self.cameras:
            raise ValueError(f"a camera cannot be named '{JOINTS}', the name of the joints' input")
        if not self.cameras and not self.joint_names:
            raise ValueError("an encoder needs a camera or joints")
        return self


class SamplerContract(_Contract):
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

    kind: Literal["sampler"]
    action_names: Annotated[Names, Field(min_length=1)]
    action_kind: ActionKind
    position_names: Names = ()
    executed_actions: int | None = Field(default=None, gt=0)
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
    (expected,) = get_args(kind.model_fields["kind"].annotation)
    if text is None:
        raise OnnxContractError(
            f"{name} has no metadata '{METADATA_KEY}', so the meaning of its inputs is unknown: "
            f"export it with failure_monitor.policy_models.export.export_{expected}, or write the "
            "metadata as described in docs/onnx_contract.md"
        )
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        fault = _describe(error.errors()[0], expected)
        raise OnnxContractError(f"{name}, metadata '{METADATA_KEY}': {fault}") from None


def _describe(fault: ErrorDetails, expected: str) -> str:
    where = ".".join(map(str, fault["loc"]))
    if (where, fault["type"]) == ("contract", "literal_error"):
        return (
            f"the contract is of version {fault['input']!r}, this failure_monitor knows "
            f"{CONTRACT_VERSION}: update it, or export the model with it"
        )
    if (where, fault["type"]) == ("kind", "literal_error"):
        return (
            f"the model is of kind {fault['input']!r}, expected '{expected}': encoder and sampler "
            "are mixed up"
        )
    field = f"field '{where}': " if where else ""
    return f"{field}{fault['msg']}: write it as described in docs/onnx_contract.md, or export again"
