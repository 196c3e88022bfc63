# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the rollouts of an open archive."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.parameters.topics import EXTERNAL_NAME
from failure_monitor.sources.addresses import shown
from failure_monitor.sources.archive_arrays import (
    EMBEDDINGS,
    EXTERNAL,
    FLOATS,
    TRUTHS,
    ArchiveArrays,
    OfSome,
    OpenArchive,
    of_some,
)
from failure_monitor.sources.archive_joints import read_joints
from failure_monitor.sources.archive_labels import read_labels
from failure_monitor.sources.archive_meta import ArchiveMeta
from failure_monitor.sources.archive_timing import read_slices, read_stamps
from failure_monitor.sources.source import BagOptions, SourceContents, SourceError


def contents_of(path: Path, archive: OpenArchive, options: BagOptions) -> SourceContents:
    """Return all rollouts of an open archive.

    Args:
        path: of the archive, for names and messages.
        archive: its arrays.
        options: of these only empty topics of format and tokens count.

    Raises:
        SourceError: An array is missing, damaged, or of another kind or size; a rollout
            lies outside of the arrays.
    """
    arrays = ArchiveArrays(shown(path), archive)
    chunks = _chunks(arrays)
    meta = ArchiveMeta(arrays)
    action_names = meta.action_names(chunks.shape[-1])
    rollouts = _rollouts(path, arrays, meta, chunks, reads_tokens=bool(options.topics.tokens))
    commands_topic, commands_type = meta.commands_topic()
    return SourceContents(
        rollouts,
        action_names,
        meta.action_kind(),
        meta.position_names(action_names),
        meta.executed_actions(),
        meta.control_period(has_steps="stamp" not in arrays),
        meta.stated_policy(action_names) if options.topics.format else None,
        positions_topic=meta.positions_topic(),
        joint_topics=meta.joint_topics(),
        commands_topic=commands_topic,
        message_types={
            **meta.message_types(),
            **({commands_topic: commands_type} if commands_topic else {}),
        },
        was_told_task=meta.was_told_task(),
    )


def _rollouts(
    path: Path,
    arrays: ArchiveArrays,
    meta: ArchiveMeta,
    chunks: NDArray[np.float32],
    *,
    reads_tokens: bool,
) -> tuple[Rollout, ...]:
    decisions = len(chunks)
    embeddings = _embeddings(arrays, decisions)
    slices = read_slices(arrays, decisions)
    count = len(slices)
    stamps = read_stamps(arrays, meta, slices, decisions)
    labels = read_labels(arrays, count)
    positions = _positions(arrays, meta, chunks.shape, count)
    interventions = of_some(arrays, "intervention", TRUTHS, (decisions,), count)
    joints = read_joints(arrays, meta, slices, decisions)
    tokens = OfSome()
    if reads_tokens:
        tokens = of_some(arrays, "tokens", FLOATS, (decisions, "T", "F"), count)
    external = _external(arrays, decisions, count)
    return tuple(
        Rollout(
            name=own.name or f"{path.stem}/{index:03d}",
            stamps=stamps[part],
            embeddings=embeddings[part],
            chunks=chunks[part],
            success=own.success,
            group=own.group,
            source=own.source or shown(path),
            sha256=own.sha256 or _content_sha256(stamps, embeddings, chunks, part),
            calibration=own.calibration,
            positions=positions.of(index, part, np.float32),
            task=own.task or meta.text("task"),
            external={
                name: values
                for name, score in external.items()
                if (values := score.of(index, part, np.float64)) is not None
            },
            interventions=interventions.of(index, part, np.bool_),
            tokens=tokens.of(index, part, np.float32),
            joints=joints[index],
            claim=own.claim,
            outcome_by=own.outcome_by,
            judged=own.judged,
        )
        for index, (part, own) in enumerate(zip(slices, labels, strict=True))
    )


def _chunks(arrays: ArchiveArrays) -> NDArray[np.float32]:
    chunks = arrays.read("action_chunks", FLOATS, ("N", "B", "H", "D")).astype(np.float32)
    if not all(chunks.shape[1:]):
        raise SourceError(
            f"{arrays.path}: the array 'action_chunks' is of the shape {chunks.shape}, expected "
            "at least one chunk of one action of one dimension: write it again"
        )
    return chunks


def _embeddings(arrays: ArchiveArrays, decisions: int) -> NDArray[np.float32]:
    """Return the embeddings, (N, E); E is 0 where the policy gave none."""
    if EMBEDDINGS not in arrays:
        return np.empty((decisions, 0), np.float32)
    return arrays.read(EMBEDDINGS, FLOATS, (decisions, "E")).astype(np.float32)


def _external(arrays: ArchiveArrays, decisions: int, rollouts: int) -> dict[str, OfSome]:
    """Return the external scores by their names."""
    return {
        name.removeprefix(EXTERNAL): of_some(arrays, name, FLOATS, (decisions,), rollouts)
        for name in arrays.names
        if re.fullmatch(EXTERNAL + EXTERNAL_NAME, name)
    }


def _positions(
    arrays: ArchiveArrays, meta: ArchiveMeta, chunks: tuple[int, ...], rollouts: int
) -> OfSome:
    """Return measured positions in the units of the actions; none if they are of other joints."""
    decisions, dimensions = chunks[0], chunks[-1]
    action_names = meta.action_names(dimensions)
    measured = of_some(arrays, "ee_pos", FLOATS, (decisions, "P"), rollouts)
    if measured.values is None or measured.values.shape[1] != len(
        meta.position_names(action_names) or action_names
    ):
        return OfSome()
    return replace(measured, values=measured.values / meta.position_scale())


def _content_sha256(
    stamps: NDArray[np.float64],
    embeddings: NDArray[np.float32],
    chunks: NDArray[np.float32],
    part: slice,
) -> str:
    digest = hashlib.sha256()
    for array in (stamps, embeddings, chunks):
        digest.update(array[part].tobytes())
    return digest.hexdigest()
