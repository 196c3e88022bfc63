# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes small LeRobotDatasets of the versions 2.1 and 3.0, as LeRobot lays them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FPS = 10
NAMES = ("shoulder.pos", "elbow.pos")
HEIGHT, WIDTH = 48, 64
FRONT = "observation.images.front"
DECISION, EMBEDDING, CHUNKS = (
    "failure_monitor.decision",
    "failure_monitor.embedding",
    "failure_monitor.action_chunks",
)
EXECUTED, SAMPLES, HORIZON, EMBEDDING_SIZE = 4, 3, 6, 5


@dataclass
class WrittenEpisode:
    """An episode to write: its number, its columns (T, …), and its task."""

    index: int
    columns: dict[str, np.ndarray]
    task: str = "push"
    images: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.columns["action"])


def episode(
    index: int, *, length: int = 23, seed: int | None = None, task: str = "push", **columns: Any
) -> WrittenEpisode:
    """Return an episode with decisions, whose recorded actions are those of its first samples."""
    rng = np.random.default_rng(index if seed is None else seed)
    decided = np.arange(length) % EXECUTED == 0
    wanted = rng.normal(size=(length, 1, HORIZON, len(NAMES)))
    noise = 0.1 * rng.normal(size=(length, SAMPLES, HORIZON, len(NAMES)))
    chunks = (wanted + noise).astype(np.float32)
    actions = np.concatenate([chunks[at, 0, :EXECUTED] for at in range(0, length, EXECUTED)])[
        :length
    ]
    embeddings = rng.normal(size=(length, EMBEDDING_SIZE)).astype(np.float32)
    return WrittenEpisode(
        index,
        {
            "action": actions,
            "observation.state": np.roll(actions, 1, axis=0),
            DECISION: decided,
            EMBEDDING: embeddings,
            CHUNKS: chunks,
            **columns,
        },
        task,
        {FRONT: images(index, length)},
    )


def without_decisions(written: WrittenEpisode) -> WrittenEpisode:
    """Return an episode as LeRobot records it."""
    for name in (DECISION, EMBEDDING, CHUNKS):
        del written.columns[name]
    return written


def images(index: int, length: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Return images of one brightness each, by which they can be told apart."""
    brightness = (20 * index + 7 * np.arange(length)) % 256
    return np.tile(brightness[:, None, None, None], (1, *size, 3)).astype(np.uint8)


def write_dataset(
    folder: Path,
    episodes: Sequence[WrittenEpisode],
    *,
    version: str = "v3.0",
    camera_dtype: str = "video",
    info: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
) -> Path:
    """Write a dataset; `info` and `features` override what its metadata state."""
    tasks = list(dict.fromkeys(written.task for written in episodes))
    (folder / "meta").mkdir(parents=True)
    write = _write_v30 if version == "v3.0" else _write_v21
    write(folder, episodes, tasks, camera_dtype)
    stated = {
        "codebase_version": version,
        "robot_type": None,
        "total_episodes": len(episodes),
        "total_frames": sum(written.length for written in episodes),
        "total_tasks": len(tasks),
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{len(episodes)}"},
        **_PATHS[version],
        "features": {**_features(episodes[0], camera_dtype), **(features or {})},
        **(info or {}),
    }
    (folder / "meta" / "info.json").write_text(json.dumps(stated), encoding="utf-8")
    return folder


_PATHS = {
    "v2.1": {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
    },
    "v3.0": {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    },
}


def _features(written: WrittenEpisode, camera_dtype: str) -> dict[str, Any]:
    features: dict[str, Any] = {
        name: {
            "dtype": str(column.dtype),
            "shape": list(column.shape[1:]) or [1],
            "names": list(NAMES) if name in ("action", "observation.state") else None,
        }
        for name, column in written.columns.items()
    }
    for name, frames in written.images.items():
        features[name] = {
            "dtype": camera_dtype,
            "shape": list(frames.shape[1:]),
            "names": ["height", "width", "channels"],
        }
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    return features


def _write_v30(
    folder: Path, episodes: Sequence[WrittenEpisode], tasks: list[str], camera_dtype: str
) -> None:
    """Write two episodes to a file, as many as LeRobot would by size."""
    rows, begin = [], 0
    for number in range(0, len(episodes), 2):
        some, place = episodes[number : number + 2], number // 2
        table = pa.concat_tables([_table(e, begin, tasks, camera_dtype) for e in some])
        _write_table(folder / f"data/chunk-000/file-{place:03d}.parquet", table)
        seconds = 0.0
        for written in some:
            row = {
                "episode_index": written.index,
                "tasks": [written.task],
                "length": written.length,
                "data/chunk_index": 0,
                "data/file_index": place,
                "dataset_from_index": begin,
                "dataset_to_index": begin + written.length,
            }
            for name in written.images if camera_dtype == "video" else ():
                row |= {
                    f"videos/{name}/chunk_index": 0,
                    f"videos/{name}/file_index": place,
                    f"videos/{name}/from_timestamp": seconds,
                    f"videos/{name}/to_timestamp": seconds + written.length / FPS,
                }
            seconds += written.length / FPS
            begin += written.length
            rows.append(row)
        for name in some[0].images if camera_dtype == "video" else ():
            path = folder / f"videos/{name}/chunk-000/file-{place:03d}.mp4"
            write_video(path, np.concatenate([written.images[name] for written in some]))
    _write_table(folder / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(rows))
    _write_table(
        folder / "meta/tasks.parquet",
        pa.table({"task_index": range(len(tasks)), "__index_level_0__": tasks}),
    )


def _write_v21(
    folder: Path, episodes: Sequence[WrittenEpisode], tasks: list[str], camera_dtype: str
) -> None:
    rows, begin = [], 0
    for written in episodes:
        name = f"episode_{written.index:06d}"
        _write_table(
            folder / f"data/chunk-000/{name}.parquet", _table(written, begin, tasks, camera_dtype)
        )
        begin += written.length
        rows.append(
            {"episode_index": written.index, "tasks": [written.task], "length": written.length}
        )
        for camera, frames in written.images.items() if camera_dtype == "video" else ():
            write_video(folder / f"videos/chunk-000/{camera}/{name}.mp4", frames)
    _write_lines(folder / "meta/episodes.jsonl", rows)
    _write_lines(
        folder / "meta/tasks.jsonl",
        [{"task_index": number, "task": task} for number, task in enumerate(tasks)],
    )


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _table(
    written: WrittenEpisode, begin: int, tasks: Sequence[str], camera_dtype: str
) -> pa.Table:
    length = written.length
    columns: dict[str, Any] = {
        name: column.tolist() if column.ndim > 1 else column
        for name, column in written.columns.items()
    }
    if camera_dtype == "image":
        for name, frames in written.images.items():
            columns[name] = [{"bytes": _png(frame), "path": None} for frame in frames]
    columns["timestamp"] = (np.arange(length) / FPS).astype(np.float32)
    columns["frame_index"] = np.arange(length)
    columns["episode_index"] = np.full(length, written.index)
    columns["index"] = begin + np.arange(length)
    columns["task_index"] = np.full(length, tasks.index(written.task))
    table = pa.table(columns)
    fields = [_narrow(field) for field in table.schema]
    return table.cast(pa.schema(fields))


def _narrow(field: pa.Field) -> pa.Field:
    """Return a field of lists with single precision, as LeRobot writes it."""
    depth, kind = 0, field.type
    while pa.types.is_list(kind):
        depth, kind = depth + 1, kind.value_type
    if depth == 0 or kind != pa.float64():
        return field
    kind = pa.float32()
    for _ in range(depth):
        kind = pa.list_(kind)
    return pa.field(field.name, kind)


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _png(frame: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write RGB images (T, height, width, 3) as an mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        stream.time_base = Fraction(1, FPS)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
