# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Standard output and error that cannot block the process, whoever reads them or does not.

A terminal that is held with Ctrl-S, a hung ssh, `less` or a full disk lets the writer wait. rclpy
logs in C while it holds the interpreter's lock: not even another thread would run meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

PIPE_SIZE = 1 << 18
"""Bytes that a pipe holds until its thread runs, where the system allows as many."""

MAX_HELD = 1 << 20
"""Bytes that wait at most until they can be written."""

CHUNK = 1 << 16
"""Bytes that are moved at once."""

FLUSH_TIMEOUT = 1.0
"""Seconds for which the end of a process waits until all is written."""


class LogPipe:
    """Replaces a file descriptor by a pipe, which two threads empty into the original.

    What the original does not accept in time is dropped and counted.
    """

    def __init__(self, descriptor: int) -> None:
        """Replace a file descriptor.

        Args:
            descriptor: 1 for standard output, 2 for standard error.
        """
        self._descriptor = descriptor
        self._original = _duplicate(descriptor)
        self._changed = threading.Condition()
        self._held: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._is_closed = False
        self._receiving, sending = os.pipe()
        os.set_blocking(sending, False)
        with suppress(OSError, AttributeError):
            fcntl.fcntl(sending, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        os.dup2(sending, descriptor)
        os.close(sending)
        name = f"log {descriptor}"
        self._writer = threading.Thread(target=self._write_all, name=name, daemon=True)
        self._writer.start()
        threading.Thread(target=self._receive_all, name=name, daemon=True).start()

    def close(self) -> None:
        """Discard what is written from now on."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._descriptor)
        os.close(nowhere)

    def join(self, timeout: float) -> None:
        """Wait until all is written that came before `close`, for at most `timeout` seconds."""
        self._writer.join(timeout)

    def _receive_all(self) -> None:
        while data := os.read(self._receiving, CHUNK):
            with self._changed:
                if self._size + len(data) > MAX_HELD:
                    self._dropped += _lines(data)
                else:
                    self._size += len(data)
                    self._held.append(data)
                self._changed.notify()
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _write_all(self) -> None:
        while data := self._next():
            try:
                _write(self._original, data)
            except OSError:
                # The terminal is closed, nobody reads any more, or the disk is full.
                with self._changed:
                    self._dropped += _lines(data)

    def _next(self) -> bytes:
        """Wait for something to write and return it; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._held or self._is_closed)
            if not self._held:
                return b""
            data = self._held.popleft()
            self._size -= len(data)
            dropped, self._dropped = self._dropped, 0
        if not dropped:
            return data
        return f"[{dropped} lines of this log could not be written in time]\n".encode() + data


def replace_standard_streams() -> list[LogPipe]:
    """Replace standard output and error; what cannot be written delays nobody from now on."""
    _keep_colours()
    return [LogPipe(descriptor) for descriptor in (1, 2)]


def flush(pipes: Iterable[LogPipe]) -> None:
    """Write what waits, for at most `FLUSH_TIMEOUT` seconds, and discard what comes afterwards."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    end = time.monotonic() + FLUSH_TIMEOUT
    for pipe in pipes:
        pipe.close()
    for pipe in pipes:
        pipe.join(max(0.0, end - time.monotonic()))


def _keep_colours() -> None:
    """Have log lines coloured as they would be: ROS looks whether a stream is a terminal."""
    with suppress(OSError):
        os.environ.setdefault("RCUTILS_COLORIZED_OUTPUT", str(int(os.isatty(2))))


def _duplicate(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:
        # The process was started without it.
        return os.open(os.devnull, os.O_WRONLY)


def _lines(data: bytes) -> int:
    return data.count(b"\n") or 1


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, however long that takes.

    Raises:
        OSError: that is not possible.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            # Who started the process made its output non-blocking.
            select.select((), (descriptor,), ())
