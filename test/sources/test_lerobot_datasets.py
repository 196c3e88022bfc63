# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a LeRobotDataset gives, and that a bad one is refused with what to do."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from testbed.lerobot_datasets import (
    CHUNKS,
    DECISION,
    EXECUTED,
    FPS,
    FRONT,
    NAMES,
    WrittenEpisode,
    episode,
    images,
    without_decisions,
    write_dataset,
    write_video,
)

from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.lerobot_frames import FrameReader
from failure_monitor.sources.lerobot_metadata import read_metadata
from failure_monitor.sources.reading_options import ReadingOptions
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import DatasetOptions

VERSIONS = ("v2.1", "v3.0")


def episodes(*indices: int, **columns: Any) -> list[WrittenEpisode]:
    return [episode(index, **columns) for index in indices or (0, 1, 2)]


def read(folder: Path, **options: Any) -> RolloutSet:
    return read_rollouts([folder], dataset=DatasetOptions(**options))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(FailureMonitorError) as refused:
        read(folder, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def frames_refusal(folder: Path) -> str:
    with pytest.raises(FailureMonitorError) as refused:
        seen(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def seen(folder: Path) -> dict[int, list[float]]:
    """The brightness of every frame, by episode."""
    metadata = read_metadata(folder)
    with FrameReader(metadata, metadata.cameras) as reader:
        return {
            each.index: [frame[FRONT].mean() for frame in reader.frames(each)]
            for each in metadata.episodes
        }


def change_info(folder: Path, **changes: Any) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.rglob(f"*{suffix}") if "meta" not in path.parts)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_episode_is_a_rollout(tmp_path: Path, version: str) -> None:
    written = episodes(task="Größe ändern")
    read_set = read(write_dataset(tmp_path / "cups", written, version=version))
    assert read_set.policy.action_names == NAMES
    assert read_set.policy.executed_actions == EXECUTED
    assert [rollout.name for rollout in read_set.rollouts] == [
        f"cups/episode_{index:06d}" for index in range(3)
    ]
    for rollout, expected in zip(read_set.rollouts, written, strict=True):
        decided = expected.columns[DECISION]
        np.testing.assert_array_equal(rollout.chunks, expected.columns[CHUNKS][decided])
        np.testing.assert_allclose(rollout.stamps, np.flatnonzero(decided) / FPS)
        assert rollout.positions is not None
        np.testing.assert_array_equal(
            rollout.positions, expected.columns["observation.state"][decided]
        )
        assert rollout.task == "Größe ändern"
        assert rollout.success is None
        assert rollout.interventions is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("camera_dtype", ["video", "image"])
def test_frames_are_those_of_their_episode(
    tmp_path: Path, version: str, camera_dtype: str
) -> None:
    # Of three episodes two share a file in version 3.0, and a number is missing between them.
    written = episodes(0, 2, 3)
    folder = write_dataset(tmp_path / "cups", written, version=version, camera_dtype=camera_dtype)
    for index, brightness in seen(folder).items():
        expected = images(index, 23)[:, 0, 0, 0]
        np.testing.assert_allclose(brightness, expected, atol=3)


def test_an_episode_that_was_removed_leaves_its_frames_unread(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0, 1))
    table = folder / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(table).slice(1), table)
    data = folder / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(data).slice(23), data)
    change_info(folder, total_episodes=1, total_frames=23)
    np.testing.assert_allclose(seen(folder)[1], images(1, 23)[:, 0, 0, 0], atol=3)


@pytest.mark.parametrize(
    ("column", "outcome"),
    [
        (np.array([False] * 22 + [True]), True),
        (np.array([False] * 5 + [True] + [False] * 17), True),
        (np.zeros(23, bool), False),
        (np.linspace(0, 0.99, 23), False),
        (np.linspace(0, 1, 23), True),
        (np.full(23, np.nan), None),
    ],
)
def test_an_outcome_is_true_or_one_in_any_frame(
    tmp_path: Path, column: np.ndarray, outcome: bool | None
) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0, **{"next.success": column}))
    assert read(folder).rollouts[0].success is outcome


def test_another_column_of_outcomes_is_named(tmp_path: Path) -> None:
    written = episodes(
        0, **{"next.success": np.zeros(23, bool), "next.reward": np.ones(23, np.float32)}
    )
    folder = write_dataset(tmp_path / "cups", written)
    assert read(folder, success_column="next.reward").rollouts[0].success is True
    assert "has no column 'done'" in refusal(folder, success_column="done")
    assert "expected one bool or number" in refusal(folder, success_column="action")


def test_labels_name_episodes(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0, 1))
    labels = tmp_path / "labels.yaml"
    labels.write_text("episode_000000: success\ncups/episode_000001: failure\n")
    rollouts = ReadingOptions(labels=labels).read([folder]).rollouts
    assert [rollout.success for rollout in rollouts] == [True, False]


def test_nobody_calibrates_on_what_a_human_did(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    helped = np.zeros(23, bool)
    helped[9] = True
    written = [
        episode(0, intervention=helped),
        episode(1, intervention=np.zeros(23, bool)),
    ]
    read_set = read(write_dataset(tmp_path / "cups", written))
    assert "a human intervened in 1 of 2 episodes" in caplog.text
    first, second = read_set.rollouts
    assert first.interventions is not None
    assert first.interventions.tolist() == [False, False, True, False, False, False]
    chosen, remarks = choose(read_set.rollouts)
    assert chosen == [second]
    assert any("a human intervened in 1 of 2 rollouts" in remark for remark in remarks)
    # Nor does anybody on an archive of it.
    write_archive(tmp_path / "cups.npz", read_set)
    chosen, _ = choose(read_rollouts([tmp_path / "cups.npz"]).rollouts)
    assert [rollout.name for rollout in chosen] == [second.name]


def test_a_folder_in_a_hubs_cache_is_read_through_its_links(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "real", episodes())
    repository = tmp_path / "datasets--somebody--cups"
    snapshot = repository / "snapshots" / "0123abcd"
    for number, file in enumerate(path for path in folder.rglob("*") if path.is_file()):
        blob, link = repository / "blobs" / str(number), snapshot / file.relative_to(folder)
        for parent in (blob.parent, link.parent):
            parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, blob)
        link.symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    for path in (snapshot, repository):
        assert read(path).rollouts[0].name == "cups/episode_000000"
        assert len(seen(path)) == 3


def test_a_folder_of_datasets_and_a_pattern_are_read(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        write_dataset(tmp_path / name, episodes(number))
    assert len(read(tmp_path).rollouts) == 2
    assert len(read(tmp_path / "t*").rollouts) == 1


def test_without_decisions_a_policy_is_asked_for(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "cups", [without_decisions(episode(0))])
    assert "--policy CHECKPOINT" in refusal(folder)
    assert DECISION in refusal(folder)


def test_what_another_did_is_refused_unless_the_user_insists(tmp_path: Path) -> None:
    own, demonstration = episodes(0, 1)
    demonstration.columns["action"] = np.cumsum(demonstration.columns["action"], axis=0)
    folder = write_dataset(tmp_path / "cups", [own, demonstration])
    reason = refusal(folder)
    assert "in 1 of 2 episodes (episode_000001)" in reason
    assert "--accept-teleoperated" in reason
    assert len(read(folder, accepts_teleoperated=True).rollouts) == 2


def test_what_a_human_did_meanwhile_is_not_compared(tmp_path: Path) -> None:
    helped = np.arange(23) >= 8
    written = episode(0, intervention=helped)
    written.columns["action"][8:] += 50
    assert read(write_dataset(tmp_path / "cups", [written])).rollouts[0].has_intervention


def test_names_of_older_datasets_are_grouped(tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path / "cups",
        episodes(0),
        features={
            "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
            "observation.state": {"dtype": "float32", "shape": [2], "names": None},
        },
    )
    read_set = read(folder)
    assert read_set.policy.action_names == ("a", "b")
    assert read_set.rollouts[0].positions is None


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("v2.0", "convert it"), ("v1.6", "convert it"), ("v4.0", "update failure_monitor")],
)
def test_other_versions_are_named(tmp_path: Path, version: str, remedy: str) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0))
    change_info(folder, codebase_version=version)
    assert f'of version "{version}"' in refusal(folder)
    assert remedy in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"codebase_version": None}, "'codebase_version' is missing"),
        ({"fps": 0}, "'fps'"),
        ({"fps": True}, "'fps'"),
        ({"fps": 30}, "not 30 frames per second"),
        ({"features": []}, "'features'"),
        ({"features": {}}, "no column 'action'"),
        ({"total_episodes": 4}, "'total_episodes'"),
        ({"total_frames": 70}, "'total_frames'"),
        ({"data_path": "../{chunk_index}/{file_index}"}, "within the dataset"),
        ({"data_path": "/etc/passwd"}, "within the dataset"),
        ({"data_path": "{chunk_index:999999999d}"}, "'data_path'"),
        ({"data_path": "{chunk_index.__class__}"}, "'data_path'"),
        ({"data_path": None}, "'data_path'"),
        ({"video_path": "{episode_chunk}"}, "'video_path'"),
    ],
)
def test_metadata_that_say_nothing_sensible(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    folder = write_dataset(tmp_path / "cups", episodes())
    change_info(folder, **changes)
    assert reason in refusal(folder)
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff", "[" * 100_000])
def test_an_info_that_is_none(tmp_path: Path, content: str) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0))
    (folder / "meta/info.json").write_text(content, errors="surrogateescape")
    assert "info.json" in refusal(folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_missing_metadata(tmp_path: Path, version: str) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0), version=version)
    for path in (folder / "meta").rglob("*"):
        if path.is_file() and path.name != "info.json":
            path.unlink()
    assert "download it whole" in refusal(folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_missing_and_truncated_files(tmp_path: Path, version: str) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(), version=version)
    last = files(folder, ".mp4")[-1]
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    assert str(last) in frames_refusal(folder)
    last.unlink()
    assert f"{last} is missing" in frames_refusal(folder)
    assert len(read(folder).rollouts) == 3, "frames are not needed where decisions are there"
    table = files(folder, ".parquet")[-1]
    content = table.read_bytes()
    table.write_bytes(content[: len(content) // 2])
    assert f"{table} is damaged" in refusal(folder)
    table.unlink()
    assert f"{table} is missing" in refusal(folder)


@pytest.mark.parametrize("camera_dtype", ["video", "image"])
@pytest.mark.parametrize("version", VERSIONS)
def test_damaged_files_are_refused_or_read(
    tmp_path: Path, version: str, camera_dtype: str
) -> None:
    """A few bytes of any file are changed: nothing but a sentence comes of it."""
    whole = write_dataset(
        tmp_path / "whole", episodes(0, 1, length=9), version=version, camera_dtype=camera_dtype
    )
    rng = np.random.default_rng(0)
    for number in range(15):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        path = paths[rng.integers(len(paths))]
        content = np.frombuffer(path.read_bytes(), np.uint8).copy()
        content[rng.integers(len(content), size=20)] = rng.integers(256, size=20)
        path.write_bytes(content.tobytes())
        with suppress(FailureMonitorError):
            read(folder)
            seen(folder)


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0), version="v2.1")
    (video,) = files(folder, ".mp4")
    content = video.read_bytes().replace(b"mp4v", b"none").replace(b"esds", b"free")
    video.write_bytes(content)
    assert "no video that can be decoded" in frames_refusal(folder)


def test_a_video_with_too_few_frames_or_of_another_size(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0), version="v2.1")
    (video,) = files(folder, ".mp4")
    write_video(video, images(0, 20))
    assert "ends before frame 20 of the episode 0" in frames_refusal(folder)
    write_video(video, images(0, 23, (32, 32)))
    assert "has images of 32 × 32 pixels, the metadata state 64 × 48" in frames_refusal(folder)


def test_images_of_another_size_or_none(tmp_path: Path) -> None:
    written = episode(0)
    folder = write_dataset(tmp_path / "cups", [written], camera_dtype="image")
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"][FRONT]["shape"] = [3, 32, 32]
    info["features"][FRONT]["names"] = ["channels", "height", "width"]
    change_info(folder, **info)
    assert "32 × 32" in frames_refusal(folder)
    (table,) = files(folder, ".parquet")
    rows = pq.read_table(table)
    place = rows.schema.get_field_index(FRONT)
    nothing = pa.array([{"bytes": b"no image", "path": None}] * 23)
    pq.write_table(rows.set_column(place, FRONT, nothing), table)
    assert "frame 0 of the episode 0" in frames_refusal(folder)


def test_a_depth_camera_is_none_of_colours(tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path / "cups",
        episodes(0),
        features={
            FRONT: {
                "dtype": "video",
                "shape": [48, 64, 3],
                "names": ["height", "width", "channels"],
                "info": {"video.is_depth_map": True},
            }
        },
    )
    assert "measures distances" in frames_refusal(folder)
    assert len(read(folder).rollouts) == 1


def test_counts_that_do_not_fit_the_rows(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0, 1), version="v2.1")
    table = files(folder, ".parquet")[0]
    whole = pq.read_table(table)
    pq.write_table(whole.slice(0, 20), table)
    assert "holds 20 frames of the episode 0, the metadata state 23" in refusal(folder)
    pq.write_table(pa.concat_tables([whole, whole]), table)
    assert "holds 46 frames" in refusal(folder) or "out of order" in refusal(folder)
    pq.write_table(pa.concat_tables([whole.slice(0, 5), whole.slice(6)]), table)
    assert "frames are missing or out of order" in refusal(folder)
    shutil.copy(files(folder, ".parquet")[1], table)
    assert "holds rows of the episode 1" in refusal(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    written = episode(0)
    written.columns["action"][7, 1] = value
    folder = write_dataset(tmp_path / "cups", [written])
    assert "'action' is NaN or infinite in the frame 7 of the episode 0" in refusal(folder)


def test_a_column_of_another_shape_or_with_gaps(tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path / "cups",
        episodes(0),
        features={"observation.state": {"dtype": "float32", "shape": [3], "names": None}},
    )
    assert "the column 'observation.state' has 46 values" in refusal(folder)
    folder = write_dataset(
        tmp_path / "plates",
        episodes(0),
        features={"action": {"dtype": "float32", "shape": [3], "names": None}},
    )
    assert "as many dimensions as the action has, 3" in refusal(folder)
    folder = write_dataset(tmp_path / "bowls", episodes(0))
    (table,) = files(folder, ".parquet")
    rows = pq.read_table(table)
    gaps = pa.array([None, *rows.column("action").to_pylist()[1:]], pa.list_(pa.float32()))
    place = rows.schema.get_field_index("action")
    pq.write_table(rows.set_column(place, "action", gaps), table)
    assert "1 empty values" in refusal(folder)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    assert "is no known source of rollouts" in refusal(tmp_path)
    assert "LeRobotDataset" in refusal(tmp_path)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(tmp_path / "cups", episodes(0))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "pip install 'failure_monitor[lerobot]'" in refusal(folder)
