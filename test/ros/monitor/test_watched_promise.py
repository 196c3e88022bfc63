# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's watched promise: which rollouts count, what survives a restart, what is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from testbed.ros_graph import Observer, node_process

from failure_monitor.promise.finished_rollout import FinishedRollout
from failure_monitor.promise.reference import Reference
from failure_monitor.promise.state_file import PromiseFile, StoredPromise
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.monitor.watched_promise import CountedRollout, WatchedPromise
from failure_monitor.ros.monitor.work_thread import WorkThread

MONITOR = "failure_monitor.ros.monitor.node"
EMPTY = StoredPromise(monitor="/failure_monitor", bundle="ab" * 32, series=("rule",))
LOTS = np.linspace(0, 1, 20)
NO_SCORES, FOLDS = np.zeros((18, 0)), np.zeros(18, dtype=np.int64)
TWENTY = Reference("", 19, np.arange(1, 21) / 19, LOTS, (), NO_SCORES, LOTS[:18], FOLDS, 0)
PATIENCE = 10.0


@contextmanager
def watched(path: Path | None) -> Iterator[WatchedPromise]:
    file = None if path is None else PromiseFile(path, EMPTY)
    disk = WorkThread("disk")
    yield WatchedPromise((TWENTY,), file, EMPTY, 0.01, disk, wake=lambda: None)
    disk.close()


def closed_after(path: Path | None, *ended: CountedRollout) -> DiagnosticStatus:
    """What is said once these rollouts have ended and the monitor was closed."""
    with watched(path) as promise:
        for one in ended:
            promise.end_rollout(one)
    return promise.message(name="failure_monitor", hardware_id="arm")


LOW = CountedRollout(FinishedRollout("", 0.01))


def test_it_survives_a_restart_and_is_broken_at_the_same_rollout(tmp_path):
    path = tmp_path / "promise.json"
    first = closed_after(path, *[LOW] * 3)
    assert first.level == DiagnosticStatus.OK
    assert first.message.startswith("holds; 3 rollouts")
    for _ in range(7):
        last = closed_after(path, *[LOW] * 3)
    in_one = closed_after(None, *[LOW] * 24)
    assert last.level == DiagnosticStatus.ERROR
    assert last.message == in_one.message
    assert "broken since rollout" in last.message
    assert read_key_values(last.values)["rollouts"] == "24"


def test_what_does_not_count_is_counted_by_its_reason(tmp_path):
    path = tmp_path / "promise.json"
    closed_after(path, CountedRollout(None, "failed"), LOW)
    said = read_key_values(closed_after(path, CountedRollout(None, "failed")).values)
    assert (said["left out: failed"], said["rollouts"]) == ("2", "1")


def test_a_damaged_file_is_reported_and_left_until_it_is_moved_away(tmp_path):
    path = tmp_path / "promise.json"
    path.write_text("{")
    said = closed_after(path, LOW)
    assert said.level == DiagnosticStatus.STALE
    assert f"the promise is not watched: '{path}' holds no rollouts of" in said.message
    assert path.read_text() == "{"
    path.unlink()
    assert closed_after(path, LOW).message.startswith("holds; 1 rollout,")


def test_a_disk_that_hangs_delays_nobody(tmp_path, monkeypatch):
    goes_on = threading.Event()
    monkeypatch.setattr(PromiseFile, "read", lambda self: goes_on.wait(PATIENCE) and EMPTY)
    with watched(tmp_path / "promise.json") as promise:
        for _ in range(3):
            promise.end_rollout(LOW)
        said = promise.message(name="failure_monitor", hardware_id="")
        assert said.level == DiagnosticStatus.STALE
        assert "is being read" in said.message
        goes_on.set()


def test_what_nobody_foresaw_is_said_and_not_counted_in_silence(tmp_path):
    # A task of which the bundle has no promise: no rollout of this node has one.
    odd = CountedRollout(FinishedRollout("another task", 0.01))
    said = closed_after(tmp_path / "promise.json", LOW, odd)
    assert said.level == DiagnosticStatus.STALE
    assert said.message == "the promise is not watched: KeyError: 'another task'"
    assert closed_after(tmp_path / "promise.json", LOW).message.startswith("holds; 2 rollouts")


def test_a_file_with_endless_names_fills_no_diagnostics(tmp_path):
    path = tmp_path / "promise.json"
    path.write_text('{"%s": 1}' % ("x" * 1_000_000))
    said = closed_after(path, LOW)
    assert said.level == DiagnosticStatus.STALE
    assert len(said.message) <= 1000


def test_a_rollout_whose_outcome_is_known_better_later_counts_anew(tmp_path):
    path = tmp_path / "promise.json"
    low = FinishedRollout("", 0.01)
    rollouts = [CountedRollout(low, name=f"rollout {number}") for number in range(24)]
    assert closed_after(path, *rollouts).level == DiagnosticStatus.ERROR
    path.unlink()
    failed = [CountedRollout(low, "failed", one.name) for one in rollouts[2:]]
    said = closed_after(path, *rollouts, *failed)
    assert said.message.startswith("holds; 2 rollouts")
    assert read_key_values(said.values)["left out: failed"] == "22"
    path.unlink()
    said = closed_after(path, *rollouts, *failed, *rollouts)
    assert "left out: failed" not in read_key_values(said.values)
    assert read_key_values(said.values)["rollouts"] == "24"
    assert len(PromiseFile(path, EMPTY).read().rollouts) == 24


@pytest.mark.ros
def test_the_node_says_what_its_rollouts_say_of_the_promise(
    rollouts, policy, bundle_folder, tmp_path
):
    rclpy.init()
    observer = Observer(policy.action_names)
    observer.listen_to_monitor()
    observer.listen("failure_monitor/promise", DiagnosticStatus, LATCHED_QOS)
    settings = {"bundle": bundle_folder, "max_joint_state_age": 0.0, "promise_folder": tmp_path}
    try:
        with node_process(MONITOR, **settings):
            wait_for_word(observer, "no rollout that counts has ended yet")
            run_rollout(observer, rollouts[0], success=True)
            wait_for_word(observer, "holds; 1 rollout, ")
            run_rollout(observer, rollouts[1], success=False)
            observer.wait_for(
                lambda: last_values(observer).get("left out: failed") == "1", "a failure left out"
            )
        assert len(list(tmp_path.glob("failure_monitor.*.promise.json"))) == 1
        observer.received["failure_monitor/promise"].clear()
        with node_process(MONITOR, **settings):
            wait_for_word(observer, "holds; 1 rollout, ")
    finally:
        observer.node.destroy_node()
        rclpy.try_shutdown()


def last_values(observer: Observer) -> dict[str, str]:
    promises = observer.received["failure_monitor/promise"]
    return read_key_values(promises[-1].values) if promises else {}


def run_rollout(observer: Observer, rollout, *, success: bool) -> None:
    assert observer.trigger("failure_monitor/start_rollout").success
    for number, decision in enumerate(rollout.decisions()):
        observer.decide(decision)
        observer.wait_for(
            lambda number=number: observer.alarm_values().get("decision") == str(number),
            f"decision {number}",
        )
    assert observer.set_bool("failure_monitor/end_rollout", success).success


def wait_for_word(observer: Observer, word: str) -> None:
    observer.wait_for(
        lambda: any(word in each.message for each in observer.received["failure_monitor/promise"]),
        f"the word '{word}'",
    )
