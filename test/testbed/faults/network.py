# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Two machines on one: network namespaces of Linux, joined by a cable that can be cut."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""For setns(2), which Python has from 3.12 on."""


@dataclass(frozen=True)
class Cable:
    """Joins two namespaces."""

    namespaces: tuple[str, str]

    def cut(self) -> None:
        _ip("-n", self.namespaces[0], "link", "set", "cable", "down")

    def mend(self) -> None:
        _ip("-n", self.namespaces[0], "link", "set", "cable", "up")


@contextmanager
def two_machines() -> Iterator[Cable]:
    """Make namespaces that reach each other and nothing else.

    Raises:
        OSError, subprocess.CalledProcessError: this system, or this user, cannot make any.
    """
    names = tuple(f"failure_monitor_{os.getpid()}_{side}" for side in ("a", "b"))
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        first, second = names
        _ip(
            "-n",
            first,
            "link",
            "add",
            "cable",
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            second,
        )
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
            _ip("-n", name, "route", "add", "224.0.0.0/4", "dev", "cable")
        yield Cable((first, second))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextmanager
def on_machine(namespace: str) -> Iterator[None]:
    """Start what this thread starts in the block (sockets, threads, processes) in a namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
    try:
        _enter(other)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(other)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True)
