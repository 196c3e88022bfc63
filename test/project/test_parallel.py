# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that share the tests have a ROS domain each, and let one another be alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from testbed.parallel import DOMAINS, RUN, WORKER, machine_shared_or_alone

CLAIM = "from testbed.parallel import claim_ros_domain as claim; print(claim(), flush=True)"
WAIT = "import sys; sys.stdin.read()"


def domains_of(processes: list[tuple[str, str]]) -> list[int]:
    """The domains of processes of a run that are there at the same time."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"{CLAIM}; {WAIT}"],
            env={**os.environ, RUN: run, WORKER: worker},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for run, worker in processes
    ]
    found = [int(process.stdout.readline()) for process in started]
    for process in started:
        process.communicate()
    return found


def test_no_two_processes_have_the_same_domain_not_even_of_different_runs():
    processes = [(run, worker) for run in ("a", "a", "b") for worker in ("gw0", "gw1")]
    domains = domains_of(processes)
    assert len({*domains, int(os.environ["ROS_DOMAIN_ID"])}) == len(processes) + 1
    assert set(domains) <= set(DOMAINS)


def test_a_process_has_the_same_domain_whenever_it_is_free():
    assert domains_of([("a", "gw1")]) == domains_of([("a", "gw1")])


def test_who_is_alone_waits_for_others_and_then_nobody_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(WORKER, "gw0")
    order: list[str] = []

    def enter(name: str, inside: threading.Event, *, alone: bool) -> None:
        with machine_shared_or_alone(tmp_path, alone=alone):
            order.append(name)
            inside.wait(10.0)

    leave_first, leave_others = threading.Event(), threading.Event()
    leave_others.set()
    first = threading.Thread(target=enter, args=("first", leave_first), kwargs={"alone": False})
    first.start()
    while order != ["first"]:
        pass
    alone = threading.Thread(target=enter, args=("alone", leave_others), kwargs={"alone": True})
    alone.start()
    alone.join(0.5)
    second = threading.Thread(target=enter, args=("second", leave_others), kwargs={"alone": False})
    second.start()
    second.join(0.5)
    assert order == ["first"]
    leave_first.set()
    for thread in (first, alone, second):
        thread.join(10.0)
    assert order == ["first", "alone", "second"]
