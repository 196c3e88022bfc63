# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads columns of a LeRobotDataset, one part of an episode after the other."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.lerobot_metadata import (
    DOWNLOAD,
    DatasetMetadata,
    Episode,
    Feature,
)
from failure_monitor.sources.source import SourceError

if TYPE_CHECKING:
    import pyarrow.parquet

EPISODE, FRAME, TIME = "episode_index", "frame_index", "timestamp"
BATCH = 512
"""Rows in memory at a time, beside what is kept of them."""


class Part(NamedTuple):
    """Rows of one episode.

    Attributes:
        episode: The episode.
        first: The number of the first row in the episode.
        columns: The columns, (rows, …) each; what has one value a frame is (rows,).
    """

    episode: Episode
    first: int
    columns: Mapping[str, NDArray[Any]]


def episode_parts(metadata: DatasetMetadata, names: Collection[str]) -> Iterator[Part]:
    """Yield the rows of all episodes, file by file, those of an episode in order.

    Args:
        metadata: The dataset.
        names: The columns that are read; no cameras.

    Raises:
        SourceError: A file is missing or damaged, or holds other rows than the metadata state.
    """
    in_order = sorted(metadata.episodes, key=lambda episode: (str(episode.data), episode.index))
    for file, group in groupby(in_order, key=lambda episode: episode.data):
        yield from _parts_of_file(metadata, file, list(group), names)


def _parts_of_file(
    metadata: DatasetMetadata, file: Path, episodes: Sequence[Episode], names: Collection[str]
) -> Iterator[Part]:
    features = {
        EPISODE: Feature("int64", (1,)),
        FRAME: Feature("int64", (1,)),
        **{name: metadata.features[name] for name in names},
    }
    known = {episode.index: episode for episode in episodes}
    read = dict.fromkeys(known, 0)
    with open_table(file, list(features)) as table, damage_named(file):
        for batch in table.iter_batches(batch_size=BATCH, columns=list(features)):
            columns = {
                name: values(batch.column(batch.schema.get_field_index(name)), feature, file, name)
                for name, feature in features.items()
            }
            owners = columns[EPISODE]
            bounds = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
            for begin, end in pairwise(bounds):
                if begin == end:
                    continue
                episode = _owner(file, known, int(owners[begin]))
                rows = {name: column[begin:end] for name, column in columns.items()}
                first = read[episode.index]
                _reject_wrong_frames(file, episode, first, rows[FRAME])
                read[episode.index] += end - begin
                yield Part(episode, first, rows)
    for index, count in read.items():
        if count != known[index].length:
            raise _wrong_count(file, known[index], count)


def _owner(file: Path, known: Mapping[int, Episode], index: int) -> Episode:
    if index not in known:
        raise SourceError(
            f"{file} holds rows of the episode {index}, which the metadata do not put there: a "
            f"part of 'meta' is missing or old; {DOWNLOAD}"
        )
    return known[index]


def _reject_wrong_frames(
    file: Path, episode: Episode, first: int, frames: NDArray[np.int64]
) -> None:
    wrong = np.flatnonzero(frames != first + np.arange(len(frames)))
    if len(wrong):
        raise SourceError(
            f"{file}: after {first + wrong[0]} frames of the episode {episode.index} follows the "
            f"one with the number {frames[wrong[0]]}: frames are missing or out of order; "
            f"{DOWNLOAD}"
        )
    if first + len(frames) > episode.length:
        raise _wrong_count(file, episode, first + len(frames))


def _wrong_count(file: Path, episode: Episode, count: int) -> SourceError:
    return SourceError(
        f"{file} holds {count} frames of the episode {episode.index}, the metadata state "
        f"{episode.length}: {DOWNLOAD}"
    )


@contextmanager
def open_table(file: Path, names: Sequence[str]) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a parquet file with certain columns.

    Raises:
        SourceError: It is missing, damaged, or lacks a column.
    """
    import pyarrow.parquet

    if not file.is_file():
        raise SourceError(f"{file} is missing, which the metadata name: {DOWNLOAD}")
    with damage_named(file):
        table = pyarrow.parquet.ParquetFile(file)
    with table:
        there = table.schema_arrow.names
        missing = [name for name in names if name not in there]
        if missing:
            raise SourceError(
                f"{file} has no column {' and no '.join(missing)}, only {', '.join(there)}: "
                f"{DOWNLOAD}"
            )
        yield table


@contextmanager
def damage_named(file: Path) -> Iterator[None]:
    """Turn what pyarrow reports of a damaged file into an error that names the file.

    Raises:
        SourceError: It is damaged.
    """
    try:
        yield
    except FailureMonitorError:
        raise
    except Exception as error:  # a damaged file fails in any part of pyarrow
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{file} is damaged or cut off ({reason}): {DOWNLOAD}") from None


def values(column: Any, feature: Feature, file: Path, name: str) -> NDArray[Any]:
    """Return a column of a batch as an array of the feature's shape, (rows, …).

    Raises:
        SourceError: It has other sizes, gaps, or values that are no numbers.
    """
    import pyarrow

    rows, flat, gaps = len(column), column, 0
    while True:
        gaps += flat.null_count
        if isinstance(flat, pyarrow.ExtensionArray):
            flat = flat.storage
        elif (
            pyarrow.types.is_list(flat.type)
            or pyarrow.types.is_large_list(flat.type)
            or pyarrow.types.is_fixed_size_list(flat.type)
        ):
            flat = flat.flatten()
        else:
            break
    array = flat.to_numpy(zero_copy_only=False)
    if gaps or array.dtype.kind not in "fiub" or array.size != rows * math.prod(feature.shape):
        found = f"{gaps} empty values" if gaps else f"{array.size} values of {flat.type}"
        raise SourceError(
            f"{file}: the column '{name}' has {found} in {rows} frames, the metadata state "
            f"{feature.dtype} {feature.shape} for each: {DOWNLOAD}"
        )
    shape = (rows,) if feature.shape == (1,) else (rows, *feature.shape)
    return np.asarray(array).reshape(shape)
