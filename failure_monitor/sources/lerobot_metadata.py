# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads what a LeRobotDataset states of itself in `meta/`: columns, episodes, files and tasks.

Version 3.0 keeps many episodes in a file, 2.1 a file for each. The rows of `meta/` state which.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names
from failure_monitor.missing_package import missing_packages_named
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.source import SourceError

INFO_FILE = "meta/info.json"
OWN_FILE = "meta/failure_monitor.json"
VERSIONS = V21, V30 = "v2.1", "v3.0"
MAX_META_SIZE = 1 << 30

ACTION, STATE = "action", "observation.state"
IMAGE, VIDEO = "image", "video"
TEMPLATE_FIELD = re.compile(r"\{(\w+)(:0?\d{1,2}d)?\}")
DOWNLOAD = (
    "download it whole ('hf download --repo-type dataset NAME'), record it again, or leave it out"
)


@dataclass(frozen=True)
class Feature:
    """A column of a dataset.

    Attributes:
        dtype: The type of its values; `image` or `video` for those of a camera.
        shape: The shape of a frame's value.
        names: The names of its values; empty if it has none.
        is_depth: Whether a camera measures distances, and no colours.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    is_depth: bool = False

    @property
    def is_camera(self) -> bool:
        """Whether its values are images."""
        return self.dtype in (IMAGE, VIDEO)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of a camera's images."""
        if self.names[:1] in (("channels",), ("channel",)) or (
            not self.names and self.shape[0] in (1, 3) and self.shape[-1] not in (1, 3)
        ):
            return self.shape[1], self.shape[2]
        return self.shape[0], self.shape[1]


@dataclass(frozen=True)
class VideoSpan:
    """Where the frames of an episode lie.

    Attributes:
        path: The video.
        begin: The time of the episode's first frame in it, in seconds.
    """

    path: Path
    begin: float


@dataclass(frozen=True)
class Episode:
    """An episode as the metadata state it.

    Attributes:
        index: Its number.
        length: Its number of frames.
        data: The file with its rows.
        tasks: The texts of its tasks.
        videos: Where its frames lie, by camera.
    """

    index: int
    length: int
    data: Path
    tasks: tuple[str, ...] = ()
    videos: Mapping[str, VideoSpan] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in messages and labels."""
        return f"episode_{self.index:06d}"


@dataclass(frozen=True)
class DatasetMetadata:
    """What a dataset states of itself.

    Attributes:
        folder: Its folder.
        name: Its name in messages.
        fps: Its frames per second.
        features: Its columns.
        episodes: Its episodes, by number.
        tasks: The texts of its tasks, by number.
        groups: The groups of its episodes for evaluation, by their numbers, where this package
            wrote it.
        stated_policy: What the policy stated about itself, likewise.
        is_exported: Whether this package wrote it.
    """

    folder: Path
    name: str
    fps: float
    features: Mapping[str, Feature]
    episodes: tuple[Episode, ...]
    tasks: Mapping[int, str]
    groups: Mapping[int, str] = field(default_factory=dict)
    stated_policy: PolicyDescription | None = None
    is_exported: bool = False

    @property
    def cameras(self) -> dict[str, Feature]:
        """The columns of cameras."""
        return {name: feature for name, feature in self.features.items() if feature.is_camera}

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names of the action's dimensions."""
        return _names_or_numbers(self.features[ACTION], "action")


def is_dataset(path: Path) -> bool:
    """Return whether a folder is a LeRobotDataset, or a repository of them in a hub's cache."""
    return path.is_dir() and (dataset_folder(path) / INFO_FILE).is_file()


def dataset_folder(path: Path) -> Path:
    """Return the folder of the dataset at a path: in a hub's cache, its newest snapshot."""
    main = path / "refs" / "main"
    if (path / INFO_FILE).is_file() or not main.is_file():
        return path
    return path / "snapshots" / main.read_text(errors="replace").strip()


def dataset_name(path: Path) -> str:
    """Return what a dataset is called: the name of its folder, or of its repository."""
    folder = dataset_folder(path).absolute()
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.rpartition("--")[2]
    return folder.name


@missing_packages_named()
def read_metadata(path: Path) -> DatasetMetadata:
    """Read what a dataset states of itself.

    Raises:
        SourceError: It is of another version, incomplete, or contradicts itself.
        MissingPackageError: A package that reads it is not installed.
    """
    folder = dataset_folder(path)
    info = _read_info(folder)
    version = info.get("codebase_version")
    if version not in VERSIONS:
        raise _other_version(folder, version)
    features = _features(folder, info)
    tasks = dict(_tasks(folder, version))
    rows = list(_episode_rows(folder, version))
    episodes = tuple(
        sorted(
            (_episode(folder, info, version, row, features) for row in rows),
            key=lambda episode: episode.index,
        )
    )
    _reject_counts_that_do_not_fit(folder, info, episodes)
    return DatasetMetadata(
        folder,
        dataset_name(path),
        _fps(folder, info),
        features,
        episodes,
        tasks,
        *_own_notes(folder),
        is_exported=(folder / OWN_FILE).exists(),
    )


def _own_notes(folder: Path) -> tuple[dict[int, str], PolicyDescription | None]:
    """Return the groups of episodes and what the policy stated, where this package wrote them."""
    path = folder / OWN_FILE
    if not path.exists():
        return {}, None
    own = _json(path, _text(path))
    groups = own.get("groups") if isinstance(own, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise SourceError(f"{path} has no list 'groups' of texts: write the dataset again")
    stated = own.get("stated_policy")
    try:
        described = None if stated is None else PolicyDescription.from_json(json.dumps(stated))
    except FailureMonitorError as error:
        raise SourceError(f"{path}: {error}") from None
    return dict(enumerate(groups)), described


def _read_info(folder: Path) -> dict[str, Any]:
    info = _json(folder / INFO_FILE, _text(folder / INFO_FILE))
    if not isinstance(info, dict):
        raise SourceError(f"{folder / INFO_FILE} is no JSON object: {DOWNLOAD}")
    return info


def _other_version(folder: Path, version: object) -> SourceError:
    start = (
        f"{folder} is a LeRobotDataset of version {json.dumps(version)}, read are "
        f"{' and '.join(VERSIONS)}: "
    )
    number = re.match(r"v?(\d+)\.", str(version))
    if number and int(number[1]) < 3:
        return SourceError(
            f"{start}convert it with the LeRobot that reads it (lerobot.datasets.v21."
            "convert_dataset_v20_to_v21 of 0.3 makes v2.1 of v2.0)"
        )
    if number:
        return SourceError(
            f"{start}a newer LeRobot wrote it; update failure_monitor, or record with one that "
            "writes v3.0"
        )
    return SourceError(f"{start}its 'codebase_version' is missing or wrong; {DOWNLOAD}")


def _features(folder: Path, info: Mapping[str, Any]) -> dict[str, Feature]:
    stated = info.get("features")
    if not isinstance(stated, dict):
        raise _wrong(folder, "features", stated, "an object with a field for each column")
    features = {}
    for name, feature in stated.items():
        shape = feature.get("shape") if isinstance(feature, dict) else None
        if not isinstance(shape, list) or not all(_is_count(size) and size for size in shape):
            raise _wrong(folder, f"features.{name}.shape", shape, "a list of sizes")
        features[name] = Feature(
            str(feature.get("dtype")),
            tuple(shape) or (1,),
            _flat_names(feature.get("names"), shape),
            _is_depth(feature),
        )
        if features[name].is_camera and len(shape) != 3:
            raise _wrong(folder, f"features.{name}.shape", shape, "height, width and channels")
    if ACTION not in features or len(features[ACTION].shape) != 1:
        raise SourceError(
            f"{folder} has no column '{ACTION}' with a vector of actions: record the robot's "
            "actions, or leave the dataset out"
        )
    return features


def _flat_names(names: Any, shape: Sequence[int]) -> tuple[str, ...]:
    """Return the names of a column's values, which older datasets group in an object."""
    if isinstance(names, dict):
        groups = [group if isinstance(group, list) else [group] for group in names.values()]
        names = [name for group in groups for name in group]
        if len(names) != shape[0]:
            return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    if len(shape) == 1 and (len(names) != shape[0] or len(set(names)) != len(names)):
        return ()
    return tuple(names)


def _is_depth(feature: Mapping[str, Any]) -> bool:
    info = feature.get("info") or feature.get("video_info") or {}
    stated = isinstance(info, dict) and (
        info.get("video.is_depth_map") or info.get("is_depth_map")
    )
    return bool(stated) or (len(feature["shape"]) == 3 and 1 in feature["shape"])


def _names_or_numbers(feature: Feature, word: str) -> tuple[str, ...]:
    return feature.names or tuple(f"{word}_{number}" for number in range(feature.shape[0]))


def _fps(folder: Path, info: Mapping[str, Any]) -> float:
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < math.inf:
        raise _wrong(folder, "fps", fps, "a positive number of frames per second")
    return float(fps)


def _tasks(folder: Path, version: str) -> Iterator[tuple[int, str]]:
    if version == V21:
        rows = list(_lines(folder / "meta" / "tasks.jsonl"))
    else:
        rows = list(_table_rows([folder / "meta" / "tasks.parquet"]))
    for row in rows:
        number = row.get("task_index")
        # pandas calls an index without a name what it likes.
        texts = [value for key, value in row.items() if key != "task_index"]
        if _is_count(number) and len(texts) >= 1 and isinstance(texts[0], str):
            yield number, texts[0]


def _episode_rows(folder: Path, version: str) -> Iterator[Mapping[str, Any]]:
    if version == V21:
        return _lines(folder / "meta" / "episodes.jsonl")
    files = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise SourceError(f"{folder / 'meta' / 'episodes'} has no parquet file: {DOWNLOAD}")
    return _table_rows(files)


def _episode(
    folder: Path,
    info: Mapping[str, Any],
    version: str,
    row: Mapping[str, Any],
    features: Mapping[str, Feature],
) -> Episode:
    index, length = row.get("episode_index"), row.get("length")
    if not _is_count(index) or not _is_count(length) or length == 0:
        raise SourceError(
            f"{folder}: the metadata give an episode the number {json.dumps(index)} and the "
            f"length {json.dumps(length)}, expected whole numbers, and at least one frame: "
            f"{DOWNLOAD}"
        )
    videos = [name for name, feature in features.items() if feature.dtype == VIDEO]
    if version == V21:
        size = info.get("chunks_size")
        chunk = index // size if _is_count(size) and size else 0
        fields = {"episode_chunk": chunk, "episode_index": index}
        data = _file(folder, info, "data_path", fields)
        spans = {
            name: VideoSpan(_file(folder, info, "video_path", {**fields, "video_key": name}), 0.0)
            for name in videos
        }
    else:
        data = _file(folder, info, "data_path", _place(folder, index, row, "data"))
        spans = {name: _span(folder, info, index, row, name) for name in videos}
    tasks = row.get("tasks")
    texts = [text for text in tasks if isinstance(text, str)] if isinstance(tasks, list) else []
    return Episode(index, length, data, tuple(texts), spans)


def _span(
    folder: Path, info: Mapping[str, Any], index: int, row: Mapping[str, Any], name: str
) -> VideoSpan:
    place = _place(folder, index, row, f"videos/{name}")
    begin = row.get(f"videos/{name}/from_timestamp")
    if not isinstance(begin, (int, float)) or not 0 <= begin < math.inf:
        raise SourceError(
            f"{folder}: the metadata of episode {index} do not state at which time of its video "
            f"of '{name}' it begins ({json.dumps(begin)}): {DOWNLOAD}"
        )
    path = _file(folder, info, "video_path", {**place, "video_key": name})
    return VideoSpan(path, float(begin))


def _place(folder: Path, index: int, row: Mapping[str, Any], what: str) -> dict[str, Any]:
    place = {name: row.get(f"{what}/{name}") for name in ("chunk_index", "file_index")}
    if not all(_is_count(number) for number in place.values()):
        raise SourceError(
            f"{folder}: the metadata of episode {index} do not state in which file of '{what}' it "
            f"lies: {DOWNLOAD}"
        )
    return place


def _file(folder: Path, info: Mapping[str, Any], key: str, fields: Mapping[str, Any]) -> Path:
    """Return a file as a template of the metadata names it, within the dataset's folder."""
    template = info.get(key)
    expected = f"a path such as 'data/{{{'}/{'.join(fields)}}}.parquet'"
    if not isinstance(template, str):
        raise _wrong(folder, key, template, expected)
    plain = TEMPLATE_FIELD.sub("", template)
    unknown = {match[1] for match in TEMPLATE_FIELD.finditer(template)} - fields.keys()
    if "{" in plain or "}" in plain or unknown:
        raise _wrong(folder, key, template, expected)
    try:
        name = template.format(**fields)
    except (ValueError, TypeError):
        raise _wrong(folder, key, template, expected) from None
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _wrong(folder, key, template, "a path within the dataset")
    return folder / path


def _reject_counts_that_do_not_fit(
    folder: Path, info: Mapping[str, Any], episodes: Sequence[Episode]
) -> None:
    counts = Counter(episode.index for episode in episodes)
    repeated = [str(index) for index, count in counts.items() if count > 1]
    if repeated:
        raise SourceError(
            f"{folder}: the metadata list the episode {list_names(repeated)} more than once: "
            f"{DOWNLOAD}"
        )
    for key, counted in (
        ("total_episodes", len(episodes)),
        ("total_frames", sum(episode.length for episode in episodes)),
    ):
        stated = info.get(key)
        if stated is not None and stated != counted:
            raise SourceError(
                f"{folder}: '{key}' in {INFO_FILE} is {json.dumps(stated)}, but the episodes "
                f"that the metadata list make {counted}: a part is missing, or recording was cut "
                f"off; {DOWNLOAD}"
            )
    if not episodes:
        raise SourceError(f"{folder} holds no episode: record some, or leave it out")


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _wrong(folder: Path, key: str, value: object, expected: str) -> SourceError:
    return SourceError(
        f"{folder}: '{key}' in {INFO_FILE} is {json.dumps(value)[:200]}, expected {expected}: "
        f"{DOWNLOAD}"
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_META_SIZE:
            raise SourceError(f"{path} has more than {MAX_META_SIZE} bytes: leave the dataset out")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not text in UTF-8: {DOWNLOAD}") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}): {DOWNLOAD}") from None


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON ({error}): {DOWNLOAD}") from None


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = _json(path, line)
        if not isinstance(row, dict):
            raise SourceError(f"{path}, line {number} is no JSON object: {DOWNLOAD}")
        yield row


def _table_rows(files: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet

    for file in files:
        try:
            with pyarrow.parquet.ParquetFile(file) as table:
                # Statistics are most of it, and are not needed.
                names = [n for n in table.schema_arrow.names if not n.startswith("stats/")]
                rows = table.read(columns=names).to_pylist()
        except Exception as error:  # a damaged file fails in any part of pyarrow
            raise SourceError(
                f"{file} cannot be read ({' '.join(str(error).split())[:200]}): {DOWNLOAD}"
            ) from None
        yield from rows
