# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Export of a policy's observation encoder and sampler of action chunks to ONNX.

The exported models follow the contract of docs/onnx_contract.md. They are checked to compute the
same as the torch modules, for one observation and for several. The modules are left as they were.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from failure_monitor.atomic_file import write_atomically
from failure_monitor.decision import ActionKind
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.messages.observation_history import History
from failure_monitor.policy_models.contract import (
    CHUNKS,
    CONTRACT_VERSION,
    EMBEDDING,
    METADATA_KEY,
    NOISE,
    TOKENS,
    TOKENS_MASK,
    Contract,
    EncoderContract,
    NoiseDistribution,
    SamplerContract,
    TaskTokens,
)
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import OnnxFile
from failure_monitor.policy_models.torch_to_onnx import TOLERANCE, to_onnx
from failure_monitor.policy_models.torch_to_onnx import ExportError as ExportError
from failure_monitor.schema import SchemaError, plain, read

OBSERVATIONS = (1, 2, 5)
"""Numbers N of observations for which an encoder is compared with torch."""

OBSERVATIONS_AND_SAMPLES = ((1, 1), (1, 16), (3, 4))
"""Numbers N of observations and B of samples for which a sampler is compared with torch."""


def export_encoder(
    module: nn.Module,
    path: Path,
    *,
    cameras: Mapping[str, tuple[int, int]],
    joint_names: Sequence[str] = (),
    history: History | None = None,
    tasks: Sequence[TaskTokens] = (),
    conditioning: Sequence[str] = (),
    examples: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Export an observation encoder to an ONNX file.

    Args:
        module: takes a batch of images, RGB uint8 (N, height, width, 3), for each camera in the
            order of `cameras`, then, if there are joint names, joint positions, float32 (N, J),
            then, if there are tasks, their tokens, int64 (N, L), and which of them count, bool
            (N, L); returns embeddings, float32 (N, E), and if there is a conditioning, a tuple of
            these and each of its tensors, (N, …).
        path: the file to write.
        cameras: the height and width of each camera's image, by the camera's name.
        joint_names: the joints, in the order in which the module takes their positions.
        history: the observations that it takes at once, K, so that images are (N, K, height,
            width, 3) and joint positions (N, K, J), the newest last; None for one.
        tasks: the tokens of each task that it knows; empty if it takes none.
        conditioning: the names of what the sampler takes beside the embedding.
        examples: real inputs for the comparison, any number of rows, by camera or as `joints`;
            other inputs are random.
        metadata: further metadata of the model, for your own use.
        tolerance: the largest difference to torch, relative to the output's largest value.

    Returns:
        The difference between ONNX Runtime and torch.

    Raises:
        ExportError: the module cannot be exported, or ONNX Runtime computes something else;
            nothing is written.
        FailureMonitorError: the exported model does not follow the contract; nothing is written.
    """
    contract = _contract(
        EncoderContract,
        is_second=bool(history or tasks or conditioning),
        kind="encoder",
        cameras=tuple(cameras),
        joint_names=tuple(joint_names),
        history=None if history is None else plain(history),
        tasks=plain(tasks),
        conditioning=tuple(conditioning),
    )
    several = () if history is None else (history.observations,)
    random = torch.Generator().manual_seed(0)

    def random_inputs(observations: int) -> dict[str, Tensor]:
        inputs = {
            name: torch.randint(
                256, (observations, *several, *size, 3), generator=random, dtype=torch.uint8
            )
            for name, size in cameras.items()
        }
        if joint_names:
            shape = observations, *several, len(joint_names)
            inputs[JOINTS] = torch.randn(shape, generator=random)
        if tasks:
            shown = [tasks[at % len(tasks)] for at in range(observations)]
            inputs[TOKENS] = torch.tensor([task.tokens for task in shown])
            inputs[TOKENS_MASK] = torch.tensor([task.mask for task in shown])
        return inputs

    batches = [_with_examples(random_inputs(count), examples) for count in OBSERVATIONS]
    with _evaluating(module):
        outputs = (EMBEDDING, *conditioning)
        expected = [
            _outputs(module, batch, (count,), outputs)
            for count, batch in zip(OBSERVATIONS, batches, strict=True)
        ]
        free = dict.fromkeys([*batches[0], *outputs], "N")
        model = _exported(module, batches[-1], outputs, free, contract, metadata)
    encoder = ObservationEncoder(OnnxFile(str(path), model))
    actual = [encoder.outputs(_arrays(inputs)) for inputs in batches]
    return _write_if_equal(path, model, expected, actual, tolerance)


def export_sampler(
    module: nn.Module,
    path: Path,
    *,
    embedding_size: int,
    noise_shape: Sequence[int] = (),
    action_names: Sequence[str],
    action_kind: ActionKind,
    position_names: Sequence[str] = (),
    executed_actions: int | None = None,
    noise: NoiseDistribution = "standard_normal",
    conditioning: Mapping[str, Tensor] | None = None,
    examples: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Export a sampler of action chunks to an ONNX file.

    Args:
        module: takes embeddings, float32 (N, E), each tensor of the conditioning, and noise,
            float32 (N, B, …), and returns B action chunks for each embedding, float32
            (N, B, H, D). Its only source of randomness is the noise; without noise B is 1.
        path: the file to write.
        embedding_size: E, the length of an embedding.
        noise_shape: the shape of the noise for one chunk, often (H, D).
        action_names: the names of the D action dimensions, in order.
        action_kind: the meaning of an action: a `position`, a `velocity` or a `delta`.
        position_names: those of the action dimensions that span the space in which sampled
            chunks are compared (leave out a gripper's effort); empty means all.
        executed_actions: the number of actions of a chunk that are executed before the next
            decision; None if it varies.
        noise: the distribution of the noise: standard normal, or uniform over [0, 1); `none` for
            a module that takes none.
        conditioning: examples of what the encoder returns beside the embedding, any number of
            rows, by name, in the order in which the module takes them.
        examples: real embeddings for the comparison, any number of rows, as `embedding`; other
            inputs are random.
        metadata: further metadata of the model, for your own use.
        tolerance: the largest difference to torch, relative to the output's largest value.

    Returns:
        The difference between ONNX Runtime and torch.

    Raises:
        ExportError: the module cannot be exported, or ONNX Runtime computes something else;
            nothing is written.
        FailureMonitorError: the exported model does not follow the contract; nothing is written.
    """
    given = dict(conditioning or {})
    is_second = bool(given) or noise == "none"
    contract = _contract(
        SamplerContract,
        is_second=is_second,
        kind="sampler",
        action_names=tuple(action_names),
        action_kind=action_kind,
        position_names=tuple(position_names),
        executed_actions=executed_actions,
        noise=noise,
        conditioning=tuple(given),
        embedding_size=embedding_size if is_second else None,
    )
    random = torch.Generator().manual_seed(0)
    draw = torch.rand if noise == "uniform" else torch.randn

    def random_inputs(observations: int, samples: int) -> dict[str, Tensor]:
        inputs = {EMBEDDING: torch.randn(observations, embedding_size, generator=random)}
        for name, rows in given.items():
            inputs[name] = rows[torch.arange(observations) % len(rows)]
        if noise != "none":
            inputs[NOISE] = draw(observations, samples, *noise_shape, generator=random)
        return inputs

    counts = [
        (observations, 1 if noise == "none" else samples)
        for observations, samples in OBSERVATIONS_AND_SAMPLES
    ]
    batches = [_with_examples(random_inputs(*of_batch), examples) for of_batch in counts]
    with _evaluating(module):
        expected = [
            _outputs(module, batch, of_batch, (CHUNKS,))
            for batch, of_batch in zip(batches, counts, strict=True)
        ]
        if noise != "none":
            _reject_equal_samples(module, expected[-1][0])
        free = {**dict.fromkeys([EMBEDDING, *given], "N"), NOISE: "NB", CHUNKS: "NB"}
        if noise == "none":
            free = {**dict.fromkeys([EMBEDDING, *given], "N"), CHUNKS: "N"}
        model = _exported(module, batches[-1], (CHUNKS,), free, contract, metadata)
    sampler = PolicySampler(OnnxFile(str(path), model))
    actual = [sampler.outputs(_arrays(inputs)) for inputs in batches]
    return _write_if_equal(path, model, expected, actual, tolerance)


def _contract(model: type[Contract], *, is_second: bool, **content: object) -> Contract:
    """Return a contract of the second version only if it needs that: older monitors know one."""
    try:
        return read(model, {"contract": CONTRACT_VERSION if is_second else 1, **content})
    except SchemaError as error:
        where = error.where or "names"
        raise ExportError(f"the model cannot be described, {where}: {error.reason}") from None


def _with_examples(
    random_inputs: dict[str, Tensor], examples: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """Return random inputs, replaced by rows of the examples where there are some."""
    inputs = dict(random_inputs)
    for name, rows in (examples or {}).items():
        replaced = random_inputs.get(name)
        if replaced is None or not len(rows) or rows.shape[1:] != replaced.shape[1:]:
            expected = ", ".join(
                f"'{name}' {_row(value)}" for name, value in random_inputs.items()
            )
            raise ExportError(
                f"the examples '{name}' have the shape {tuple(rows.shape)}, expected some of "
                f"{expected}: correct them, or leave them out"
            )
        chosen = torch.arange(len(replaced)) % len(rows)
        inputs[name] = rows[chosen].to(replaced.dtype)
    return inputs


def _row(inputs: Tensor) -> str:
    return f"({', '.join(map(str, ('N', *inputs.shape[1:])))})"


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Set the module to evaluation mode, and afterwards back to its mode."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _outputs(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    free_sides: tuple[int, ...],
    names: Sequence[str],
) -> list[NDArray[Any]]:
    placed = _placed(module, inputs)
    try:
        with torch.no_grad():
            once, again = (_tensors(module(*placed.values())) for _ in range(2))
    except Exception as error:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
        raise ExportError(f"{type(module).__name__} cannot be run on {shapes}: {error}") from error
    if len(once) != len(names):
        raise ExportError(
            f"{type(module).__name__} returns {len(once)} tensors, expected {len(names)}: "
            f"{', '.join(names)}"
        )
    for first, second in zip(once, again, strict=True):
        _check_output(module, first, second, free_sides)
    return once


def _tensors(returned: Tensor | Sequence[Tensor]) -> list[NDArray[Any]]:
    tensors = [returned] if isinstance(returned, Tensor) else returned
    return [tensor.cpu().numpy() for tensor in tensors]


def _check_output(
    module: nn.Module, first: NDArray[Any], second: NDArray[Any], free_sides: tuple[int, ...]
) -> None:
    if first.shape[: len(free_sides)] != free_sides:
        raise ExportError(
            f"{type(module).__name__} returns the shape {first.shape}, expected one that starts "
            f"with {free_sides} as the inputs do: return a result for each of them"
        )
    if not np.isfinite(first).all():
        raise ExportError(
            f"{type(module).__name__} returns NaN or infinite values for random inputs: pass real "
            "ones as examples"
        )
    if not np.array_equal(first, second):
        raise ExportError(
            f"{type(module).__name__} returns different outputs for the same inputs: let all "
            "randomness come from the input 'noise'"
        )


def _reject_equal_samples(module: nn.Module, chunks: NDArray[np.float32]) -> None:
    if chunks.ndim == 4 and (chunks == chunks[:, :1]).all():
        raise ExportError(
            f"{type(module).__name__} returns the same chunk for any noise, so its samples cannot "
            "disagree: export it without noise, as noise='none', and leave out scores of sampled "
            "chunks"
        )


def _placed(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs on the module's device."""
    some = next(chain(module.parameters(), module.buffers()), torch.empty(0))
    return {name: value.to(some.device) for name, value in inputs.items()}


def _arrays(inputs: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: value.numpy() for name, value in inputs.items()}


def _exported(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Mapping[str, str],
    contract: EncoderContract | SamplerContract,
    metadata: Mapping[str, str] | None,
) -> bytes:
    try:
        serialised = to_onnx(module, _placed(module, inputs), outputs, free=free)
    except Exception as error:
        raise ExportError(f"torch cannot export {type(module).__name__}: {error}") from error
    model = onnx.load_from_string(serialised)
    text = json.dumps(_stated(contract), separators=(",", ":"), ensure_ascii=False)
    properties = {**(metadata or {}), METADATA_KEY: text}
    onnx.helper.set_model_props(model, properties)
    content: bytes = model.SerializeToString()
    return content


def _stated(contract: EncoderContract | SamplerContract) -> dict[str, Any]:
    """Return what a contract states; one of the first version has no later keys."""
    content: dict[str, Any] = plain(contract)
    later = {"history", "tasks", "conditioning", "embedding_size"}
    return {
        name: value
        for name, value in content.items()
        if contract.contract > 1 or name not in later
    }


def _write_if_equal(
    path: Path,
    model: bytes,
    expected: Sequence[Sequence[NDArray[Any]]],
    actual: Sequence[Sequence[NDArray[Any]]],
    tolerance: float,
) -> float:
    pairs = list(zip(chain(*expected), chain(*actual), strict=True))
    differences = [_difference(of_torch, of_runtime) for of_torch, of_runtime in pairs]
    difference = max(differences)
    if difference > tolerance:
        worst = pairs[differences.index(difference)][0].shape
        raise ExportError(
            f"{path}: ONNX Runtime and torch differ by {difference:.1e} of the largest value for "
            f"an output of shape {worst}, more than {tolerance:.1e}: the graph that torch "
            "exported is valid only for inputs like the example's, as Python numbers and branches "
            "are frozen in it; nothing was written"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, model)
    return difference


def _difference(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    expected, actual = expected.astype(np.float32), actual.astype(np.float32)
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return math.inf
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-12))
