# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Signals that ask a process to end. They set a flag, however many come and whenever they come.

It imports nothing but the standard library, so that a process can watch its signals before it
imports anything else.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

STACK_FAULT = 16
"""SIGSTKFLT, which Python names from 3.11 on."""

ENDING = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGXCPU,
    signal.SIGPWR,
    signal.SIGIO,
    STACK_FAULT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)
"""Every signal that would otherwise end the process at once and that can be caught, but for those
of its own errors."""

SUSPENDING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""What a terminal sends for Ctrl-Z, or for a log line of a process in the background. It would
freeze the process, and a frozen gate leaves the robot in motion."""


class EndRequest:
    """True once a signal has asked the process to end. There is one in a process."""

    def __init__(self) -> None:
        """Handle the signals from now on; their default never returns."""
        self._received = False
        self._wake: Callable[[], object] = lambda: None
        for number in ENDING:
            # Started by `nohup`, it is to outlive the terminal.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        for number in SUSPENDING:
            signal.signal(number, signal.SIG_IGN)
        self._start_thread()

    def __bool__(self) -> bool:
        return self._received

    def on_receive(self, wake: Callable[[], object]) -> None:
        """Call a function at every signal from now on, on a thread of its own."""
        self._wake = wake

    def _on_signal(self, number: int, frame: object) -> None:
        self._received = True

    def _start_thread(self) -> None:
        """Start to wait for signals.

        Python handles a signal only between two steps of the main thread, which may wait for
        messages instead.
        """
        receiving, sending = os.pipe()
        os.set_blocking(sending, False)
        signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(receiving,), name="signals", daemon=True).start()

    def _wait(self, receiving: int) -> None:
        while os.read(receiving, 64):
            self._received = True
            self._wake()


_request: EndRequest | None = None


def watch_signals() -> EndRequest:
    """Return the process's request to end; the first call starts to handle signals.

    Only the main thread may make that call.
    """
    global _request
    if _request is None:
        _request = EndRequest()
    return _request
