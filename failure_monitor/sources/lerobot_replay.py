# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Replays a LeRobot policy over the frames of a dataset, to see what it decided at each.

The policy is run as on the robot, frame by frame, so that its queues and its history are the
same; what it decides is seen by watching it (`failure_monitor.policies`). Nothing of what it
returns is executed: the recorded actions were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names
from failure_monitor.policies.load_policy import LoadedPolicy, load_policy
from failure_monitor.policies.watch_policy import watch_policy
from failure_monitor.policies.watched_decision import WatchedDecision
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.lerobot_episodes import RecordedDecisions, RecordedEpisode
from failure_monitor.sources.lerobot_metadata import ACTION, DatasetMetadata
from failure_monitor.sources.source import NOISE_SEED, SourceError

RESIZING = ("resize_imgs_with_padding", "image_resolution")
"""Fields in the configuration of a policy that takes images of any size."""


class Replay:
    """A policy that is watched while it is run over recorded frames; a context manager."""

    def __init__(
        self,
        checkpoint: Path,
        metadata: DatasetMetadata,
        *,
        samples: int | None = None,
        seed: int | None = None,
        keeps_tokens: bool = False,
    ) -> None:
        """Load the policy.

        Args:
            checkpoint: The folder of its checkpoint.
            metadata: The dataset, whose columns the policy takes.
            samples: The number of chunks that are sampled per decision; None for the usual one.
            seed: Of the noise that they are sampled from.
            keeps_tokens: Whether the tokens of its network are kept, which take memory.

        Raises:
            FailureMonitorError: The checkpoint cannot be loaded, the policy cannot be watched, or
                takes what the dataset has not.
        """
        self._loaded = load_policy(
            checkpoint,
            purpose="replaying a policy",
            instead="read rollouts that hold its decisions",
        )
        self._metadata = metadata
        self._seed = NOISE_SEED if seed is None else seed
        self._keeps_tokens = keeps_tokens
        self._decided: list[WatchedDecision] = []
        self._faults: list[str] = []
        inputs = self._loaded.policy.config.input_features
        self.inputs = _Inputs.of(checkpoint, metadata, self._loaded, inputs)
        """What the policy takes of the dataset."""
        self._watch = watch_policy(
            self._loaded.policy,
            self._loaded.postprocessor,
            samples=samples,
            action_names=metadata.action_names,
            control_period=1 / metadata.fps,
            checkpoint=checkpoint,
            seed=self._seed,
            on_decision=self._decided.append,
            on_fault=self._faults.append,
        )

    @property
    def description(self) -> PolicyDescription:
        """What the policy states about itself."""
        return self._watch.description

    def decisions(
        self, recorded: RecordedEpisode, frames: Iterable[Mapping[str, NDArray[np.uint8]]]
    ) -> RecordedDecisions:
        """Return what the policy decides at the frames of an episode.

        Raises:
            SourceError: It decides nothing, or fails.
        """
        import torch

        torch.manual_seed(self._seed)
        policy = self._loaded.policy
        policy.reset()
        at: list[int] = []
        made: list[WatchedDecision] = []
        for number, images in enumerate(frames):
            self._decided.clear()
            try:
                with torch.inference_mode():
                    policy.select_action(self._batch(recorded, number, images))
            except FailureMonitorError:
                raise
            except Exception as error:  # whatever a policy raises at what it cannot take
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise SourceError(
                    f"{self._metadata.folder}: the policy fails at the frame {number} of the "
                    f"episode {recorded.episode.index} ({reason}): name the checkpoint of the "
                    "policy that recorded it"
                ) from error
            if self._faults:
                raise SourceError(
                    f"{self._metadata.folder}, episode {recorded.episode.index}, frame {number}: "
                    f"{self._faults[0]}"
                )
            made += map(self._kept, self._decided)
            at += [number] * len(self._decided)
        if not made:
            raise SourceError(
                f"{self._metadata.folder}: the policy decides nothing in the episode "
                f"{recorded.episode.index}, which has {recorded.episode.length} frames: leave it "
                "out"
            )
        return RecordedDecisions(
            np.array(at),
            np.array([decision.embedding for decision in made], np.float32),
            np.array([decision.chunks for decision in made], np.float32),
            external={
                name: np.array([decision.extras[name] for decision in made])
                for name in made[0].extras
                if all(name in decision.extras for decision in made)
            },
            tokens=_tokens(made),
        )

    def _kept(self, decision: WatchedDecision) -> WatchedDecision:
        return decision if self._keeps_tokens else replace(decision, tokens=None)

    def _batch(
        self, recorded: RecordedEpisode, number: int, images: Mapping[str, NDArray[np.uint8]]
    ) -> Any:
        import torch

        batch: dict[str, Any] = {
            name: torch.from_numpy(recorded.observations[name][number]).unsqueeze(0)
            for name in self.inputs.vectors
        }
        for name, image in images.items():
            pixels = torch.from_numpy(image).to(torch.float32) / 255
            batch[name] = pixels.permute(2, 0, 1).contiguous().unsqueeze(0)
        batch["task"] = recorded.task
        batch["robot_type"] = ""
        return self._loaded.preprocessor(batch)

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watch.close()


def _tokens(made: Sequence[WatchedDecision]) -> NDArray[np.float32] | None:
    """Return the tokens of all decisions; None if one has none."""
    tokens = [decision.tokens for decision in made if decision.tokens is not None]
    return np.array(tokens, np.float32) if len(tokens) == len(made) else None


@dataclass(frozen=True)
class _Inputs:
    """What a policy takes of a dataset.

    Attributes:
        cameras: The columns of cameras.
        vectors: The columns of other observations.
    """

    cameras: tuple[str, ...]
    vectors: tuple[str, ...]

    @classmethod
    def of(
        cls,
        checkpoint: Path,
        metadata: DatasetMetadata,
        loaded: LoadedPolicy,
        inputs: Mapping[str, Any],
    ) -> _Inputs:
        missing = [name for name in inputs if name not in metadata.features]
        if missing:
            raise SourceError(
                f"the policy {checkpoint} takes {list_names(missing)}, and {metadata.folder} has "
                f"only {list_names(_observations(metadata))}: name the checkpoint of the policy "
                "that recorded it, or rename the columns"
            )
        takes_any_size = any(hasattr(loaded.policy.config, field) for field in RESIZING)
        for name, feature in inputs.items():
            _reject_other_shape(checkpoint, metadata, name, tuple(feature.shape), takes_any_size)
        _reject_other_shape(
            checkpoint,
            metadata,
            ACTION,
            tuple(loaded.policy.config.output_features[ACTION].shape),
            False,
        )
        cameras = tuple(name for name in inputs if metadata.features[name].is_camera)
        return cls(cameras, tuple(name for name in inputs if name not in cameras))


def _observations(metadata: DatasetMetadata) -> Sequence[str]:
    return [name for name in metadata.features if name.startswith("observation.")]


def _reject_other_shape(
    checkpoint: Path,
    metadata: DatasetMetadata,
    name: str,
    wanted: tuple[int, ...],
    takes_any_size: bool,
) -> None:
    feature = metadata.features[name]
    if feature.is_camera:
        there: tuple[int, ...] = (3, *feature.image_size)
        if takes_any_size:
            return
    else:
        there = feature.shape
    if there != wanted:
        raise SourceError(
            f"the policy {checkpoint} takes '{name}' of the shape {wanted}, {metadata.folder} has "
            f"it of {there}: name the checkpoint of the policy that recorded it"
        )
