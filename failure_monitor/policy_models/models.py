# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's exported observation encoder and sampler, run by ONNX Runtime.

When a model is loaded, it is checked against the contract of docs/onnx_contract.md: its metadata,
the names, shapes and dtypes of its inputs and its output, and the shape of what it computes. Then
it is tried: what it computes must not depend on chance, nor on other observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from failure_monitor.decision import InvalidDecisionError, PolicyFormat
from failure_monitor.listed_names import list_names
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.policy_models.contract import (
    CHUNKS,
    EMBEDDING,
    NOISE,
    EncoderContract,
    OnnxContractError,
    SamplerContract,
    read_contract,
)
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

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


@dataclass(frozen=True)
class ImageSize:
    """The size in pixels of a camera's image as a model takes it."""

    height: int
    width: int


@dataclass(frozen=True)
class _Tensor:
    """An input according to the contract.

    Attributes:
        dtype: the dtype in numpy.
        free: the names of the first dimensions, which may vary from run to run.
        fixed: the other dimensions: their sizes, or names where the model chooses the size; None
            where it chooses how many there are, too.
    """

    dtype: str
    free: tuple[str, ...]
    fixed: tuple[int | str, ...] | None

    def admits(self, argument: onnxruntime.NodeArg) -> bool:
        head, tail = argument.shape[: len(self.free)], argument.shape[len(self.free) :]
        return (
            _DTYPES.get(argument.type) == self.dtype
            and len(head) == len(self.free)
            and not any(isinstance(side, int) for side in head)
            and all(isinstance(side, int) and side > 0 for side in tail)
            and (self.fixed is None or _is_shape(tail, self.fixed))
        )

    def __str__(self) -> str:
        sides = (*self.free, *("…" if self.fixed is None else self.fixed))
        return f"{self.dtype} ({', '.join(map(str, sides))})"


class _ContractModel:
    """A model with a contract, checked inputs and one output."""

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

    def _check_graph(self, inputs: Mapping[str, _Tensor], output: str) -> None:
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
            self._takes[name] = np.dtype(tensor.dtype), free, tuple(found[name].shape[free:])
        outputs = self._session.get_outputs()
        if [(given.name, given.type) for given in outputs] != [(output, "tensor(float)")]:
            listed = ", ".join(f"'{given.name}' {_tensor_text(given)}" for given in outputs)
            raise OnnxContractError(
                f"{self.file.name} has the outputs {listed}, expected only '{output}' of float32: "
                "export it again"
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
        self._check_inputs(inputs)
        try:
            output: NDArray[np.float32] = self._session.run(None, inputs)[0]
        except Exception as error:
            raise OnnxModelError(
                f"{self.file.name} failed on {self.provider}: {reason_of(error)}"
            ) from None
        observations = len(next(iter(inputs.values())))
        if output.shape[:1] != (observations,):
            raise OnnxModelError(
                f"{self.file.name} returns the shape {output.shape} for {observations} "
                "observations, expected a result for each: export it again"
            )
        return output

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
        inputs = {
            name: _Tensor("uint8", ("N",), ("height", "width", 3))
            for name in self.contract.cameras
        }
        if self.joint_names:
            inputs[JOINTS] = _Tensor("float32", ("N",), (len(self.joint_names),))
        self._check_graph(inputs, EMBEDDING)
        self.cameras: Mapping[str, ImageSize] = {
            name: ImageSize(*self._fixed_sides(name)[:2]) for name in self.contract.cameras
        }
        """The size of each camera's image, by the camera's name."""
        embedding = self._run(self._blank_observation())
        self._check_output(embedding, (1, "E"))
        self.embedding_size = embedding.shape[1]
        """E, the length of the embedding."""
        try_out(file, self._run, self._random_observations(TRIED))

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The joints, in the order of their positions; empty if the model takes none."""
        return self.contract.joint_names

    def embed(
        self, images: Mapping[str, NDArray[np.uint8]], joints: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Embed one observation.

        Args:
            images: the RGB images, uint8 (height, width, 3), by camera, of the sizes in `cameras`.
            joints: the joint positions, float32 (J,), in the order of `joint_names`; None without
                joints.

        Returns:
            The embedding, float32 (E,).

        Raises:
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        batch = {name: image[np.newaxis] for name, image in images.items()}
        batched = self.embed_batch(batch, None if joints is None else joints[np.newaxis])
        embedding: NDArray[np.float32] = batched[0]
        return embedding

    def embed_batch(
        self, images: Mapping[str, NDArray[np.uint8]], joints: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Embed N observations: images (N, height, width, 3) and joints (N, J) to (N, E).

        Raises:
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        return self._run(images if joints is None else {**images, JOINTS: joints})

    def _random_observations(self, count: int) -> dict[str, NDArray[Any]]:
        random = np.random.default_rng(0)
        return {
            name: (
                random.integers(256, size=(count, *fixed), dtype=np.uint8)
                if dtype == np.uint8
                else random.standard_normal((count, *fixed), dtype=np.float32)
            )
            for name, (dtype, _, fixed) in self._takes.items()
        }

    def _blank_observation(self) -> dict[str, NDArray[Any]]:
        return {
            name: np.zeros((1, *fixed), dtype) for name, (dtype, _, fixed) in self._takes.items()
        }


class PolicySampler(_ContractModel):
    """A model of an observation embedding and noise that returns sampled action chunks."""

    def __init__(self, file: OnnxFile, settings: SessionSettings = ON_THE_CPU) -> None:
        super().__init__(file, settings)
        self.contract = read_contract(self.properties, SamplerContract, name=file.name)
        """The model's contract."""
        inputs = {
            EMBEDDING: _Tensor("float32", ("N",), ("E",)),
            NOISE: _Tensor("float32", ("N", "B"), None),
        }
        self._check_graph(inputs, CHUNKS)
        (self.embedding_size,) = self._fixed_sides(EMBEDDING)
        """E, the length of the embedding."""
        self.noise_shape = self._fixed_sides(NOISE)
        """The shape of the noise for one chunk."""
        blank = np.zeros(self.embedding_size, np.float32)
        chunks = self.sample(blank, self.noise_stream(seed=0).draw(2))[np.newaxis]
        self._check_output(chunks, (1, 2, "H", len(self.action_names)))
        self.horizon = chunks.shape[2]
        """H, the number of actions in a chunk."""
        self._check_policy_format()
        random = np.random.default_rng(0)
        embeddings = random.standard_normal((TRIED, self.embedding_size), dtype=np.float32)
        noise = self.noise_stream(seed=0).draw(TRIED, 2)
        try_out(file, self._run, {EMBEDDING: embeddings, NOISE: noise})

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names of the D action dimensions, in order."""
        return self.contract.action_names

    def policy_format(self, *, samples: int) -> PolicyFormat:
        """Return the format of this policy's decisions, with B samples each."""
        return PolicyFormat(
            embedding_size=self.embedding_size,
            samples=samples,
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
        self, embedding: NDArray[np.float32], noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Sample B chunks for one embedding: (E,) and noise (B, …) to float32 (B, H, D).

        Raises:
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        chunks: NDArray[np.float32] = self.sample_batch(embedding[np.newaxis], noise[np.newaxis])[
            0
        ]
        return chunks

    def sample_batch(
        self, embeddings: NDArray[np.float32], noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Sample B chunks for each of N embeddings: (N, E) and (N, B, …) to (N, B, H, D).

        Raises:
            OnnxModelError: the inputs do not fit the model, or it failed on them.
        """
        return self._run({EMBEDDING: embeddings, NOISE: noise})

    def _check_policy_format(self) -> None:
        try:
            self.policy_format(samples=1)
        except InvalidDecisionError as error:
            raise OnnxContractError(f"{self.file.name}: {error}") from None


def check_same_policy(encoder: ObservationEncoder, sampler: PolicySampler) -> None:
    """Reject an encoder and a sampler that cannot be of one policy.

    Raises:
        OnnxContractError: their embeddings differ in length.
    """
    if encoder.embedding_size != sampler.embedding_size:
        raise OnnxContractError(
            f"{encoder.file.name} returns embeddings of length {encoder.embedding_size}, "
            f"{sampler.file.name} takes {sampler.embedding_size}: these are of different "
            "policies; name the models of one"
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
