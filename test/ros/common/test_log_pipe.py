# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Who reads a log, or does not, delays nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOGS = """
import os, sys, time
from failure_monitor.ros.common.log_pipe import flush, replace_standard_streams

def log(line):
    while True:
        try:
            return os.write(2, line)
        except BlockingIOError:
            # The thread that empties the pipe had no turn yet, on a busy machine.
            time.sleep(0.001)

pipes = replace_standard_streams()
longest = 0.0
for number in range({lines}):
    begin = time.monotonic()
    log(b"line %d " % number + 80 * b"x" + b"\\n")
    longest = max(longest, time.monotonic() - begin)
    if number % 100 == 0:
        time.sleep(0.001)
os.write({answer}, b"done\\n")
{then}
begin = time.monotonic()
flush(pipes)
os.write({answer}, b"longest %.3f, flush %.3f" % (longest, time.monotonic() - begin))
os._exit(0)
"""


def start(stderr: int, lines: int, then: str = "") -> tuple[subprocess.Popen[bytes], int]:
    """Return a process that logs, and the end of a pipe on which it answers."""
    receiving, answer = os.pipe()
    script = LOGS.format(lines=lines, answer=answer, then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stderr=stderr, stdin=subprocess.PIPE, pass_fds=(answer,)
    )
    os.close(answer)
    return process, receiving


def read_all(descriptor: int) -> bytes:
    return b"".join(iter(lambda: os.read(descriptor, 1 << 16), b""))


def seconds(answer: bytes) -> list[float]:
    return [float(part.split()[1]) for part in answer.decode().splitlines()[1].split(",")]


@pytest.mark.law(5)
def test_nobody_reads_it_and_nobody_waits():
    unread, stderr = os.pipe()
    process, receiving = start(stderr, lines=60_000)
    longest, flush = seconds(read_all(receiving))
    assert process.wait(10) == 0
    assert longest < 1.0
    assert flush < 3.0
    os.close(stderr)
    os.close(unread)


@pytest.mark.law(5)
def test_what_was_dropped_is_counted_once_it_is_read_again():
    unread, stderr = os.pipe()
    process, receiving = start(stderr, lines=60_000, then="sys.stdin.readline()")
    os.close(stderr)
    assert os.read(receiving, 5) == b"done\n"
    process.stdin.write(b"\n")
    process.stdin.flush()
    lines = read_all(unread).decode().splitlines()
    assert process.wait(10) == 0
    dropped = sum(int(line[1:].split()[0]) for line in lines if line.startswith("["))
    assert dropped > 0
    whole = sum(line.startswith("line") for line in lines)
    # A pipe that was full in the middle of a line leaves a part of it.
    assert abs(whole + dropped - 60_000) < 60


@pytest.mark.law(5)
@pytest.mark.parametrize("where", ["closed", "/dev/full"])
def test_it_cannot_be_written(where):
    if where == "closed":
        reading, stderr = os.pipe()
        os.close(reading)
    else:
        stderr = os.open(where, os.O_WRONLY)
    process, receiving = start(stderr, lines=20_000)
    longest, flush = seconds(read_all(receiving))
    assert process.wait(10) == 0
    assert longest < 1.0
    assert flush < 3.0
    os.close(stderr)


def test_all_of_it_is_written_at_the_end():
    reading, stderr = os.pipe()
    process, _ = start(stderr, lines=500)
    os.close(stderr)
    lines = read_all(reading).decode().splitlines()
    assert process.wait(10) == 0
    assert [int(line.split()[1]) for line in lines] == list(range(500))
