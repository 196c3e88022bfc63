# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that are given work end with it, also where it fails."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.process import BaseProcess

import pytest

from failure_monitor.executors.worker_processes import worker_processes


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_ends_the_processes_and_leaves_no_complaint(monkeypatch: pytest.MonkeyPatch):
    terminate = BaseProcess.terminate

    def terminate_and_dawdle(process: BaseProcess) -> None:
        terminate(process)
        time.sleep(0.3)

    # Long enough for the thread that manages the processes to notice.
    monkeypatch.setattr(BaseProcess, "terminate", terminate_and_dawdle)
    with pytest.raises(ValueError, match="non-negative"), worker_processes(2) as workers:
        list(workers.map(time.sleep, [-1.0, *40 * [0.2]]))
    assert not multiprocessing.active_children()
