# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads rollouts from LeRobotDatasets of the versions 2.1 and 3.0 (docs/lerobot_datasets.md).

An episode is a rollout. Its decisions were recorded in columns of their own, or a policy is
replayed over its frames.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.joint_motion import JointMotion
from failure_monitor.listed_names import list_names
from failure_monitor.missing_package import missing_packages_named
from failure_monitor.sources.lerobot_episodes import (
    DECISION_COLUMNS,
    Columns,
    RecordedDecisions,
    RecordedEpisode,
    positions_of,
    read_episodes,
)
from failure_monitor.sources.lerobot_frames import FrameReader
from failure_monitor.sources.lerobot_joints import measured_joints
from failure_monitor.sources.lerobot_metadata import (
    ACTION,
    DatasetMetadata,
    is_dataset,
    read_metadata,
)
from failure_monitor.sources.own_actions import (
    MAX_DISTANCE_OF_EPISODE,
    OwnActions,
    compare_actions,
    nearest_sample,
    pooled,
)
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceError

logger = logging.getLogger(__name__)

NAMES_OF_ROLLOUTS = ("eval_", "rollout_")
"""How LeRobot's commands make users begin the names of datasets in which a policy acted."""

SHARE_OF_COLUMNS = 0.1
"""Share of reading a dataset after which a policy begins to be replayed."""


class LeRobotDataset:
    """The folder of a LeRobotDataset."""

    def recognises(self, path: Path) -> bool:
        """Return whether the folder has a `meta/info.json`, or is the cache of a hub."""
        return is_dataset(path)

    @missing_packages_named()
    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return its episodes as rollouts.

        Raises:
            SourceError: It is damaged, incomplete, of another version, or its actions are not
                those of the policy.
            FailureMonitorError: The policy cannot be replayed.
            MissingPackageError: A package that reads it is not installed.
        """
        metadata = read_metadata(path)
        columns = Columns.of(metadata, options.dataset)
        if options.dataset.policy is None and not columns.has_decisions:
            raise _without_decisions(metadata)
        replays = options.dataset.policy is not None
        share = SHARE_OF_COLUMNS if replays else 1.0
        episodes = read_episodes(metadata, columns, lambda read: advance(share * read))
        if replays:
            return _replayed(metadata, episodes, options, advance)
        kept = [recorded for recorded in episodes if _decided(recorded)]
        if len(kept) < len(episodes):
            logger.warning(
                "%s: left out %d of %d episodes without a decision of the policy",
                metadata.folder,
                len(episodes) - len(kept),
                len(episodes),
            )
        return _contents(metadata, kept, options)


def _decided(recorded: RecordedEpisode) -> bool:
    return recorded.decisions is not None and len(recorded.decisions.frames) > 0


def _without_decisions(metadata: DatasetMetadata) -> SourceError:
    return SourceError(
        f"{metadata.folder} holds actions and frames, but not what the policy decided: replay it "
        "with '--policy CHECKPOINT', or record its decisions in the columns "
        f"{list_names(DECISION_COLUMNS)}"
    )


def _replayed(
    metadata: DatasetMetadata,
    episodes: Sequence[RecordedEpisode],
    options: BagOptions,
    advance: Advance,
) -> SourceContents:
    # Imported here: torch comes with it, and LeRobot is loaded.
    from failure_monitor.sources.lerobot_replay import Replay

    assert options.dataset.policy is not None
    decided = []
    black_box = options.black_box
    with (
        Replay(
            options.dataset.policy,
            metadata,
            samples=black_box.samples,
            seed=black_box.seed,
            keeps_tokens=bool(options.topics.tokens),
        ) as replay,
        FrameReader(metadata, replay.inputs.cameras) as reader,
    ):
        for number, recorded in enumerate(episodes):
            decisions = replay.decisions(recorded, reader.frames(recorded.episode))
            decided.append(replace(recorded, decisions=decisions))
            share = (number + 1) / len(episodes)
            advance(SHARE_OF_COLUMNS + (1 - SHARE_OF_COLUMNS) * share)
        _warn_of_demonstrations(metadata, decided)
        stated = replay.description if options.topics.format else None
        contents = _contents(metadata, decided, options, is_replayed=True)
        return replace(contents, stated_policy=stated)


def _warn_of_demonstrations(
    metadata: DatasetMetadata, episodes: Sequence[RecordedEpisode]
) -> None:
    """Warn where nothing tells rollouts of a policy from demonstrations that it imitates."""
    has_noise = any(r.decisions is not None and r.decisions.chunks.shape[1] > 1 for r in episodes)
    if has_noise and not metadata.name.startswith(NAMES_OF_ROLLOUTS):
        logger.warning(
            "%s: LeRobot begins the names of a policy's own rollouts with %s. These are taken for "
            "such, for the policy might have acted so; but it may also have learned to, from "
            "demonstrations: do not calibrate on those",
            metadata.folder,
            " or ".join(NAMES_OF_ROLLOUTS),
        )


def _contents(
    metadata: DatasetMetadata,
    episodes: Sequence[RecordedEpisode],
    options: BagOptions,
    *,
    is_replayed: bool = False,
) -> SourceContents:
    if not options.dataset.accepts_teleoperated:
        _reject_others_actions(metadata, episodes)
    rollouts = tuple(
        _rollout(metadata, recorded, options, is_replayed=is_replayed) for recorded in episodes
    )
    helped = sum(rollout.has_intervention for rollout in rollouts)
    if helped:
        logger.warning(
            "%s: a human intervened in %d of %d episodes, so that their outcomes are not the "
            "policy's alone",
            metadata.folder,
            helped,
            len(rollouts),
        )
    return SourceContents(
        rollouts,
        metadata.action_names,
        executed_actions=_executed_actions(episodes),
        control_period=1 / metadata.fps,
        stated_policy=metadata.stated_policy if options.topics.format else None,
    )


def _rollout(
    metadata: DatasetMetadata,
    recorded: RecordedEpisode,
    options: BagOptions,
    *,
    is_replayed: bool,
) -> Rollout:
    decisions = recorded.decisions
    assert decisions is not None
    if is_replayed:
        decisions = _with_executed_first(decisions, recorded)
    stamps = decisions.frames / metadata.fps
    names = options.measured_names or options.position_names or metadata.action_names
    positions = positions_of(metadata, names, recorded)
    return Rollout(
        name=f"{metadata.name}/{recorded.episode.name}",
        stamps=stamps,
        embeddings=decisions.embeddings,
        chunks=decisions.chunks,
        success=recorded.success,
        group=metadata.groups.get(recorded.episode.index, ""),
        source=str(metadata.folder),
        sha256=_sha256(decisions, stamps),
        positions=None if positions is None else positions[decisions.frames],
        task=recorded.task,
        interventions=_interventions(recorded),
        external=decisions.external,
        joints=_joints(metadata, recorded, decisions, options.topics.commands),
        tokens=decisions.tokens,
    )


def _joints(
    metadata: DatasetMetadata,
    recorded: RecordedEpisode,
    decisions: RecordedDecisions,
    commands: str,
) -> JointMotion | None:
    if commands.removeprefix("/") not in ("", ACTION):
        raise SourceError(
            f"{metadata.folder}: the commands as sent are in the column '{ACTION}' of a "
            f"LeRobotDataset, not in '{commands}': name that (--commands-topic {ACTION})"
        )
    if decisions.joints is not None or metadata.is_exported:
        # In what was exported, positions between decisions are no measurements.
        return decisions.joints
    return measured_joints(
        metadata.features,
        recorded.observations,
        decisions.frames,
        recorded.actions if commands else None,
        metadata.action_names,
    )


def _with_executed_first(
    decisions: RecordedDecisions, recorded: RecordedEpisode
) -> RecordedDecisions:
    """Return decisions whose first sample begins with the actions that were executed.

    It ends as the sample does that begins most like them, which it replaces.
    """
    chunks = decisions.chunks.copy()
    for samples, actions in zip(chunks, _executed(recorded), strict=True):
        nearest = nearest_sample(samples, actions)
        samples[[0, nearest]] = samples[[nearest, 0]]
        steps = min(len(actions), samples.shape[1])
        samples[0, :steps] = actions[:steps]
    return replace(decisions, chunks=chunks)


def _executed(recorded: RecordedEpisode) -> list[NDArray[np.float32]]:
    """Return the actions that were executed between each decision and the next."""
    assert recorded.decisions is not None
    frames = recorded.decisions.frames
    return [
        recorded.actions[begin:end]
        for begin, end in zip(frames, [*frames[1:], recorded.episode.length], strict=True)
    ]


def _interventions(recorded: RecordedEpisode) -> NDArray[np.bool_] | None:
    """Return whether a human acted between each decision and the next; before the first counts
    as after it."""
    assert recorded.decisions is not None
    if recorded.interventions is None:
        return None
    bounds = [0, *recorded.decisions.frames[1:], recorded.episode.length]
    return np.array(
        [bool(recorded.interventions[begin:end].any()) for begin, end in pairwise(bounds)]
    )


def _executed_actions(episodes: Sequence[RecordedEpisode]) -> int | None:
    """Return the number of frames from a decision to the next; None if it varies, or is more than
    a chunk has."""
    horizon = max((r.decisions.chunks.shape[2] for r in episodes if r.decisions), default=0)
    gaps = {
        int(gap)
        for recorded in episodes
        if recorded.decisions is not None
        for gap in np.diff(recorded.decisions.frames)
    }
    return gaps.pop() if len(gaps) == 1 and gaps <= set(range(1, horizon + 1)) else None


def _reject_others_actions(metadata: DatasetMetadata, episodes: Sequence[RecordedEpisode]) -> None:
    """Reject episodes whose actions are not the policy's.

    Raises:
        SourceError: There are some.
    """
    actions = np.concatenate([recorded.actions for recorded in episodes])
    deviations = actions.std(axis=0, dtype=np.float64)
    scale = np.where(deviations > 0, deviations, 1.0)
    compared = {
        recorded.episode.name: found
        for recorded in episodes
        if (found := _compared(recorded, scale)) is not None
    }
    strange = {
        name: found
        for name, found in compared.items()
        if not found.are_own(MAX_DISTANCE_OF_EPISODE)
    }
    if not strange and compared and not pooled(compared.values()).are_own():
        strange = compared
    if not strange:
        return
    name, worst = max(strange.items(), key=lambda item: item[1].distance)
    raise SourceError(
        f"{metadata.folder}: in {len(strange)} of {len(episodes)} episodes "
        f"({list_names(strange)}) the recorded actions are not what the policy would have done: "
        f"in {name} they are {worst.distance:.2g} standard deviations from the nearest of its "
        f"samples, which are {worst.noise:.2g} from each other. A person or another policy acted, "
        "or it executed another number of actions of a chunk. Calibrate on rollouts of the policy "
        "itself, which demonstrations are not; '--accept-teleoperated' reads them all the same"
    )


def _compared(recorded: RecordedEpisode, scale: NDArray[np.float64]) -> OwnActions | None:
    assert recorded.decisions is not None
    by_human = _interventions(recorded)
    pairs = [
        (samples, actions)
        for number, (samples, actions) in enumerate(
            zip(recorded.decisions.chunks, _executed(recorded), strict=True)
        )
        if by_human is None or not by_human[number]
    ]
    return compare_actions([samples for samples, _ in pairs], [own for _, own in pairs], scale)


def _sha256(decisions: RecordedDecisions, stamps: NDArray[np.float64]) -> str:
    """Return the SHA-256 of the stamps, embeddings and executed chunks, as of a bag's rollout."""
    digest = hashlib.sha256(np.round(1e9 * stamps).astype("<i8").tobytes())
    digest.update(decisions.embeddings.astype("<f4", copy=False).tobytes())
    digest.update(decisions.chunks[:, 0].astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
