# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes the cameras' frames of a LeRobotDataset, each once and in order.

A video or parquet file holds many episodes: it stays open from one to the next, and one frame is
in memory at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from failure_monitor.sources.lerobot_columns import EPISODE, FRAME, damage_named, open_table
from failure_monitor.sources.lerobot_metadata import (
    DOWNLOAD,
    VIDEO,
    DatasetMetadata,
    Episode,
)
from failure_monitor.sources.source import SourceError

Image = NDArray[np.uint8]
IMAGES_AT_A_TIME = 16


class _Camera(Protocol):
    """The frames of one camera."""

    def frame(self, episode: Episode, number: int) -> Image:
        """Return a frame of an episode; later ones than before, of this episode or a later one."""

    def close(self) -> None:
        """Close what is open."""


class FrameReader:
    """A reader of some cameras, whose episodes are read in order; a context manager."""

    def __init__(self, metadata: DatasetMetadata, cameras: Collection[str]) -> None:
        """Open nothing yet.

        Args:
            metadata: The dataset.
            cameras: Names of its columns with images.

        Raises:
            SourceError: A camera measures distances.
        """
        self._cameras: dict[str, _Camera] = {}
        for name in cameras:
            feature = metadata.cameras[name]
            if feature.is_depth:
                raise SourceError(
                    f"{metadata.folder}: the camera '{name}' measures distances, and frames are "
                    "read in colours: name a policy that takes colours"
                )
            kind = _VideoCamera if feature.dtype == VIDEO else _ImageCamera
            self._cameras[name] = kind(metadata, name)

    def frames(self, episode: Episode) -> Iterator[Mapping[str, Image]]:
        """Yield the RGB images of an episode's frames, uint8 (height, width, 3), by camera.

        Raises:
            SourceError: A file is missing, damaged, ends too early, or has images of another size.
        """
        for number in range(episode.length):
            yield {name: camera.frame(episode, number) for name, camera in self._cameras.items()}

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        for camera in self._cameras.values():
            camera.close()


class _VideoCamera:
    """A camera whose frames lie in videos."""

    def __init__(self, metadata: DatasetMetadata, name: str) -> None:
        self._metadata, self._name = metadata, name
        self._size = metadata.cameras[name].image_size
        self._path: Path | None = None
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._frame: Any = None

    def frame(self, episode: Episode, number: int) -> Image:
        span, fps = episode.videos[self._name], self._metadata.fps
        wanted = span.begin + number / fps
        where = f"frame {number} of the episode {episode.index}"
        try:
            if number == 0 and self._is_past(wanted):
                self.close()
            self._go_to(span.path, wanted - 0.5 / fps)
        except SourceError:
            raise
        except Exception as error:  # a damaged video fails in any part of PyAV
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise SourceError(
                f"{span.path} is damaged or cut off: it cannot be decoded at {where} "
                f"({reason}): {DOWNLOAD}"
            ) from None
        if self._frame is None:
            raise SourceError(
                f"{span.path} ends before {where}, at {wanted:.3f} s: it is cut off, or "
                f"another's; {DOWNLOAD}"
            )
        if self._is_past(wanted):
            raise SourceError(
                f"{span.path} lacks {where}, at {wanted:.3f} s: the next one in it is of "
                f"{self._frame.time:.3f} s, or {fps:g} is not its number of frames per second; "
                f"{DOWNLOAD}"
            )
        if (self._frame.height, self._frame.width) != self._size:
            raise _wrong_size(
                span.path, (self._frame.height, self._frame.width), self._name, self._size
            )
        image: Image = self._frame.to_ndarray(format="rgb24")
        return image

    def _is_past(self, seconds: float) -> bool:
        return self._frame is not None and self._frame.time > seconds + 0.5 / self._metadata.fps

    def _go_to(self, path: Path, earliest: float) -> None:
        """Decode up to the first frame that is not before a time."""
        if path != self._path:
            self._open(path)
        while self._frame is None or self._frame.time is None or self._frame.time < earliest:
            self._frame = next(self._frames, None)
            if self._frame is None:
                return

    def _open(self, path: Path) -> None:
        import av

        self.close()
        if not path.is_file():
            raise SourceError(
                f"{path} is missing, the video of the camera '{self._name}': {DOWNLOAD}"
            )
        self._container = av.open(str(path), metadata_errors="replace")
        stream = next(iter(self._container.streams.video), None)
        # PyAV crashes at a stream whose codec its libraries do not know.
        if stream is None or stream.codec_context is None:
            raise SourceError(f"{path} holds no video that can be decoded: {DOWNLOAD}")
        stream.thread_type = "AUTO"
        self._path, self._frames = path, self._container.decode(stream)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container, self._path, self._frame, self._frames = None, None, None, iter(())


class _ImageCamera:
    """A camera whose frames are encoded images in parquet files."""

    def __init__(self, metadata: DatasetMetadata, name: str) -> None:
        self._metadata, self._name = metadata, name
        self._size = metadata.cameras[name].image_size
        self._path: Path | None = None
        self._rows: Iterator[tuple[int, int, Any]] = iter(())
        self._open_files = ExitStack()

    def frame(self, episode: Episode, number: int) -> Image:
        if episode.data != self._path:
            self.close()
            self._path, self._rows = episode.data, self._read(episode.data)
        where = f"frame {number} of the episode {episode.index} in the column '{self._name}'"
        for owner, frame, content in self._rows:
            if (owner, frame) == (episode.index, number):
                return self._decoded(episode.data, where, content)
        raise SourceError(f"{episode.data} lacks {where}: {DOWNLOAD}")

    def _read(self, path: Path) -> Iterator[tuple[int, int, Any]]:
        columns = [EPISODE, FRAME, self._name]
        table = self._open_files.enter_context(open_table(path, columns))
        with damage_named(path):
            for batch in table.iter_batches(batch_size=IMAGES_AT_A_TIME, columns=columns):
                for row in batch.to_pylist():
                    yield row[EPISODE], row[FRAME], row[self._name]

    def _decoded(self, path: Path, where: str, content: Any) -> Image:
        encoded = content.get("bytes") if isinstance(content, dict) else content
        if encoded is None and isinstance(content, dict) and content.get("path"):
            file = self._metadata.folder / str(content["path"])
            if not file.is_file():
                raise SourceError(f"{file} is missing, {where}: {DOWNLOAD}")
            encoded = file.read_bytes()
        image = None
        if isinstance(encoded, bytes) and encoded:
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise SourceError(f"{path}: {where} is no image that can be decoded: {DOWNLOAD}")
        if image.shape[:2] != self._size:
            raise _wrong_size(path, image.shape[:2], self._name, self._size)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        self._open_files.close()
        self._path, self._rows = None, iter(())


def _wrong_size(
    path: Path, size: tuple[int, ...], name: str, stated: tuple[int, int]
) -> SourceError:
    return SourceError(
        f"{path} has images of {size[1]} × {size[0]} pixels, the metadata state "
        f"{stated[1]} × {stated[0]} for the camera '{name}': {DOWNLOAD}"
    )
