# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's exported observation encoder and sampler, run by ONNX Runtime.

When a model is loaded, it is checked against the contract of docs/onnx_contract.md: its metadata,
the names, shapes and dtypes of its inputs and its output, and the shape of what it computes. Then
it is tried: what it computes must not depend on chance, nor on other observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from failure_monitor.decision import InvalidDecisionError, PolicyFormat
from failure_monitor.listed_names import list_names
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.observation_history import History
from failure_monitor.policy_models.contract import (
    CHUNKS,
    EMBEDDING,
    NOISE,
    TOKENS,
    TOKENS_MASK,
    EncoderContract,
    OnnxContractError,
    SamplerContract,
    TaskTokens,
    read_contract,
)
from failure_monitor.policy_models.contract import UnknownTokensError as UnknownTokensError
from failure_monitor.policy_models.noise import NoiseStream
from failure_monitor.policy_models.onnx_file import OnnxFile
from failure_monitor.policy_models.onnx_session import (
    ON_THE_CPU,
    SessionSettings,
    open_session,
    reason_of,
)
from failure_monitor.policy_models.trial import OnnxModelError as OnnxModelError
from failure_monitor.policy_models.trial import reject_random_operators, try_out

TRIED = 2
"""Number of observations on which a model is tried when it is loaded."""

_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_CONDITIONING_DTYPES = ("float32", "float16", "int64", "bool")


@dataclass(frozen=True)
class ImageSize:
    """The size in pixels of a camera's image as a model takes it."""

    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Encoded:
    """What an encoder makes of one observation.

    Attributes:
        embedding: the embedding, float32 (E,), which is scored.
        conditioning: the arrays that are handed to the sampler beside it, by name. They may be
            large: keep them no longer than until its chunks are sampled.
    """

    embedding: NDArray[np.float32]
    conditioning: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Tensor:
    """An input according to the contract.

    Attributes:
        dtypes: the possible dtypes in numpy.
        free: the names of the first dimensions, which may vary from run to run.
        fixed: the other dimensions: their sizes, or names where the model chooses the size; None
            where it chooses how many there are, too.
    """

    dtypes: tuple[str, ...]
    free: tuple[str, ...]
    fixed: tuple[int | str, ...] | None

    def admits(self, argument: onnxruntime.NodeArg) -> bool:
        head, tail = argument.shape[: len(self.free)], argument.shape[len(self.free) :]
        return (
            _DTYPES.get(argument.type) in self.dtypes
            and len(head) == len(self.free)
            and not any(isinstance(side, int) for side in head)
            and all(isinstance(side, int) and side > 0 for side in tail)
            and (self.fixed is None or _is_shape(tail, self.fixed))
        )

    def __str__(self) -> str:
        sides = (*self.free, *("…" if self.fixed is None else self.fixed))
        return f"{' or '.join(self.dtypes)} ({', '.join(map(str, sides))})"


class _ContractModel:
    """A model with a contract, checked inputs and outputs."""

    def __init__(self, file: OnnxFile, settings: SessionSettings) -> None:
        """Load and check a model.

        Args:
            file: the model.
            settings: how it is run.

        Raises:
            OnnxSessionError: the model cannot be loaded on any of the named execution providers.
            OnnxContractError: the model does not follow the contract.
            OnnxModelError: the model fails when it is run.
        """
        reject_random_operators(file)
        opened = open_session(file, settings)
        self.file = file
        """The model's file."""
        self.provider = opened.provider
        """The execution provider that it runs on."""
        self.fallback = opened.fallback
        """Why this is not the preferred execution provider; empty if it is."""
        self.properties: Mapping[str, str] = opened.session.get_modelmeta().custom_metadata_map
        """The model's metadata."""
        self._session = opened.session
        self._takes: dict[str, tuple[np.dtype[Any], int, tuple[int, ...]]] = {}

    def _check_graph(
        self, inputs: Mapping[str, _Tensor], output: str, conditioning: Sequence[str] = ()
    ) -> None:
        found = {argument.name: argument for argument in self._session.get_inputs()}
        if found.keys() != inputs.keys():
            raise OnnxContractError(
                f"{self.file.name} has the inputs {_quoted(found)}, expected {_quoted(inputs)} by "
                "its metadata: export it again"
            )
        for name, tensor in inputs.items():
            if not tensor.admits(found[name]):
                raise OnnxContractError(
                    f"{self.file.name}: input '{name}' is {_tensor_text(found[name])}, expected "
                    f"{tensor}, of which {' and '.join(tensor.free)} must be free and the other "
                    "dimensions fixed: export it again"
                )
            free = len(tensor.free)
            dtype = np.dtype(_DTYPES[found[name].type])
            self._takes[name] = dtype, free, tuple(found[name].shape[free:])
        self._outputs = (output, *conditioning)
        outputs = {given.name: given for given in self._session.get_outputs()}
        if (
            outputs.keys() != set(self._outputs)
            or outputs[output].type != "tensor(float)"
            or any(
                _DTYPES.get(outputs[name].type) not in _CONDITIONING_DTYPES
                for name in conditioning
            )
        ):
            listed = ", ".join(
                f"'{name}' {_tensor_text(given)}" for name, given in outputs.items()
            )
            also = f" and the conditioning {_quoted(conditioning)}" if conditioning else ""
            raise OnnxContractError(
                f"{self.file.name} has the outputs {listed}, expected only '{output}' of float32"
                f"{also}: export it again"
            )

    def _check_output(self, output: NDArray[np.float32], expected: tuple[int | str, ...]) -> None:
        if not _is_shape(output.shape, expected) or 0 in output.shape:
            raise OnnxContractError(
                f"{self.file.name} returns the shape {output.shape}, expected "
                f"({', '.join(map(str, expected))}): export it again"
            )

    def _fixed_sides(self, name: str) -> tuple[int, ...]:
        return self._takes[name][2]

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the first output, which is an embedding or chunks."""
        first: NDArray[np.float32] = self._run_for(self._outputs[:1], inputs)[0]
        return first

    def outputs(self, inputs: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Return all outputs for inputs by name, of which those that it does not take are left."""
        return self._run_all({name: inputs[name] for name in self._takes if name in inputs})

    def _run_all(self, inputs: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Return all outputs, the embedding or the chunks first."""
        return self._run_for(self._outputs, inputs)

    def _run_for(
        self, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]:
        self._check_inputs(inputs)
        try:
            outputs: list[NDArray[Any]] = self._session.run(names, inputs)
        except Exception as error:
            raise OnnxModelError(
                f"{self.file.name} failed on {self.provider}: {reason_of(error)}"
            ) from None
        observations = len(next(iter(inputs.values())))
        for output in outputs:
            if output.shape[:1] != (observations,):
                raise OnnxModelError(
                    f"{self.file.name} returns the shape {output.shape} for {observations} "
                    "observations, expected a result for each: export it again"
                )
        return outputs

    def _made_up(self, random: np.random.Generator, count: int) -> dict[str, NDArray[Any]]:
        """Return different inputs for some observations: pixels and numbers, and masks of ones."""
        made: dict[str, NDArray[Any]] = {}
        for name, (dtype, free, fixed) in self._takes.items():
            shape = (count, *(2,) * (free - 1), *fixed)
            if dtype == np.uint8:
                made[name] = random.integers(256, size=shape, dtype=np.uint8)
            elif dtype.kind == "f":
                made[name] = random.standard_normal(shape, dtype=np.float32).astype(dtype)
            else:
                made[name] = np.full(shape, dtype.kind == "b", dtype)
        return made

    def _check_inputs(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        if inputs.keys() != self._takes.keys():
            raise OnnxModelError(
                f"{self.file.name} got the inputs {_quoted(inputs)}, expected "
                f"{_quoted(self._takes)}"
            )
        for name, array in inputs.items():
            dtype, free, fixed = self._takes[name]
            if (
                array.dtype != dtype
                or array.ndim != free + len(fixed)
                or array.shape[free:] != fixed
            ):
                sides = ", ".join((*"NB"[:free], *map(str, fixed)))
                raise OnnxModelError(
                    f"{self.file.name} got '{name}' as {array.dtype} {array.shape}, expected "
                    f"{dtype} ({sides})"
                )
        if len({len(array) for array in inputs.values()}) > 1:
            lengths = ", ".join(f"'{name}' {len(array)}" for name, array in inputs.items())
            raise OnnxModelError(
                f"{self.file.name} got different numbers of observations: {lengths}"
            )


class ObservationEncoder(_ContractModel):
    """A model of camera images and joint positions that returns an observation embedding."""

    def __init__(self, file: OnnxFile, settings: SessionSettings = ON_THE_CPU) -> None:
        super().__init__(file, settings)
        self.contract = read_contract(self.properties, EncoderContract, name=file.name)
        """The model's contract."""
        several = () if self.history is None else (self.history.observations,)
        inputs = {
            name: _Tensor(("uint8",), ("N",), (*several, "height", "width", 3))
            for name in self.contract.cameras
        }
        if self.joint_names:
            inputs[JOINTS] = _Tensor(("float32",), ("N",), (*several, len(self.joint_names)))
        if self.contract.tasks:
            length = len(self.contract.tasks[0].tokens)
            inputs[TOKENS] = _Tensor(("int64",), ("N",), (length,))
            inputs[TOKENS_MASK] = _Tensor(("bool",), ("N",), (length,))
        self._check_graph(inputs, EMBEDDING, self.contract.conditioning)
        self.cameras: Mapping[str, ImageSize] = {
            name: ImageSize(*self._fixed_sides(name)[-3:-1]) for name in self.contract.cameras
        }
        """The size of each camera's image, by the camera's name."""
        embedding, *conditioning = self._run_all(self._blank_observation())
        self._check_output(embedding, (1, "E"))
        self.embedding_size = embedding.shape[1]
        """E, the length of the embedding."""
        self.conditioning: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            name: (array.dtype, array.shape[1:])
            for name, array in zip(self.contract.conditioning, conditioning, strict=True)
        }
        """The dtype and the shape of each array that is handed to the sampler, by its name."""
        try_out(file, self._run_all, self._random_observations(TRIED))

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The joints, in the order of their positions; empty if the model takes none."""
        return self.contract.joint_names

    @property
    def history(self) -> History | None:
        """The observations that it takes at once; None if it takes one."""
        return self.contract.history

    def embed(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        joints: NDArray[np.float32] | None = None,
        task: str = "",
    ) -> NDArray[np.float32]:
        """Embed one observation.

        Args:
            images: the RGB images, uint8 (height, width, 3), by camera, of the sizes in `cameras`;
                with a history (K, height, width, 3), the newest last.
            joints: the joint positions, float32 (J,), in the order of `joint_names`; with a
                history (K, J); None without joints.
            task: the task's name, of those whose tokens the model holds; empty for its only one.

        Returns:
            The embedding, float32 (E,).

        Raises:
            UnknownTokensError: the model does not hold the tokens of the task.
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        embedding: NDArray[np.float32] = self._run(self._inputs(images, joints, task))[0]
        return embedding

    def encode(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        joints: NDArray[np.float32] | None = None,
        task: str = "",
    ) -> Encoded:
        """Embed one observation, and return what its sampler takes beside the embedding, too.

        The arguments and errors are those of `embed`.
        """
        embedding, *conditioning = self._run_all(self._inputs(images, joints, task))
        pairs = zip(self.contract.conditioning, conditioning, strict=True)
        return Encoded(embedding[0], {name: array[0] for name, array in pairs})

    def embed_batch(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        joints: NDArray[np.float32] | None = None,
        task: str = "",
    ) -> NDArray[np.float32]:
        """Embed N observations: images (N, height, width, 3) and joints (N, J) to (N, E).

        With a history, images are (N, K, height, width, 3) and joints (N, K, J).

        Raises:
            UnknownTokensError: the model does not hold the tokens of the task.
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        inputs: dict[str, NDArray[Any]] = dict(images)
        if joints is not None:
            inputs[JOINTS] = joints
        count = len(next(iter(inputs.values()), ()))
        return self._run({**inputs, **self._tokens(task, count)})

    def check_task(self, task: str) -> None:
        """Check that observations of a task can be embedded; empty is the only task.

        Raises:
            UnknownTokensError: the model does not hold its tokens.
        """
        if self.contract.tasks:
            self._known(task)

    def _inputs(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        joints: NDArray[np.float32] | None,
        task: str,
    ) -> dict[str, NDArray[Any]]:
        inputs: dict[str, NDArray[Any]] = {
            name: image[np.newaxis] for name, image in images.items()
        }
        if joints is not None:
            inputs[JOINTS] = joints[np.newaxis]
        if self.contract.tasks:
            inputs |= self._tokens(task, 1)
        return inputs

    def _tokens(self, task: str, count: int) -> dict[str, NDArray[Any]]:
        """Return the tokens of a task, for some observations; nothing if it takes none."""
        if not self.contract.tasks:
            return {}
        known = self._known(task)
        return {
            TOKENS: np.tile(np.array(known.tokens, np.int64), (count, 1)),
            TOKENS_MASK: np.tile(np.array(known.mask, bool), (count, 1)),
        }

    def _known(self, task: str) -> TaskTokens:
        tasks = self.contract.tasks
        if not task and len(tasks) == 1:
            return tasks[0]
        for known in tasks:
            if known.task == task:
                return known
        stated = f"the task '{task}'" if task else "no task"
        raise UnknownTokensError(
            f"{self.file.name} holds the tokens of {_quoted(known.task for known in tasks)}, the "
            f"rollout states {stated}: state one of these, or export the model with this one"
        )

    def _random_observations(self, count: int) -> dict[str, NDArray[Any]]:
        return {**self._made_up(np.random.default_rng(0), count), **self._first_tokens(count)}

    def _blank_observation(self) -> dict[str, NDArray[Any]]:
        blank = {
            name: np.zeros((1, *fixed), dtype) for name, (dtype, _, fixed) in self._takes.items()
        }
        return {**blank, **self._first_tokens(1)}

    def _first_tokens(self, count: int) -> dict[str, NDArray[Any]]:
        tasks = self.contract.tasks
        return self._tokens(tasks[0].task, count) if tasks else {}


class PolicySampler(_ContractModel):
    """A model of an observation embedding and noise that returns sampled action chunks."""

    def __init__(self, file: OnnxFile, settings: SessionSettings = ON_THE_CPU) -> None:
        super().__init__(file, settings)
        self.contract = read_contract(self.properties, SamplerContract, name=file.name)
        """The model's contract."""
        inputs = {
            name: _Tensor(_CONDITIONING_DTYPES, ("N",), None)
            for name in self.contract.conditioning
        }
        # What is not used of the embedding is often no input of an exported graph.
        self._takes_embedding = not inputs or EMBEDDING in {
            argument.name for argument in self._session.get_inputs()
        }
        if self._takes_embedding:
            inputs[EMBEDDING] = _Tensor(("float32",), ("N",), ("E",))
        if not self.is_deterministic:
            inputs[NOISE] = _Tensor(("float32",), ("N", "B"), None)
        self._check_graph(inputs, CHUNKS)
        self.embedding_size = self._stated_embedding_size()
        """E, the length of the embedding."""
        self.noise_shape = () if self.is_deterministic else self._fixed_sides(NOISE)
        """The shape of the noise for one chunk."""
        made_up = self._made_up(np.random.default_rng(0), TRIED)
        if not self.is_deterministic:
            made_up[NOISE] = self.noise_stream(seed=0).draw(TRIED, 2)
        chunks = self._run({name: array[:1] for name, array in made_up.items()})
        samples = 1 if self.is_deterministic else 2
        self._check_output(chunks, (1, samples, "H", len(self.action_names)))
        self.horizon = chunks.shape[2]
        """H, the number of actions in a chunk."""
        self._check_policy_format()
        try_out(file, self._run_all, made_up)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names of the D action dimensions, in order."""
        return self.contract.action_names

    @property
    def is_deterministic(self) -> bool:
        """Whether it takes no noise, so that a decision has one chunk."""
        return self.contract.noise == "none"

    @property
    def conditioning(self) -> Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """The dtype and the shape of each array that it takes from the encoder, by its name."""
        return {
            name: (self._takes[name][0], self._fixed_sides(name))
            for name in self.contract.conditioning
        }

    def policy_format(self, *, samples: int) -> PolicyFormat:
        """Return the format of this policy's decisions, with B samples each."""
        return PolicyFormat(
            embedding_size=self.embedding_size,
            samples=1 if self.is_deterministic else samples,
            horizon=self.horizon,
            action_names=self.contract.action_names,
            action_kind=self.contract.action_kind,
            position_names=self.contract.position_names,
            executed_actions=self.contract.executed_actions,
        )

    def noise_stream(self, *, seed: int) -> NoiseStream:
        """Return a stream of noise of this sampler's shape and distribution."""
        return NoiseStream(self.noise_shape, self.contract.noise, seed=seed)

    def sample(
        self,
        embedding: NDArray[np.float32],
        noise: NDArray[np.float32],
        conditioning: Mapping[str, NDArray[Any]] | None = None,
    ) -> NDArray[np.float32]:
        """Sample B chunks for one observation.

        Args:
            embedding: its embedding, float32 (E,).
            noise: the noise, float32 (B, …); not used by a deterministic sampler.
            conditioning: what its encoder returned beside the embedding (`Encoded`).

        Returns:
            The chunks, float32 (B, H, D).

        Raises:
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        chunks: NDArray[np.float32] = self.sample_batch(
            embedding[np.newaxis],
            noise[np.newaxis],
            {name: array[np.newaxis] for name, array in (conditioning or {}).items()},
        )[0]
        return chunks

    def sample_batch(
        self,
        embeddings: NDArray[np.float32],
        noise: NDArray[np.float32],
        conditioning: Mapping[str, NDArray[Any]] | None = None,
    ) -> NDArray[np.float32]:
        """Sample B chunks for each of N embeddings: (N, E) and (N, B, …) to (N, B, H, D).

        Raises:
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        given = conditioning or {}
        inputs = {name: given[name] for name in self.contract.conditioning if name in given}
        if self._takes_embedding:
            inputs[EMBEDDING] = embeddings
        if not self.is_deterministic:
            inputs[NOISE] = noise
        return self._run(inputs)

    def _stated_embedding_size(self) -> int:
        stated = self.contract.embedding_size
        if not self._takes_embedding:
            if stated is None:
                raise OnnxContractError(
                    f"{self.file.name} has no input '{EMBEDDING}' and its metadata no "
                    "'embedding_size': state it, or export the model again"
                )
            return stated
        (size,) = self._fixed_sides(EMBEDDING)
        if stated not in (None, size):
            raise OnnxContractError(
                f"{self.file.name} takes embeddings of length {size}, its metadata state "
                f"{stated}: export it again"
            )
        return size

    def _check_policy_format(self) -> None:
        try:
            self.policy_format(samples=1)
        except InvalidDecisionError as error:
            raise OnnxContractError(f"{self.file.name}: {error}") from None


def check_same_policy(encoder: ObservationEncoder, sampler: PolicySampler) -> None:
    """Reject an encoder and a sampler that cannot be of one policy.

    Raises:
        OnnxContractError: their embeddings differ in length, or what the sampler takes beside
            them is not what the encoder returns.
    """
    if encoder.embedding_size != sampler.embedding_size:
        raise OnnxContractError(
            f"{encoder.file.name} returns embeddings of length {encoder.embedding_size}, "
            f"{sampler.file.name} takes {sampler.embedding_size}: these are of different "
            "policies; name the models of one"
        )
    for name, wanted in sampler.conditioning.items():
        given = encoder.conditioning.get(name)
        if given != wanted:
            returned = "not" if given is None else f"as {given[0]} {given[1]}"
            raise OnnxContractError(
                f"{sampler.file.name} takes '{name}' as {wanted[0]} {wanted[1]}, and "
                f"{encoder.file.name} returns it {returned}: these are of different policies; "
                "name the models of one"
            )


def reject_lone_sampler(sampler: PolicySampler) -> None:
    """Reject a sampler that needs its encoder, where embeddings come from elsewhere.

    Raises:
        OnnxContractError: it takes more than the embedding.
    """
    if sampler.conditioning:
        raise OnnxContractError(
            f"{sampler.file.name} takes {_quoted(sampler.conditioning)} beside the embedding, "
            "which only its encoder returns: name the encoder, too"
        )


def _is_shape(sides: tuple[int, ...] | list[int], expected: tuple[int | str, ...]) -> bool:
    return len(sides) == len(expected) and all(
        isinstance(wanted, str) or side == wanted
        for side, wanted in zip(sides, expected, strict=True)
    )


def _tensor_text(argument: onnxruntime.NodeArg) -> str:
    dtype = _DTYPES.get(argument.type, argument.type)
    return f"{dtype} ({', '.join('?' if side is None else str(side) for side in argument.shape)})"


def _quoted(names: Iterable[str]) -> str:
    return list_names(f"'{name}'" for name in sorted(names))
