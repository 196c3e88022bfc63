# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line, in this process or in one of its own, and bags for it."""

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import psutil

from failure_monitor.cli import main
from failure_monitor.decision import Rollout
from failure_monitor.policy_description import PolicyDescription
from testbed.bags import ACTIVE, BEGIN, FORMAT, PERIOD, SUCCESS, BagBuilder
from testbed.synthetic import POLICY

COMMAND = [sys.executable, "-m", "failure_monitor.cli"]


def write_rollout_bag(
    path: Path,
    rollout: Rollout,
    *,
    success: bool | None = True,
    stated: PolicyDescription | None = None,
) -> Path:
    """Write a rollout as a bag, without its outcome or what the policy stated where None."""
    with BagBuilder(path) as bag:
        if stated is not None:
            bag.text(FORMAT, stated.to_json(), BEGIN - 2)
        bag.flag(ACTIVE, True, BEGIN - 1)
        for index, decision in enumerate(rollout.decisions()):
            if decision.embedding.size:
                bag.embedding(decision.embedding, BEGIN + index * PERIOD)
            bag.chunks(decision.chunks, BEGIN + index * PERIOD, names=POLICY.action_names)
        end = BEGIN + len(rollout) * PERIOD
        if success is not None:
            bag.flag(SUCCESS, success, end)
        bag.flag(ACTIVE, False, end + 1)
    return path


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code; `output` is both streams in their order."""

    exit_code: int
    stdout: str
    stderr: str
    output: str


class _Stream(io.BytesIO):
    """A stream that also writes into another."""

    def __init__(self, other: io.BytesIO) -> None:
        super().__init__()
        self._other = other

    def write(self, content) -> int:
        self._other.write(content)
        return super().write(content)


def run_here(*arguments: object) -> Result:
    """Run the command in this process; what it raises is raised."""
    both = io.BytesIO()
    streams = [
        io.TextIOWrapper(_Stream(both), encoding="utf-8", write_through=True) for _ in range(2)
    ]
    code: object = 0
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    return Result(code, out, err, both.getvalue().decode())


def run_command(*arguments: object, **settings: object) -> subprocess.CompletedProcess:
    """Run the command in a process of its own.

    Args:
        arguments: those of the command.
        settings: those of `subprocess.run`.
    """
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        **{"timeout": 240, **settings},
    )


def interrupt_while_it_reads(process: subprocess.Popen[str], folder: Path) -> tuple[str, str]:
    """Interrupt a command when it has opened a file in a folder; return what it printed."""
    opened = psutil.Process(process.pid).open_files
    while not any(one.path.startswith(f"{folder}{os.sep}") for one in opened()):
        assert process.poll() is None, "it ended before it was seen to read"
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)
