# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a LeRobotDataset of version 3.0, episode by episode, a file for each.

The layout is that of LeRobot, which loads it; LeRobot itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.sources.lerobot_metadata import INFO_FILE, OWN_FILE, V30

if TYPE_CHECKING:
    import pyarrow

FILES_IN_A_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

CODECS = {"libx264": "h264", "libopenh264": "h264", "mpeg4": "mpeg4"}
"""Encoders and what they write; the first is used that PyAV's libraries have."""

QUALITY = {"libx264": {"crf": "20", "g": "2", "bf": "0"}}


@dataclass(frozen=True)
class Column:
    """A column of the dataset that is written.

    Attributes:
        dtype: The type of its values.
        shape: The shape of a frame's value.
        names: The names of its values; empty for none.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()


class DatasetWriter:
    """A dataset that is being written."""

    def __init__(
        self,
        folder: Path,
        fps: float,
        columns: Mapping[str, Column],
        cameras: Mapping[str, tuple[int, int]],
    ) -> None:
        """Begin a dataset.

        Args:
            folder: The folder, which is made.
            fps: The frames per second.
            columns: What each frame has.
            cameras: Height and width of the images, even numbers, by the column of the camera.
        """
        self._folder, self._columns, self._cameras = folder, columns, cameras
        self._fps = round(fps) if abs(fps - round(fps)) < 1e-3 * fps else fps
        self._stats = {name: _Stats() for name in (*columns, *cameras)}
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._frames = 0
        self._codec = ""

    def video(self, camera: str) -> VideoWriter:
        """Begin the video of a camera for the episode that is added next."""
        path = self._folder / VIDEO_PATH.format(video_key=camera, **self._place)
        written = VideoWriter(path, self._fps, self._cameras[camera], self._stats[camera])
        self._codec = written.codec
        return written

    @property
    def _place(self) -> dict[str, int]:
        chunk, file = divmod(len(self._episodes), FILES_IN_A_CHUNK)
        return {"chunk_index": chunk, "file_index": file}

    def add(self, values: Mapping[str, NDArray[Any]], task: str) -> None:
        """Write an episode: (T, …) for every column; its videos are complete."""
        import pyarrow
        import pyarrow.parquet

        length, index = len(next(iter(values.values()))), len(self._episodes)
        number = self._tasks.setdefault(task, len(self._tasks))
        arrays = {name: _array(values[name], column) for name, column in self._columns.items()}
        for name in self._columns:
            self._stats[name].add(values[name])
        times = (np.arange(length) / self._fps).astype(np.float32)
        arrays |= {
            "timestamp": pyarrow.array(times),
            "frame_index": pyarrow.array(np.arange(length)),
            "episode_index": pyarrow.array(np.full(length, index)),
            "index": pyarrow.array(self._frames + np.arange(length)),
            "task_index": pyarrow.array(np.full(length, number)),
        }
        path = self._folder / DATA_PATH.format(**self._place)
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(arrays), path)
        row = {
            "episode_index": index,
            "tasks": [task],
            "length": length,
            **{f"data/{key}": at for key, at in self._place.items()},
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for name in self._cameras:
            row |= {f"videos/{name}/{key}": at for key, at in self._place.items()}
            row[f"videos/{name}/from_timestamp"] = 0.0
            row[f"videos/{name}/to_timestamp"] = length / self._fps
        self._episodes.append(row)
        self._frames += length

    def finish(self, own: Mapping[str, Any]) -> None:
        """Write the metadata, and what LeRobot has no place for."""
        import pyarrow
        import pyarrow.parquet

        meta = self._folder / "meta"
        path = meta / "episodes" / "chunk-000" / "file-000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(self._episodes), path)
        pyarrow.parquet.write_table(_tasks_table(list(self._tasks)), meta / "tasks.parquet")
        stats = {name: stats.content() for name, stats in self._stats.items()}
        _write_json(meta / "stats.json", stats)
        _write_json(self._folder / INFO_FILE, self._info())
        _write_json(self._folder / OWN_FILE, own)

    def _info(self) -> dict[str, Any]:
        own = {
            name: _stated(column.dtype, column.shape, column.names)
            for name, column in self._columns.items()
        }
        for name, (height, width) in self._cameras.items():
            own[name] = _stated("video", (height, width, 3), ("height", "width", "channels")) | {
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.channels": 3,
                    "video.codec": CODECS.get(self._codec),
                    "video.pix_fmt": "yuv420p",
                    "video.fps": self._fps,
                    "video.is_depth_map": False,
                    "has_audio": False,
                }
            }
        own["timestamp"] = _stated("float32", (1,))
        for name in ("frame_index", "episode_index", "index", "task_index"):
            own[name] = _stated("int64", (1,))
        return {
            "codebase_version": V30,
            "robot_type": None,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_IN_A_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._cameras else None,
            "features": own,
        }


class VideoWriter:
    """The video of one camera in one episode; a context manager."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int], stats: _Stats) -> None:
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        self.codec = next(codec for codec in CODECS if _can_encode(codec))
        rate = Fraction(fps).limit_denominator(1001)
        # That of the stream is another one, once its file has begun.
        self._period = 1 / rate
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream(
            self.codec, rate=rate, options=QUALITY.get(self.codec, {})
        )
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._period
        if self.codec not in QUALITY:
            self._stream.bit_rate = 8_000_000
        self._count, self._stats = 0, stats

    def add(self, image: NDArray[np.uint8]) -> None:
        """Add the RGB image of the next frame."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._count, self._period
        self._container.mux(self._stream.encode(frame))
        self._count += 1
        self._stats.add(image[::4, ::4].reshape(1, -1, 3) / 255, axes=(0, 1))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


class _Stats:
    """The statistics of a column, by which LeRobot normalises."""

    def __init__(self) -> None:
        self._axes: tuple[int, ...] = (0,)
        self._rows = 0
        self._parts: dict[str, NDArray[np.float64]] = {}

    def add(self, values: NDArray[Any], axes: tuple[int, ...] = (0,)) -> None:
        numbers = np.asarray(values, np.float64)
        if numbers.ndim == 1:
            numbers = numbers[:, np.newaxis]
        found = {
            "min": numbers.min(axes),
            "max": numbers.max(axes),
            "sum": numbers.sum(axes),
            "squares": (numbers**2).sum(axes),
            "number": np.float64(np.prod([numbers.shape[axis] for axis in axes])),
        }
        self._axes = axes
        self._rows += len(numbers)
        if not self._parts:
            self._parts = found
            return
        self._parts = {
            name: {"min": np.minimum, "max": np.maximum}.get(name, np.add)(part, found[name])
            for name, part in self._parts.items()
        }

    def content(self) -> dict[str, Any]:
        parts = self._parts
        mean = parts["sum"] / parts["number"]
        variance = np.maximum(parts["squares"] / parts["number"] - mean**2, 0)
        found = {"min": parts["min"], "max": parts["max"], "mean": mean, "std": np.sqrt(variance)}
        if len(self._axes) > 1:  # of images, as LeRobot has them
            found = {name: value.reshape(3, 1, 1) for name, value in found.items()}
        return {
            **{name: np.nan_to_num(value).tolist() for name, value in found.items()},
            "count": [self._rows],
        }


def _can_encode(codec: str) -> bool:
    import av

    try:
        av.codec.Codec(codec, "w")
    except ValueError:  # av.error.UnknownCodecError is one
        return False
    return True


def _stated(dtype: str, shape: tuple[int, ...], names: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "names": list(names) or None}


def _array(values: NDArray[Any], column: Column) -> pyarrow.Array:
    """Return a column as nested lists, flat where it has one value a frame."""
    import pyarrow

    flat = np.ascontiguousarray(values, dtype=column.dtype).reshape(-1)
    array = pyarrow.array(flat)
    if column.shape == (1,):
        return array
    for size in reversed(column.shape):
        offsets = np.arange(0, len(array) + 1, size, dtype=np.int32)
        array = pyarrow.ListArray.from_arrays(pyarrow.array(offsets), array)
    return array


def _tasks_table(tasks: list[str]) -> pyarrow.Table:
    """Return the tasks as pandas keeps a table whose index is the text."""
    import pyarrow

    table = pyarrow.table({"task_index": pyarrow.array(range(len(tasks))), "task": tasks})
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {
                "name": name,
                "field_name": name,
                "pandas_type": kind,
                "numpy_type": dtype,
                "metadata": None,
            }
            for name, kind, dtype in (
                ("task_index", "int64", "int64"),
                ("task", "unicode", "object"),
            )
        ],
        "creator": {"library": "pyarrow", "version": pyarrow.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8")
