# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes of pytest-xdist: a ROS domain for each, and files that run alone."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DOMAINS = range(20, 102, 2)
"""First of the two domains of a process. Linux gives the ports of those above 101 to others."""

WORKER = "PYTEST_XDIST_WORKER"
"""Environment variable that names a process among several, as in 'gw1'."""

RUN = "PYTEST_XDIST_TESTRUNUID"
"""Environment variable with a hexadecimal number that the processes of a run have in common."""

WORKERS = "PYTEST_XDIST_WORKER_COUNT"
"""Environment variable with the number of processes of a run."""

_claims: list[socket.socket] = []
_moves = 0


def claim_ros_domain() -> int:
    """Return a ROS domain for the nodes of this process; the next one is its own as well.

    It follows from the run and from the number of the process in it. If another run on this
    machine has the domain already, the next free one is taken.
    """
    return _claim(0)


def next_ros_domain() -> int:
    """Give the ROS domain of this process up, and claim the next one that is its own.

    The processes of a run go round in turn: each comes to a domain that another has just left only
    when it has been through all others.
    """
    global _moves
    _moves += 1
    left = _claims.pop()
    domain = _claim(_moves * int(os.environ.get(WORKERS, "1")))
    left.close()
    return domain


def _claim(offset: int) -> int:
    run = int(os.environ.get(RUN, f"{os.getpid():x}"), 16)
    first = run + int(os.environ.get(WORKER, "gw0").removeprefix("gw")) + offset
    for attempt in range(len(DOMAINS)):
        domain = DOMAINS[(first + attempt) % len(DOMAINS)]
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0failure_monitor tests in ROS domain {domain}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return domain
    raise RuntimeError(f"all ROS domains from {DOMAINS[0]} on are in use by other tests")


def spare_ros_domain() -> int:
    """Return a second ROS domain of this process, in which nothing runs but what a test starts."""
    return int(os.environ["ROS_DOMAIN_ID"]) + 1


@contextmanager
def machine_shared_or_alone(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait until no other process of the run is alone or, to be alone, until no other is at work.

    Args:
        folder: one that the processes of the run have in common.
        alone: whether no other process works in the block.
    """
    if WORKER not in os.environ:
        yield
        return
    with (folder / "door").open("w") as door, (folder / "machine").open("w") as machine:
        # A process that waits to be alone holds the door: no other enters before it.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


def put_what_takes_longest_first(items: list[pytest.Item]) -> None:
    """Order the files, so that no process is left with a long one when the others have ended.

    First those that run alone, then those with the most tests that are slow or start nodes.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)

    def weight(tests: list[pytest.Item]) -> tuple[bool, int]:
        alone = any(test.get_closest_marker("alone") for test in tests)
        slow = sum(20 for test in tests if test.get_closest_marker("slow"))
        return alone, slow + sum(1 for test in tests if test.get_closest_marker("ros"))

    items[:] = [
        item for tests in sorted(files.values(), key=weight, reverse=True) for item in tests
    ]
