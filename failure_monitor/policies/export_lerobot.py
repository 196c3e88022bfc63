# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Export of a checkpoint of LeRobot to the two ONNX models that a monitor runs beside the robot.

Images go in as the camera gives them, joints and chunks are in the robot's units. Before anything
is written, the models are compared with LeRobot's own class, from its preprocessor to its
postprocessor, for the same observations and noise.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from failure_monitor.atomic_file import reject_unwritable_folder
from failure_monitor.decision import ActionKind
from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names
from failure_monitor.messages.observation_history import History
from failure_monitor.policies.checkpoint import CONFIGURATION, checkpoint_folder, checkpoint_hash
from failure_monitor.policies.exported_modules import (
    IMAGES,
    STATE,
    TOKENS,
    TOKENS_MASK,
    ACTEncoder,
    ACTSampler,
    DiffusionEncoder,
    DiffusionSampler,
    Preprocessing,
    SmolVLAEncoder,
    SmolVLASampler,
    channels_first,
    drawn_instead,
)
from failure_monitor.policies.load_policy import load_policy
from failure_monitor.policy_models.contract import TaskTokens
from failure_monitor.policy_models.export import export_encoder, export_sampler
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.policy_models.torch_to_onnx import TOLERANCE, ExportError

CLASSES = ("act", "diffusion", "smolvla")
"""The policies that can be exported, by LeRobot's names."""

KNOWN_STEPS = frozenset(
    {
        "RenameObservationsProcessorStep",
        "AddBatchDimensionProcessorStep",
        "DeviceProcessorStep",
        "NormalizerProcessorStep",
        "UnnormalizerProcessorStep",
        "SmolVLANewLineProcessor",
        "TokenizerProcessorStep",
    }
)
"""Steps of processors whose effect the exported models have, or that have none on one robot."""

COMPARED = 3
"""Number of observations of each task for which LeRobot's class and the models are compared."""

SAMPLES = 2
"""Number of samples of each of them."""


class LeRobotExportError(FailureMonitorError):
    """A checkpoint that cannot be exported, or not with what is stated."""


@dataclass(frozen=True)
class ExportedPolicy:
    """The models that were written.

    Attributes:
        encoder: the file of the encoder.
        sampler: the file of the sampler.
        difference: the largest difference of chunks to those of LeRobot's class, in the robot's
            units.
        largest: the largest of their actions, in these units.
    """

    encoder: Path
    sampler: Path
    difference: float
    largest: float


@dataclass(frozen=True)
class RobotNames:
    """What a checkpoint does not hold.

    Attributes:
        joints: the names of the numbers of `observation.state`, in order.
        actions: the names of the actions, in order.
        control_period: the seconds from an observation to the next; None if unknown.
    """

    joints: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    control_period: float | None = None


def export_lerobot(
    checkpoint: Path,
    folder: Path,
    *,
    dataset: Path | None = None,
    joint_names: Sequence[str] = (),
    action_names: Sequence[str] = (),
    control_period: float | None = None,
    tasks: Sequence[str] = (),
    action_kind: ActionKind = "position",
    position_names: Sequence[str] = (),
    tolerance: float = TOLERANCE,
) -> ExportedPolicy:
    """Export a checkpoint as `encoder.onnx` and `sampler.onnx`.

    Args:
        checkpoint: the folder of a checkpoint, `pretrained_model`.
        folder: where the models are written.
        dataset: the folder of the LeRobotDataset that it was trained on, which names joints and
            actions, and states the rate; what is stated beside it comes first.
        joint_names: the joints, in the order of `observation.state`.
        action_names: the actions, in order.
        control_period: the seconds from an observation to the next; needed by a policy that looks
            at several.
        tasks: the texts of the tasks that a policy receives; rollouts state one of these.
        action_kind: the meaning of an action.
        position_names: as in `export_sampler`.
        tolerance: the largest difference to LeRobot's class, relative to its largest action.

    Raises:
        UnwritableError: the models cannot be written.
        CheckpointError: the folder is no checkpoint.
        LeRobotExportError: it is of a class or with processors that cannot be exported, or a name
            or number is missing; nothing is written.
        ExportError: the models compute something else than LeRobot's class; nothing is written.
    """
    reject_unwritable_folder(folder)
    policy, preprocessor, postprocessor = _load(checkpoint)
    names = _names(policy.config, dataset, joint_names, action_names, control_period)
    exporter = _Exporter(policy, preprocessor, postprocessor, names, tuple(tasks))
    with tempfile.TemporaryDirectory() as written:
        encoder, sampler = (Path(written) / f"{part}.onnx" for part in ("encoder", "sampler"))
        with warnings.catch_warnings():
            # Of what torch warns while it records a graph, the comparison below is the judge.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            exporter.export(encoder, sampler, action_kind, tuple(position_names), checkpoint)
        difference, largest = exporter.compare(encoder, sampler)
        if not difference <= tolerance * largest:
            raise ExportError(
                f"{checkpoint}: the exported models' chunks differ from LeRobot's by "
                f"{difference:.2g}, with actions up to {largest:.3g}, more than {tolerance:.0e} "
                "of that; nothing was written: use watch_policy beside the policy instead"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for file in (encoder, sampler):
            shutil.copyfile(file, folder / file.name)
    return ExportedPolicy(folder / encoder.name, folder / sampler.name, difference, largest)


def _load(checkpoint: Path) -> tuple[Any, Any, Any]:
    checkpoint = checkpoint_folder(checkpoint)
    kind = _kind(checkpoint)
    loaded = load_policy(
        checkpoint,
        purpose="exporting a policy",
        instead="export where it was trained",
        device="cpu",
    )
    _check_config(kind, loaded.policy.config)
    before, after = loaded.preprocessor, loaded.postprocessor
    _check_steps(checkpoint, [*before.steps, *after.steps])
    return loaded.policy.float(), before, after


def _kind(checkpoint: Path) -> str:
    """Return LeRobot's name of the class of a checkpoint."""
    kind = json.loads((checkpoint / CONFIGURATION).read_text(encoding="utf-8"))["type"]
    if kind not in CLASSES:
        raise LeRobotExportError(
            f"{checkpoint} is of the type '{kind}', and {list_names(CLASSES)} can be exported: "
            "watch it where it runs (failure_monitor.policies.watch_policy)"
        )
    return str(kind)


def _check_config(kind: str, config: Any) -> None:
    if not config.image_features or config.robot_state_feature is None:
        raise LeRobotExportError(
            f"the {kind} policy takes {list_names(sorted(config.input_features))}: only policies "
            "of images and observation.state can be exported"
        )
    taken = {STATE, *config.image_features}
    others = sorted(set(config.input_features) - taken)
    if others:
        raise LeRobotExportError(
            f"the {kind} policy takes {list_names(others)}, which no camera and no joint gives: "
            "such policies cannot be exported"
        )
    if getattr(config, "adapt_to_pi_aloha", False):
        raise LeRobotExportError(
            "the policy's option adapt_to_pi_aloha changes joints and actions in a way that is "
            "not exported: watch it where it runs"
        )
    if getattr(getattr(config, "rtc_config", None), "enabled", False):
        raise LeRobotExportError(
            "the policy's real-time chunking depends on what is executed, which its models do not "
            "get: watch it where it runs"
        )


def _check_steps(checkpoint: Path, steps: Sequence[Any]) -> None:
    unknown = sorted({type(step).__name__ for step in steps} - KNOWN_STEPS)
    if unknown:
        raise LeRobotExportError(
            f"{checkpoint}: its processors have the steps {list_names(unknown)}, whose effect is "
            "not exported: watch the policy where it runs"
        )


def _names(
    config: Any,
    dataset: Path | None,
    joint_names: Sequence[str],
    action_names: Sequence[str],
    control_period: float | None,
) -> RobotNames:
    held = RobotNames() if dataset is None else _dataset_names(dataset)
    names = RobotNames(
        tuple(joint_names) or held.joints,
        tuple(action_names) or held.actions,
        held.control_period if control_period is None else control_period,
    )
    for what, option, given, wanted in (
        ("joints", "joint-names", names.joints, config.robot_state_feature.shape[0]),
        ("actions", "action-names", names.actions, config.action_feature.shape[0]),
    ):
        if len(given) != wanted:
            raise LeRobotExportError(
                f"the policy has {wanted} {what}, and {len(given) or 'none'} are named: name them "
                f"(--{option}), or the dataset that it was trained on (--dataset)"
            )
    if getattr(config, "n_obs_steps", 1) > 1 and not (names.control_period or 0) > 0:
        raise LeRobotExportError(
            f"the policy looks at {config.n_obs_steps} observations, and how far they lie apart "
            "is unknown: state the control period in seconds (--control-period), or the dataset "
            "that it was trained on (--dataset)"
        )
    return names


def _dataset_names(dataset: Path) -> RobotNames:
    path = dataset / "meta" / "info.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content["features"]
        return RobotNames(
            _flat(features.get(STATE, {}).get("names")),
            _flat(features.get("action", {}).get("names")),
            1 / float(content["fps"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else f"{type(error).__name__} {error}"
        )
        raise LeRobotExportError(
            f"{dataset} is no LeRobotDataset, or its {path.name} is damaged ({reason}): name the "
            "folder that holds 'meta'"
        ) from None


def _flat(names: Any) -> tuple[str, ...]:
    """Return the names of a feature, which older datasets hold by group."""
    if isinstance(names, Mapping):
        names = [name for group in names.values() for name in group]
    return tuple(map(str, names or ()))


@dataclass(eq=False)
class _Exporter:
    """One policy, from its checkpoint to its models."""

    policy: Any
    preprocessor: Any
    postprocessor: Any
    names: RobotNames
    tasks: tuple[str, ...]
    noise_shape: tuple[int, ...] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.config = self.policy.config
        self.kind: str = self.config.type
        if self.kind == "smolvla" and not self.tasks:
            raise LeRobotExportError(
                "the policy receives its task as text: name its tasks (--task TEXT), by the texts "
                "that it was trained with"
            )
        if self.kind != "smolvla" and self.tasks:
            raise LeRobotExportError(f"the {self.kind} policy receives no task: leave --task out")
        renamed = _renamed(self.preprocessor)
        # A camera that the policy has and no robot: it fills that place by itself.
        self.policy_names = tuple(
            name for name in self.config.image_features if ".empty_camera_" not in name
        )
        self.robot_names = tuple(renamed.get(name, name) for name in self.policy_names)
        self.cameras = {
            _camera(name): tuple(self.config.image_features[own].shape[1:])
            for name, own in zip(self.robot_names, self.policy_names, strict=True)
        }
        steps = getattr(self.config, "n_obs_steps", 1) if self.kind == "diffusion" else 1
        self.history = (
            None
            if steps == 1
            else History(observations=steps, spacing=float(self.names.control_period or 0))
        )
        self.task_tokens = self._task_tokens()

    def export(
        self,
        encoder_path: Path,
        sampler_path: Path,
        action_kind: ActionKind,
        position_names: tuple[str, ...],
        checkpoint: Path,
    ) -> None:
        """Export encoder and sampler; both state their checkpoint."""
        metadata = {"lerobot_checkpoint": checkpoint_hash(checkpoint)}
        encoder, sampler, conditioning = self._modules()
        with torch.no_grad():
            outputs = encoder(*self._inputs(torch.Generator().manual_seed(1), 2, as_batch=True))
        embedding, *handed_on = (outputs,) if isinstance(outputs, Tensor) else outputs
        examples = {"joints": self._joints(torch.Generator().manual_seed(0), 5)}
        export_encoder(
            encoder,
            encoder_path,
            cameras=self.cameras,
            joint_names=self.names.joints,
            history=self.history,
            tasks=self.task_tokens,
            conditioning=conditioning,
            examples=examples,
            metadata=metadata,
        )
        has_temporal_ensemble = getattr(self.config, "temporal_ensemble_coeff", None) is not None
        export_sampler(
            sampler,
            sampler_path,
            embedding_size=embedding.shape[1],
            noise_shape=self.noise_shape or (),
            noise="none" if self.noise_shape is None else "standard_normal",
            conditioning=dict(zip(conditioning, handed_on, strict=True)),
            action_names=self.names.actions,
            action_kind=action_kind,
            position_names=position_names,
            executed_actions=1 if has_temporal_ensemble else self.config.n_action_steps,
            examples={"embedding": embedding},
            metadata=metadata,
        )

    def compare(self, encoder_path: Path, sampler_path: Path) -> tuple[float, float]:
        """Return the largest difference of chunks to LeRobot's, and the largest of these."""
        encoder = ObservationEncoder(read_onnx_file(encoder_path))
        sampler = PolicySampler(read_onnx_file(sampler_path))
        generator, noises = torch.Generator().manual_seed(7), sampler.noise_stream(seed=7)
        difference = largest = 0.0
        for task in self.tasks or ("",):
            for _ in range(COMPARED):
                *pictures, joints = self._inputs(generator, 1, as_batch=False)
                images = {
                    name: picture[0].numpy()
                    for name, picture in zip(self.cameras, pictures, strict=True)
                }
                encoded = encoder.encode(images, joints[0].numpy(), task)
                noise = noises.draw(SAMPLES)
                made = sampler.sample(encoded.embedding, noise, encoded.conditioning)
                for chunk, of_sample in zip(made, noise, strict=False):
                    own = self._own_chunk(pictures, joints, task, of_sample)
                    apart = np.abs(chunk[: len(own)] - own).max()
                    difference = max(difference, float(np.nan_to_num(apart, nan=np.inf)))
                    largest = max(largest, float(np.abs(own).max()))
        return difference, largest

    def _modules(self) -> tuple[Any, Any, tuple[str, ...]]:
        """Return encoder, sampler, and the names of what is handed on between them."""
        preprocessing = Preprocessing(
            tuple(self.cameras), self.policy_names, self._normalise, has_joints=True
        )
        inputs = self._inputs(torch.Generator().manual_seed(0), 1, as_batch=True)
        if self.kind == "act":
            encoder = ACTEncoder(self.policy, preprocessing)
            sampler = ACTSampler(self.policy, encoder, inputs, self._to_units)
            return encoder, sampler, ("encoder_tokens",)
        if self.kind == "smolvla":
            self.noise_shape = self.config.chunk_size, self.config.max_action_dim
            read = SmolVLAEncoder(self.policy, preprocessing, inputs)
            return read, SmolVLASampler(self.policy, self._to_units), ("valid", "memory")
        denoised = DiffusionSampler(self.policy, self._to_units)
        self.noise_shape = denoised.noise_shape
        return DiffusionEncoder(self.policy, preprocessing), denoised, ()

    def _normalise(self, seen: dict[str, Tensor]) -> dict[str, Tensor]:
        from lerobot.processor.core import TransitionKey

        transition: Any = {TransitionKey.OBSERVATION: seen}
        for step in self.preprocessor.steps:
            if type(step).__name__ == "NormalizerProcessorStep":
                transition = step(transition)
        normalised: dict[str, Tensor] = transition[TransitionKey.OBSERVATION]
        return normalised

    def _to_units(self, actions: Tensor) -> Tensor:
        from lerobot.processor.core import TransitionKey

        transition: Any = {TransitionKey.ACTION: actions}
        for step in self.postprocessor.steps:
            if type(step).__name__ == "UnnormalizerProcessorStep":
                transition = step(transition)
        in_units: Tensor = transition[TransitionKey.ACTION]
        return in_units

    def _inputs(self, generator: torch.Generator, count: int, *, as_batch: bool) -> list[Tensor]:
        """Return made-up observations as the encoder takes them; in a batch with tokens."""
        several = () if self.history is None else (self.history.observations,)
        inputs = [
            torch.randint(256, (count, *several, *size, 3), generator=generator, dtype=torch.uint8)
            for size in self.cameras.values()
        ]
        inputs.append(self._joints(generator, count))
        if as_batch and self.task_tokens:
            first = self.task_tokens[0]
            inputs.append(torch.tensor([first.tokens] * count))
            inputs.append(torch.tensor([first.mask] * count))
        return inputs

    def _joints(self, generator: torch.Generator, count: int) -> Tensor:
        """Return made-up joint positions such as those that the policy was trained on."""
        several = () if self.history is None else (self.history.observations,)
        numbers = torch.randn(count, *several, len(self.names.joints), generator=generator)
        statistics = _statistics(self.preprocessor).get(STATE, {})
        if "mean" in statistics and "std" in statistics:
            return numbers * statistics["std"].cpu() + statistics["mean"].cpu()
        if "min" in statistics and "max" in statistics:
            low, high = statistics["min"].cpu(), statistics["max"].cpu()
            return low + (high - low) * torch.sigmoid(numbers)
        return numbers

    def _task_tokens(self) -> tuple[TaskTokens, ...]:
        """Return the tokens of each task, padded to the same number."""
        if not self.tasks:
            return ()
        blank = self._observation([torch.zeros(*size, 3) for size in self.cameras.values()], None)
        found = []
        for task in self.tasks:
            batch = self.preprocessor({**blank, "task": task})
            found.append((batch[TOKENS][0].tolist(), batch[TOKENS_MASK][0].bool().tolist()))
        length = max(len(tokens) for tokens, _ in found)
        return tuple(
            TaskTokens(
                task=task,
                tokens=tuple(tokens + [0] * (length - len(tokens))),
                mask=tuple(mask + [False] * (length - len(mask))),
            )
            for task, (tokens, mask) in zip(self.tasks, found, strict=True)
        )

    def _observation(self, pictures: Sequence[Tensor], joints: Tensor | None) -> dict[str, Any]:
        """Return an observation as LeRobot takes it from a robot."""
        state = torch.zeros(len(self.names.joints)) if joints is None else joints
        seen = {
            name: channels_first(picture)
            for name, picture in zip(self.robot_names, pictures, strict=True)
        }
        return {**seen, STATE: state}

    def _own_chunk(
        self, pictures: Sequence[Tensor], joints: Tensor, task: str, noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the chunk that LeRobot's class predicts of an observation."""
        moments = [([picture[0] for picture in pictures], joints[0])]
        if self.history is not None:
            moments = [
                ([picture[0, at] for picture in pictures], joints[0, at])
                for at in range(self.history.observations)
            ]
        self.policy.reset()
        for seen, positions in moments:
            observation = self._observation(seen, positions)
            batch = self.preprocessor({**observation, "task": task} if task else observation)
            if self.kind == "diffusion":
                batch = _queued(self.policy, batch)
        chunk = self._predicted(batch, torch.as_tensor(noise)[None])
        own: NDArray[np.float32] = self.postprocessor(chunk)[0].float().numpy()
        return own

    def _predicted(self, batch: Any, noise: Tensor) -> Tensor:
        if self.kind == "act":
            return _no_grad(self.policy.predict_action_chunk, batch)
        if self.kind == "smolvla" or noise.ndim == 3:
            return _no_grad(self.policy.predict_action_chunk, batch, noise=noise)
        first, *further = noise.unbind(1)
        with drawn_instead(iter(further)):
            return _no_grad(self.policy.predict_action_chunk, batch, noise=first)


def _no_grad(predict: Any, *args: Any, **named: Any) -> Tensor:
    with torch.no_grad():
        chunk: Tensor = predict(*args, **named)
    return chunk


def _queued(policy: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Put an observation into the queues of a DiffusionPolicy, as `select_action` does."""
    from lerobot.policies.utils import populate_queues

    images = torch.stack([batch[name] for name in policy.config.image_features], dim=-4)
    seen = {name: value for name, value in batch.items() if name != "action"}
    whole = {**seen, IMAGES: images}
    policy._queues = populate_queues(policy._queues, whole)
    return whole


def _renamed(preprocessor: Any) -> dict[str, str]:
    """Return the robot's names of what the preprocessor renames, by the policy's."""
    renamed: dict[str, str] = {}
    for step in preprocessor.steps:
        renamed |= {new: old for old, new in getattr(step, "rename_map", {}).items()}
    return renamed


def _statistics(preprocessor: Any) -> Mapping[str, Mapping[str, Tensor]]:
    for step in preprocessor.steps:
        if type(step).__name__ == "NormalizerProcessorStep":
            held: Mapping[str, Mapping[str, Tensor]] = step._tensor_stats
            return held
    return {}


def _camera(name: str) -> str:
    """Return a camera's name without the dataset's prefix."""
    return name.removeprefix("observation.").removeprefix("images.")
