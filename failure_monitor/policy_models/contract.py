# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an exported encoder and an exported sampler say of themselves, beside their graphs.

The names, shapes and dtypes of inputs and outputs stand in an ONNX graph; what the numbers mean
does not. It stands in the model's metadata, as JSON under one key. docs/onnx_contract.md is the
page for those who write such models.
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
"""Under which the contract stands in a model's `metadata_props`."""

EMBEDDING, NOISE, CHUNKS = "embedding", "noise", "chunks"
"""Names of inputs and outputs; those of cameras are free."""

NoiseDistribution = Literal["standard_normal", "uniform"]
NOISE_DISTRIBUTIONS: tuple[NoiseDistribution, ...] = get_args(NoiseDistribution)


class OnnxContractError(FailureMonitorError):
    """A model that does not keep the contract of docs/onnx_contract.md."""


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
    """What an observation encoder says of itself.

    Attributes:
        contract: the version of the contract that it keeps.
        kind: what it is.
        cameras: the names of the inputs that are images.
        joint_names: the joints of the input `joints`, in its order; empty if there is none.
    """

    kind: Literal["encoder"]
    cameras: Names = ()
    joint_names: Names = ()

    @model_validator(mode="after")
    def _inputs_are_told_apart(self) -> EncoderContract:
        if JOINTS in self.cameras:
            raise ValueError(f"no camera can be called '{JOINTS}', which names the joints' input")
        if not self.cameras and not self.joint_names:
            raise ValueError("an encoder needs a camera or joints")
        return self


class SamplerContract(_Contract):
    """What a policy sampler says of itself.

    Attributes:
        contract: the version of the contract that it keeps.
        kind: what it is.
        action_names: the D action dimensions, in order.
        action_kind: what an action means, as in `PolicyFormat`.
        position_names: as in `PolicyFormat`; empty means all.
        executed_actions: how many actions of a chunk are executed before the next decision;
            None where nobody said.
        noise: what the input `noise` is drawn from: the standard normal distribution, or the
            uniform one over [0, 1).
    """

    kind: Literal["sampler"]
    action_names: Annotated[Names, Field(min_length=1)]
    action_kind: ActionKind
    position_names: Names = ()
    executed_actions: int | None = Field(default=None, gt=0)
    noise: NoiseDistribution = "standard_normal"


Contract = TypeVar("Contract", EncoderContract, SamplerContract)


def read_contract(properties: Mapping[str, str], kind: type[Contract], *, name: str) -> Contract:
    """The contract in a model's metadata.

    Args:
        properties: the model's `metadata_props`.
        kind: which contract it should be.
        name: what error messages call the model.

    Raises:
        OnnxContractError: there is none, or it is another one, or something in it is wrong.
    """
    text = properties.get(METADATA_KEY)
    (expected,) = get_args(kind.model_fields["kind"].annotation)
    if text is None:
        raise OnnxContractError(
            f"{name} has no metadata '{METADATA_KEY}', so nothing says what its inputs mean: "
            f"export it with failure_monitor.policy_models.export.export_{expected}, or write the "
            "metadata as docs/onnx_contract.md says"
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
    return f"{field}{fault['msg']}: write it as docs/onnx_contract.md says, or export again"
