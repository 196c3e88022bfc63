# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Incidents never take more of the disk than they may, and never somebody's data."""

from pathlib import Path

import pytest

from failure_monitor.incidents.folder import IncidentFolder, NoRoomError

MEGABYTE = 1_000_000


def incident(folder: Path, number: int, size: int, *, labelled: bool = False) -> Path:
    path = folder / f"incident_{number:04d}_20260102T030405Z"
    path.mkdir(parents=True)
    (path / f"{path.name}.mcap").write_bytes(bytes(size))
    if labelled:
        (path / "outcome.mcap").write_bytes(b"")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name[:13] for path in folder.iterdir())


def test_oldest_is_removed_for_a_new_one(tmp_path):
    for number in (9998, 9999, 10000):
        incident(tmp_path, number, MEGABYTE)
    folder = IncidentFolder(tmp_path, budget=3 * MEGABYTE, min_free=0)
    assert folder.make_room(MEGABYTE) >= MEGABYTE
    assert names(tmp_path) == ["incident_1000", "incident_9999"]
    assert folder.used() == 2 * MEGABYTE


def test_nothing_is_removed_while_there_is_room(tmp_path):
    incident(tmp_path, 0, MEGABYTE)
    assert IncidentFolder(tmp_path, budget=3 * MEGABYTE, min_free=0).make_room(MEGABYTE) == (
        2 * MEGABYTE
    )
    assert names(tmp_path) == ["incident_0000"]


def test_labelled_ones_and_other_peoples_folders_stay(tmp_path):
    incident(tmp_path, 0, MEGABYTE, labelled=True)
    incident(tmp_path, 1, MEGABYTE)
    (tmp_path / "rollout_0000").mkdir()
    (tmp_path / "incident_notes").mkdir()
    (tmp_path / "incident_0000_20260102T030405Z.tar").write_bytes(bytes(MEGABYTE))
    before = set(tmp_path.iterdir())
    folder = IncidentFolder(tmp_path, budget=2 * MEGABYTE, min_free=0)
    folder.make_room(MEGABYTE)
    assert {path.name[:13] for path in before - set(tmp_path.iterdir())} == {"incident_0001"}
    with pytest.raises(NoRoomError, match=r"take 1 MB of the 2 MB that .* may hold: move them"):
        folder.make_room(2 * MEGABYTE)
    assert folder.problem(1) == ""
    assert "may hold" in IncidentFolder(tmp_path, budget=MEGABYTE, min_free=0).problem(1)


def test_a_link_is_no_incident(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").write_bytes(bytes(MEGABYTE))
    (tmp_path / "incidents").mkdir()
    (tmp_path / "incidents" / "incident_0000_20260102T030405Z").symlink_to(elsewhere)
    folder = IncidentFolder(tmp_path / "incidents", budget=MEGABYTE, min_free=0)
    folder.make_room(MEGABYTE)
    assert (elsewhere / "data").exists()


def test_what_a_killed_recorder_left_behind_counts_and_goes_in_its_turn(tmp_path):
    left = incident(tmp_path / ".part", 0, MEGABYTE)
    incident(tmp_path, 1, MEGABYTE)
    folder = IncidentFolder(tmp_path, budget=2 * MEGABYTE, min_free=0)
    assert folder.used() == 2 * MEGABYTE
    folder.make_room(MEGABYTE)
    assert not left.exists()
    assert "incident_0001" in names(tmp_path)


def test_bag_that_is_being_written_is_not_removed_for_its_own_sake(tmp_path):
    writing = incident(tmp_path / ".part", 3, 2 * MEGABYTE)
    folder = IncidentFolder(tmp_path, budget=2 * MEGABYTE, min_free=0)
    with pytest.raises(NoRoomError, match="being written, take 2 MB of the 2 MB"):
        folder.make_room(MEGABYTE, spare=tmp_path / writing.name)
    assert writing.exists()


def test_disk_that_others_fill_is_left_alone(tmp_path):
    incident(tmp_path, 0, MEGABYTE)
    folder = IncidentFolder(tmp_path, budget=10 * MEGABYTE, min_free=1 << 60)
    assert "must keep" in folder.problem(1)
    with pytest.raises(NoRoomError, match=r"has \d+ MB free, must keep"):
        folder.make_room(MEGABYTE)
    assert names(tmp_path) == ["incident_0000"]


def test_room_that_is_too_small_for_a_bag_is_told_before_there_is_one(tmp_path):
    folder = IncidentFolder(tmp_path, budget=1 << 61, min_free=0)
    assert folder.problem(folder.free() // 2) == ""
    needed = 2 * folder.free()
    with pytest.raises(NoRoomError, match=f"a bag needs {needed / 1e6:.0f} MB"):
        folder.make_room(needed)
    assert f"a bag needs {needed / 1e6:.0f} MB" in folder.problem(needed)


def test_place_where_no_folder_can_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = IncidentFolder(tmp_path / "file" / "incidents", budget=MEGABYTE, min_free=0)
    assert "file' is not a writable folder" in folder.problem(1)
    with pytest.raises(OSError, match="Not a directory"):
        folder.make_room(1)


def test_names_count_up_and_are_sortable(tmp_path):
    folder = IncidentFolder(tmp_path, budget=MEGABYTE, min_free=0)
    first = folder.next_path(1_767_323_045.0)
    assert first.name == "incident_0000_20260102T030405Z"
    incident(tmp_path, 7, 1)
    incident(tmp_path / ".part", 9, 1)
    assert folder.next_path(0.0).name == "incident_0010_19700101T000000Z"
