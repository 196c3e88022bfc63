# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a command takes: time, processor time, and the memory of all of its processes at once."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PERIOD = 0.5
"""Seconds between two readings, which take some milliseconds each."""


@dataclass(frozen=True)
class Taken:
    """What a command took.

    Attributes:
        seconds: from its start to its end, whatever else the machine did.
        cpu_seconds: of all its processes.
        peak_megabytes: of all its processes at once, at most; what they share counts once (PSS,
            as Linux reports it).
        own_megabytes: of its first process alone, at most.
    """

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    own_megabytes: float


def run_measured(command: Sequence[object]) -> Taken:
    """Run a command, of which this process has no other children meanwhile.

    Raises:
        RuntimeError: The command failed; its output is in the message.
    """
    began, cpu_before = time.perf_counter(), _children_seconds()
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peak = own = 0.0
    while process.poll() is None:
        each = [_megabytes(pid) for pid in _family(process.pid)]
        peak, own = max(peak, sum(each)), max(own, each[0])
        time.sleep(PERIOD)
    seconds = time.perf_counter() - began
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {said}")
    return Taken(seconds, _children_seconds() - cpu_before, peak, own)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # ended meanwhile
        return
    for child in children:
        yield from _family(int(child))


def _megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024e-6
