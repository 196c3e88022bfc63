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
from failure_monitor.messages.observation_history import History
from failure_monitor.schema import SchemaError, above, not_empty, read

CONTRACT_VERSION = 2
"""The version of the contract. Models that need nothing of it are of version 1, as before."""

METADATA_KEY = "failure_monitor"
"""Key of the contract in a model's `metadata_props`."""

EMBEDDING, NOISE, CHUNKS = "embedding", "noise", "chunks"
TOKENS, TOKENS_MASK = "tokens", "tokens_mask"
"""Names of inputs and outputs; the names of cameras and of a conditioning are free."""

NoiseDistribution = Literal["standard_normal", "uniform", "none"]

_RESERVED = frozenset({JOINTS, TOKENS, TOKENS_MASK, EMBEDDING, NOISE, CHUNKS})


class OnnxContractError(FailureMonitorError):
    """A model that does not follow the contract of docs/onnx_contract.md."""


class UnknownTokensError(FailureMonitorError):
    """A task whose tokens an encoder does not hold."""


def _distinct(names: tuple[str, ...]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        raise ValueError(f"names must be distinct and not empty, got {list(names)}")


Names = Annotated[tuple[str, ...], _distinct]


@dataclass(frozen=True, kw_only=True)
class TaskTokens:
    """The tokens of a task's text.

    Attributes:
        task: the task's name, as rollouts state it.
        tokens: the tokens, L numbers.
        mask: which of them are of the text, and not padding.
    """

    task: str
    tokens: Annotated[tuple[int, ...], not_empty]
    mask: tuple[bool, ...]

    def __post_init__(self) -> None:
        """Check the mask.

        Raises:
            ValueError: it is not of the tokens.
        """
        if len(self.mask) != len(self.tokens):
            raise ValueError(f"{len(self.tokens)} tokens have a mask of {len(self.mask)} values")


@dataclass(frozen=True, kw_only=True)
class EncoderContract:
    """The contract of an observation encoder.

    Attributes:
        contract: the version of the contract.
        kind: the kind of model.
        cameras: the names of the inputs that are images.
        joint_names: the joints of the input `joints`, in its order; empty without this input.
        history: the observations that it takes at once; None for one.
        conditioning: the outputs that are handed to the sampler beside the embedding.
        tasks: the tokens of each task that it knows; empty without the inputs `tokens` and
            `tokens_mask`.
    """

    contract: Literal[1, 2]
    kind: Literal["encoder"]
    cameras: Names = ()
    joint_names: Names = ()
    history: History | None = None
    conditioning: Names = ()
    tasks: tuple[TaskTokens, ...] = ()

    def __post_init__(self) -> None:
        """Check the inputs.

        Raises:
            ValueError: there is none, a name has two meanings, tasks have different numbers of
                tokens, or a field is of a later version.
        """
        if JOINTS in self.cameras:
            raise ValueError(f"a camera cannot be named '{JOINTS}', the name of the joints' input")
        if not self.cameras and not self.joint_names:
            raise ValueError("an encoder needs a camera or joints")
        later = {
            "history": self.history is not None,
            "conditioning": bool(self.conditioning),
            "tasks": bool(self.tasks),
        }
        _check_version(self.contract, [name for name, is_given in later.items() if is_given])
        if self.contract > 1:
            _reject_reserved(self.cameras, "a camera")
        _reject_reserved(self.conditioning, "a conditioning")
        if set(self.cameras) & set(self.conditioning):
            raise ValueError("a camera and a conditioning have one name")
        _distinct(tuple(known.task for known in self.tasks) if len(self.tasks) > 1 else ())
        lengths = {len(known.tokens) for known in self.tasks}
        if len(lengths) > 1:
            raise ValueError(
                f"the tasks have {sorted(lengths)} tokens: pad them to the same number"
            )


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
        noise: the distribution of the input `noise`: standard normal, or uniform over [0, 1);
            `none` for a sampler without this input, whose one chunk for each observation is
            always the same.
        conditioning: the inputs that are the encoder's outputs of these names.
        embedding_size: E, which must be stated where the sampler has no input `embedding`.
    """

    contract: Literal[1, 2]
    kind: Literal["sampler"]
    action_names: Annotated[Names, not_empty]
    action_kind: ActionKind
    position_names: Names = ()
    executed_actions: Annotated[int, above(0)] | None = None
    noise: NoiseDistribution = "standard_normal"
    conditioning: Names = ()
    embedding_size: Annotated[int, above(0)] | None = None

    def __post_init__(self) -> None:
        """Check the inputs.

        Raises:
            ValueError: a name has two meanings, or a field is of a later version.
        """
        later = {
            "noise 'none'": self.noise == "none",
            "conditioning": bool(self.conditioning),
            "embedding_size": self.embedding_size is not None,
        }
        _check_version(self.contract, [name for name, is_given in later.items() if is_given])
        _reject_reserved(self.conditioning, "a conditioning")


def _check_version(version: int, later: list[str]) -> None:
    if version < CONTRACT_VERSION and later:
        raise ValueError(
            f"{', '.join(later)}: of version {CONTRACT_VERSION} of the contract, the model states "
            f"{version}"
        )


def _reject_reserved(names: tuple[str, ...], what: str) -> None:
    taken = sorted(_RESERVED & set(names))
    if taken:
        raise ValueError(f"{what} cannot be named '{taken[0]}', which has another meaning")


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
    if isinstance(version, int) and not 1 <= version <= CONTRACT_VERSION:
        raise OnnxContractError(
            f"{name}, metadata '{METADATA_KEY}': the contract is of version {version}, this "
            f"failure_monitor knows 1 to {CONTRACT_VERSION}: update it, or export the model with "
            "it"
        )
    if isinstance(kind, str) and kind != expected:
        raise OnnxContractError(
            f"{name}, metadata '{METADATA_KEY}': the model is of kind '{kind}', expected "
            f"'{expected}': encoder and sampler are mixed up"
        )
