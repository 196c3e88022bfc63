# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a LeRobotDataset recorded of each episode beside frames: actions, outcome, decisions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from failure_monitor.joint_motion import JointMotion
from failure_monitor.listed_names import list_names
from failure_monitor.sources.lerobot_columns import TIME, Part, episode_parts
from failure_monitor.sources.lerobot_joints import JOINT_COLUMNS, written_joints
from failure_monitor.sources.lerobot_metadata import ACTION, STATE, DatasetMetadata, Episode
from failure_monitor.sources.source import DatasetOptions, SourceError

logger = logging.getLogger(__name__)

SUCCESS_COLUMNS = ("next.success", "success")
INTERVENTION_COLUMNS = (
    "intervention",
    "is_intervention",
    "complementary_info.is_intervention",
)
TASK = "task_index"

DECISION = "failure_monitor.decision"
EMBEDDING = "failure_monitor.embedding"
CHUNKS = "failure_monitor.action_chunks"
DECISION_COLUMNS = (DECISION, EMBEDDING, CHUNKS)
"""The columns of decisions: whether the policy decided at a frame, and with what; elsewhere
embedding and chunks mean nothing. A policy without an embedding has no column of it."""

AT_DECISIONS = (*DECISION_COLUMNS, *JOINT_COLUMNS)
"""Columns that mean something at decisions alone."""

NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True, eq=False)
class RecordedDecisions:
    """Decisions of an episode.

    Attributes:
        frames: At which frames, whole (N,).
        embeddings: float32 (N, E); (N, 0) where the policy gave none.
        chunks: float32 (N, B, H, D).
        joints: What the joints did up to each, as this package wrote it; None if it did not.
        external: External scores by their names, float64 (N,) each.
        tokens: The tokens of the policy's network, float32 (N, T, F); None if there are none.
    """

    frames: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    chunks: NDArray[np.float32]
    joints: JointMotion | None = None
    external: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    tokens: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class RecordedEpisode:
    """What was recorded of an episode of T frames.

    Attributes:
        episode: The episode.
        observations: The vectors that were observed, float32 (T, …), by column.
        actions: The actions that were executed, float32 (T, D).
        success: The outcome; None if unknown.
        interventions: At which frames a human acted, bool (T,); None if unknown.
        task: The text of its task; empty if unknown.
        decisions: What the policy decided; None if that was not recorded.
    """

    episode: Episode
    observations: Mapping[str, NDArray[np.float32]]
    actions: NDArray[np.float32]
    success: bool | None
    interventions: NDArray[np.bool_] | None
    task: str
    decisions: RecordedDecisions | None


@dataclass(frozen=True)
class Columns:
    """Which columns of a dataset are read, and as what.

    Attributes:
        success: The column of the outcome; empty if there is none.
        intervention: The column of human interventions; empty if there is none.
        observations: The columns of vectors that a policy may take.
        has_decisions: Whether the decisions of the policy were recorded.
    """

    success: str = ""
    intervention: str = ""
    observations: tuple[str, ...] = ()
    has_decisions: bool = False

    @classmethod
    def of(cls, metadata: DatasetMetadata, options: DatasetOptions) -> Columns:
        """Choose the columns.

        Raises:
            SourceError: The column of the outcome is missing, or holds no numbers.
        """
        there = metadata.features
        if options.success_column and options.success_column not in there:
            raise SourceError(
                f"{metadata.folder} has no column '{options.success_column}', only "
                f"{list_names(there)}: name the column of the outcome with '--success-column', or "
                "give labels"
            )
        success = options.success_column or _first(SUCCESS_COLUMNS, there)
        intervention = _first(INTERVENTION_COLUMNS, there)
        for name in filter(None, (success, intervention)):
            if there[name].dtype not in NUMBERS or there[name].shape != (1,):
                raise SourceError(
                    f"{metadata.folder}: the column '{name}' holds {there[name].dtype} "
                    f"{there[name].shape}, expected one bool or number for each frame: name "
                    "another with '--success-column', or give labels"
                )
        return cls(
            success,
            intervention,
            tuple(
                name
                for name, feature in there.items()
                if name.startswith("observation.") and feature.dtype in NUMBERS
            ),
            _has_decisions(metadata),
        )

    @property
    def names(self) -> list[str]:
        """All columns that are read, if they are there."""
        decisions = AT_DECISIONS if self.has_decisions else ()
        return [
            name
            for name in (
                *(ACTION, TASK, TIME),
                *(self.success, self.intervention),
                *self.observations,
                *decisions,
            )
            if name
        ]


def _has_decisions(metadata: DatasetMetadata) -> bool:
    """Return whether there are the columns of decisions, whose shapes fit the actions."""
    there = metadata.features
    if not (DECISION in there and CHUNKS in there):
        return False
    sizes = [
        there[name].shape if name in there else (0,) for name in (DECISION, EMBEDDING, CHUNKS)
    ]
    if (
        sizes[0] != (1,)
        or len(sizes[1]) != 1
        or len(sizes[2]) != 3
        or sizes[2][2] != there[ACTION].shape[0]
    ):
        raise SourceError(
            f"{metadata.folder}: the columns {list_names(DECISION_COLUMNS)} have the shapes "
            f"{sizes[0]}, {sizes[1]} and {sizes[2]}, expected (1,), (E,) and (B, H, D) with as "
            f"many dimensions as the action has, {there[ACTION].shape[0]}: record them so"
        )
    return True


def _first(names: Sequence[str], there: Mapping[str, object]) -> str:
    return next((name for name in names if name in there), "")


@dataclass
class _Gathered:
    """The parts of the columns that were read so far."""

    columns: dict[str, list[NDArray[np.generic]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    decided: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, part: Part) -> None:
        kept: Mapping[str, NDArray[np.generic]] = part.columns
        if DECISION in part.columns:
            rows = np.flatnonzero(part.columns[DECISION])
            self.decided.append(part.first + rows)
            # Of frames without a decision the chunks, most of all that is read, are not kept.
            kept = {
                name: column[rows] if name in AT_DECISIONS else column
                for name, column in kept.items()
            }
        for name, column in kept.items():
            self.columns[name].append(np.array(column))

    def column(self, name: str) -> NDArray[np.generic]:
        return np.concatenate(self.columns[name])


def read_episodes(
    metadata: DatasetMetadata, columns: Columns, advance: Callable[[float], None]
) -> list[RecordedEpisode]:
    """Read what was recorded of every episode, in their order.

    Raises:
        SourceError: A file is missing or damaged, or a value is NaN or infinite.
    """
    names = [name for name in columns.names if name in metadata.features]
    gathered: dict[int, _Gathered] = defaultdict(_Gathered)
    read, of_all = 0, sum(episode.length for episode in metadata.episodes)
    for part in episode_parts(metadata, names):
        gathered[part.episode.index].add(part)
        read += len(part.columns[ACTION])
        advance(read / of_all)
    return [
        _recorded(metadata, columns, episode, gathered.pop(episode.index))
        for episode in metadata.episodes
    ]


def _recorded(
    metadata: DatasetMetadata, columns: Columns, episode: Episode, gathered: _Gathered
) -> RecordedEpisode:
    if TIME in gathered.columns:
        _reject_other_rate(metadata, episode, gathered.column(TIME).astype(np.float64))
    decisions = None
    if columns.has_decisions:
        frames = np.concatenate(gathered.decided)
        embeddings = np.empty((len(frames), 0), np.float32)
        if EMBEDDING in metadata.features:
            embeddings = _vectors(metadata, EMBEDDING, gathered)
        joints = {
            name: gathered.column(name).astype(np.float64).reshape(len(frames), -1)
            for name in JOINT_COLUMNS
            if name in metadata.features
        }
        decisions = RecordedDecisions(
            frames,
            embeddings,
            _vectors(metadata, CHUNKS, gathered),
            written_joints(metadata.features, joints) if len(frames) else None,
        )
    return RecordedEpisode(
        episode,
        {name: _finite(metadata, episode, name, gathered) for name in columns.observations},
        _finite(metadata, episode, ACTION, gathered),
        _outcome(gathered.column(columns.success)) if columns.success else None,
        gathered.column(columns.intervention).astype(np.float64) > 0
        if columns.intervention
        else None,
        _task(metadata, episode, gathered),
        decisions,
    )


def _reject_other_rate(
    metadata: DatasetMetadata, episode: Episode, times: NDArray[np.float64]
) -> None:
    apart = np.abs(times - times[0] - np.arange(len(times)) / metadata.fps)
    if not (apart <= 0.5 / metadata.fps).all():
        number = int(np.argmax(~(apart <= 0.5 / metadata.fps)))
        raise SourceError(
            f"{episode.data}: the frame {number} of the episode {episode.index} is of "
            f"{times[number]:.3f} s, which are not {metadata.fps:g} frames per second, as "
            "the metadata state: correct 'fps' in meta/info.json, or leave the dataset out"
        )


def _finite(
    metadata: DatasetMetadata, episode: Episode, name: str, gathered: _Gathered
) -> NDArray[np.float32]:
    column = _vectors(metadata, name, gathered)
    wrong = np.flatnonzero(~np.isfinite(column).reshape(len(column), -1).all(axis=1))
    if len(wrong):
        raise SourceError(
            f"{episode.data}: '{name}' is NaN or infinite in the frame {wrong[0]} of the episode "
            f"{episode.index}, and in {len(wrong) - 1} more: leave the episode out of the dataset"
        )
    return column


def _vectors(metadata: DatasetMetadata, name: str, gathered: _Gathered) -> NDArray[np.float32]:
    column = gathered.column(name).astype(np.float32)
    # A single value a frame is a vector of one.
    return column.reshape(len(column), *metadata.features[name].shape)


def _outcome(column: NDArray[np.generic]) -> bool | None:
    """Return whether the column is true, or 1 and more, in any frame; None if all are NaN."""
    numbers = column.astype(np.float64)
    known = numbers[~np.isnan(numbers)]
    return bool(known.max() >= 1) if len(known) else None


def _task(metadata: DatasetMetadata, episode: Episode, gathered: _Gathered) -> str:
    if len(episode.tasks) == 1:
        return episode.tasks[0]
    if TASK in gathered.columns:
        number = int(gathered.column(TASK)[0].item())
        if number in metadata.tasks:
            return metadata.tasks[number]
    return episode.tasks[0] if episode.tasks else ""


def positions_of(
    metadata: DatasetMetadata, names: Sequence[str], recorded: RecordedEpisode
) -> NDArray[np.float32] | None:
    """Return the measured positions of some joints at every frame (T, P); None if the state has
    not all of them by name."""
    there = metadata.features[STATE].names if STATE in recorded.observations else ()
    if not names or not set(names) <= set(there):
        return None
    return recorded.observations[STATE][:, [there.index(name) for name in names]]
