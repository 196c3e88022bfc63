# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The halt mark on a disk: it stands when it must, and a disk that fails permits nothing."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from testbed.small_disk import fill, small_disk

from failure_monitor.errors import UsageError
from failure_monitor.ros.monitor.halt_mark import CHECK_PERIOD, HaltMark
from failure_monitor.ros.monitor.halt_mark_file import HaltMarkFile, halt_mark_file

pytestmark = pytest.mark.law(4)

PATIENCE = 10.0
LATER = 2 * CHECK_PERIOD


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "marks" / "left.failure_monitor.json"


def mark_at(path: Path) -> HaltMark:
    """The mark of a monitor that has just started, once it has read whether one stands."""
    mark = HaltMark(HaltMarkFile(path, "/left/failure_monitor"), wake=lambda: None)
    wait_for(lambda: mark.is_known)
    return mark


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def set_mark(mark: HaltMark, now: float = 0.0) -> None:
    mark.update(True, now)
    wait_for(lambda: not mark.problem(now))


def test_it_stands_before_anything_is_permitted_and_goes_when_the_rollout_ends(path):
    mark = mark_at(path)
    assert mark.found is None
    assert not path.exists()
    mark.update(True, 0.0)
    wait_for(lambda: not mark.problem(0.0))
    assert json.loads(path.read_text())["monitor"] == "/left/failure_monitor"
    mark.update(False, 0.1)
    wait_for(lambda: not path.exists())
    mark.close(wanted=False)


def test_while_it_is_written_nothing_is_permitted(path, monkeypatch):
    mark = mark_at(path)
    may_write = threading.Event()
    monkeypatch.setattr(HaltMarkFile, "ensure", lambda self, stopped: may_write.wait())
    mark.update(True, 0.0)
    assert "is not confirmed" in mark.problem(0.1)
    assert "is not confirmed for 60 s; nothing is permitted without it" in mark.problem(60.0)
    may_write.set()
    wait_for(lambda: not mark.problem(0.1))
    mark.close(wanted=True)


def test_what_was_removed_meanwhile_is_set_again(path):
    mark = mark_at(path)
    set_mark(mark)
    path.unlink()
    mark.update(True, LATER)
    wait_for(path.exists)
    assert not mark.problem(LATER)
    mark.close(wanted=True)
    assert path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff\x00garbage"),
        lambda path: path.write_text("[" * 4000),
        lambda path: path.write_text('{"since": 3}'),
        lambda path: path.write_text('{"monitor": "/another", "since": "yesterday"}'),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/nowhere"),
        lambda path: os.mkfifo(path),
    ],
    ids=["empty", "bytes", "deep", "wrong", "foreign", "folder", "link", "pipe"],
)
def test_whatever_stands_in_its_place_is_a_mark(path, damage):
    path.parent.mkdir()
    damage(path)
    mark = mark_at(path)
    assert mark.found is not None
    assert str(path) in mark.found.reason
    mark.close(wanted=True)


def test_who_finds_it_knows_since_when_it_stands(path):
    first = mark_at(path)
    set_mark(first)
    since = json.loads(path.read_text())["since"]
    first.close(wanted=True)
    second = mark_at(path)
    assert second.found is not None
    assert since in second.found.reason
    # While the halt lasts it is left as it was found.
    set_mark(second)
    assert json.loads(path.read_text())["since"] == since
    second.close(wanted=True)


def test_a_reset_in_a_rollout_sets_a_new_one_and_one_between_rollouts_removes_it(path):
    path.parent.mkdir()
    path.write_text("damaged")
    mark = mark_at(path)
    set_mark(mark)
    mark.reset()
    assert mark.problem(0.0), "not before it is written"
    assert mark.found is None
    set_mark(mark)
    assert json.loads(path.read_text())["process"] == os.getpid()
    path.write_text("damaged again")
    mark.reset()
    mark.update(False, 0.1)
    wait_for(lambda: not path.exists())
    mark.close(wanted=False)


def test_it_notes_what_was_stopped_for_who_finds_it(path):
    mark = mark_at(path)
    set_mark(mark)
    mark.update(True, 0.1, ("pause", "policy"))
    assert not mark.problem(0.1), "a mark that stands is not doubted meanwhile"
    wait_for(lambda: json.loads(path.read_text())["stopped"] == ["pause", "policy"])
    mark.close(wanted=True)
    found = mark_at(path).found
    assert found is not None
    assert found.stopped == ("pause", "policy")


def test_the_end_of_one_monitor_leaves_the_mark_of_another(path):
    first, second = mark_at(path), mark_at(path)
    set_mark(first)
    second.update(True, 0.0)
    second.reset()
    set_mark(second)
    first.close(wanted=False)
    assert path.exists()
    second.close(wanted=False)
    assert not path.exists()


def test_a_process_that_ends_while_it_must_stand_leaves_it(path):
    mark = mark_at(path)
    set_mark(mark)
    mark.close(wanted=True)
    assert path.exists()


def test_a_rollout_that_starts_as_another_ends_has_its_mark(path):
    mark = mark_at(path)
    for number in range(100):
        set_mark(mark, 0.001 * number)
        mark.update(False, 0.001 * number)
    set_mark(mark, 0.1)
    assert path.exists()
    mark.close(wanted=False)
    assert not path.exists()


@contextmanager
def full(path: Path) -> Iterator[None]:
    """A folder on a disk without room."""
    with small_disk(path.parent, megabytes=1) as disk:
        filler = fill(disk)
        yield
        filler.unlink()


@contextmanager
def under_a_file(path: Path) -> Iterator[None]:
    """A folder that cannot be made."""
    path.parent.write_text("")
    yield
    path.parent.unlink()


@contextmanager
def replaced_by_a_folder(path: Path) -> Iterator[None]:
    (path / "something").mkdir(parents=True)
    yield
    (path / "something").rmdir()
    path.rmdir()


@pytest.mark.parametrize("failing", [full, under_a_file, replaced_by_a_folder])
def test_where_it_cannot_be_written_nothing_is_permitted_until_it_can(path, failing):
    file = HaltMarkFile(path, "/left/failure_monitor")
    with failing(path):
        mark = HaltMark(file, wake=lambda: None)
        now = 0.0
        for _ in range(3):
            mark.update(True, now)
            mark.reset()
            time.sleep(0.02)
            now += LATER
        wait_for(lambda: "cannot be kept" in mark.problem(now))
        assert str(path.parent) in mark.problem(now)
        assert "name another one by 'halt_mark_folder'" in mark.problem(now)
        mark.close(wanted=True)
    mark = mark_at(path)
    set_mark(mark)
    mark.close(wanted=False)


def test_a_reset_that_could_not_be_carried_out_is_still_owed_in_the_next_rollout(
    path, monkeypatch
):
    path.parent.mkdir()
    path.write_text("damaged")
    mark = mark_at(path)

    def fail(self: HaltMarkFile, stopped: object = ()) -> None:
        raise OSError(30, "Read-only file system", str(self.path))

    for method in ("clear", "renew"):
        monkeypatch.setattr(HaltMarkFile, method, fail)
    mark.reset()
    mark.update(False, 0.0)
    wait_for(lambda: "Read-only" in mark.problem(0.0))
    mark.update(True, 0.1)
    wait_for(lambda: "Read-only" in mark.problem(0.1))
    mark.close(wanted=True)


def test_a_disk_that_hangs_holds_up_neither_heartbeat_nor_end_for_long(path, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(HaltMarkFile, "read", lambda self: never.wait())
    begin = time.monotonic()
    mark = HaltMark(HaltMarkFile(path, "/left/failure_monitor"), wake=lambda: None)
    mark.update(True, 0.0)
    mark.update(True, LATER)
    assert not mark.is_known
    assert "is not confirmed for" in mark.problem(2 * LATER)
    mark.close(wanted=False)
    assert time.monotonic() - begin < 3.0
    never.set()


HASH = 32 * "ab"


def test_none_keeps_none_and_says_so():
    assert halt_mark_file("none", "/failure_monitor", HASH) is None
    mark = HaltMark(None, wake=lambda: None)
    mark.update(True, 0.0)
    assert (mark.found, mark.problem(0.0), mark.is_known) == (None, "", True)
    assert mark.text == "none: a halt ends with the process"
    mark.close(wanted=True)


def test_its_place_follows_from_node_and_bundle_and_not_from_where_it_is_started(monkeypatch):
    monkeypatch.setenv("ROS_HOME", "/ros_home")
    file = halt_mark_file("", "/left/failure_monitor", HASH)
    assert file is not None
    assert file.path == Path("/ros_home/failure_monitor/left.failure_monitor.abababababab.json")
    monkeypatch.delenv("ROS_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    file = halt_mark_file("", "/failure_monitor", HASH)
    assert file is not None
    assert file.path == Path(
        "/home/somebody/.ros/failure_monitor/failure_monitor.abababababab.json"
    )
    with pytest.raises(UsageError, match="begins with '/'"):
        halt_mark_file("marks", "/failure_monitor", HASH)
