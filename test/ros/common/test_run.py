# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A node ends in order whenever the signal to end comes."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.ros

SIGNALLED_WHILE_IT_STARTS = """
import os, signal, time
import rclpy
from rclpy.node import Node
from failure_monitor.ros.common.run import run_node

class Slow(Node):
    def __init__(self):
        {before}
        os.kill(os.getpid(), signal.{number})
        end = time.monotonic() + 5
        while rclpy.ok() and time.monotonic() < end:
            time.sleep(0.01)
        {after}

run_node(Slow)
"""

MAKE = "super().__init__('slow')"
PUBLISH = """from std_msgs.msg import Bool
        self.create_publisher(Bool, 'topic', 1).publish(Bool())"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(("before", "after"), [("pass", MAKE), (MAKE, PUBLISH)])
def test_a_signal_while_a_node_starts_ends_it_without_a_traceback(number, before, after):
    script = SIGNALLED_WHILE_IT_STARTS.format(number=number, before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_its_own_ends_a_node_with_a_traceback():
    script = "from failure_monitor.ros.common.run import run_node; run_node(lambda: 1 / 0)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


FAILS_AND_ACTS = """
from rclpy.node import Node
from failure_monitor.ros.common.run import run_node

class Failing(Node):
    def __init__(self):
        super().__init__('failing')
        self.create_timer(0.05, lambda: 1 / 0)
        self.create_timer(0.05, self.act)
        self.acts = 0

    def act(self):
        self.acts += 1
        print('acted', self.acts, flush=True)

run_node(Failing, last_act=lambda node: node.acts < 3)
"""


def test_a_node_that_fails_does_its_last_act_before_it_ends():
    done = subprocess.run(
        [sys.executable, "-c", FAILS_AND_ACTS],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "acted 3" in done.stdout
    assert done.returncode == 1
    assert done.stderr.count("ZeroDivisionError") == 1
