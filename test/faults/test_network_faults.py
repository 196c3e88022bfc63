# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Monitor and policy on one machine, gate and robot on another, and the network between them."""

from __future__ import annotations

import multiprocessing
import subprocess
from concurrent.futures import ProcessPoolExecutor

import pytest
from testbed.faults.network import two_machines
from testbed.faults.network_trial import NAME, cut
from testbed.faults.trial import Fault

pytestmark = [pytest.mark.ros, pytest.mark.law(2)]


@pytest.fixture
def cable(monkeypatch):
    # Shared memory would go round the cable.
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    machines = two_machines()
    try:
        cable = machines.__enter__()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield cable
    machines.__exit__(None, None, None)


def test_the_gate_closes_when_the_network_to_the_monitor_is_cut(cable, table, bundle_folder):
    row: Fault = table(NAME)
    # A process of its own, as Fast DDS reads the network of a process only once.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as robot:
        row.delays, row.passed, row.recovered = robot.submit(cut, cable, bundle_folder).result()
