# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A node ends in order whenever signals come, and nothing else ends it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.ros


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )


SIGNALLED_WHILE_IT_STARTS = """
import os, signal, time
from rclpy.node import Node
from failure_monitor.ros.common.run import run_node

class Slow(Node):
    def __init__(self):
        {before}
        os.kill(os.getpid(), signal.{number})
        time.sleep(0.1)
        {after}

run_node(Slow)
"""

MAKE = "super().__init__('slow')"
PUBLISH = """from std_msgs.msg import Bool
        self.create_publisher(Bool, 'topic', 1).publish(Bool())"""


@pytest.mark.law(5)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1"])
@pytest.mark.parametrize(("before", "after"), [("pass", MAKE), (MAKE, PUBLISH)])
def test_a_signal_while_a_node_starts_ends_it_without_a_traceback(number, before, after):
    done = run(SIGNALLED_WHILE_IT_STARTS.format(number=number, before=before, after=after))
    assert (done.returncode, done.stderr) == (0, "")


ACTS_LAST = """
import os, signal, threading, time
from rclpy.node import Node
from failure_monitor.ros.common.run import run_node

class Acting(Node):
    def __init__(self):
        super().__init__('acting')
        self.begin = 0.0
        self.create_timer(0.2, self.end)

    def end(self):
        if not self.begin:
            self.begin = time.monotonic()
            threading.Thread(target=send, daemon=True).start()

    def act(self):
        left = 1.0 - (time.monotonic() - self.begin)
        if left <= 0.0:
            print('acted', flush=True)
        return left > 0.0

    def destroy_node(self):
        time.sleep(0.5)
        super().destroy_node()

def send():
    # Until the process is gone: in its last act, while it is destroyed, as it exits.
    while True:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        time.sleep(0.003)

run_node(Acting, last_act=Acting.act)
"""


@pytest.mark.law(5)
def test_hundreds_of_signals_do_not_interrupt_the_last_act_or_the_end():
    done = run(ACTS_LAST)
    assert (done.returncode, done.stdout, done.stderr) == (0, "acted\n", "")


REACTS = """
import os, signal, threading, time
from rclpy.node import Node
from failure_monitor.ros.common import run

run.MAX_WAIT = 20.0

def act(node):
    print('reacted', time.monotonic() - sent[0] < 0.1)
    return False

def send():
    time.sleep(1.0)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGTERM)

sent = []
threading.Thread(target=send, daemon=True).start()
run.run_node(lambda: Node('idle'), last_act=act)
"""


@pytest.mark.law(5)
def test_a_signal_is_not_kept_waiting_by_a_wait_for_messages():
    done = run(REACTS)
    assert (done.returncode, done.stdout) == (0, "reacted True\n")


def test_an_error_while_a_node_starts_ends_it_with_a_traceback():
    done = run("from failure_monitor.ros.common.run import run_node; run_node(lambda: 1 / 0)")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


FAILS = """
import os, signal
from rclpy.node import Node
from failure_monitor.errors import UsageError
from failure_monitor.ros.common.run import run_node

class Failing(Node):
    def __init__(self):
        super().__init__('failing')
        self.create_timer(0.02, self.fail)
        self.fails = self.acts = self.errors = 0

    def fail(self):
        self.fails += 1
        if self.fails == 20:
            {end}
        raise ValueError('a bad message')

    def act(self):
        self.acts += 1
        if self.acts == 2:
            raise KeyError('the last act')
        if self.acts == 4:
            print('acted', self.errors >= 19, flush=True)
        return self.acts < 4

def on_error(node, error):
    node.errors += 1

run_node(Failing, last_act=Failing.act, on_error=on_error)
"""


@pytest.mark.law(5)
@pytest.mark.law(7)
@pytest.mark.parametrize(
    ("end", "code", "last"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", 0, "a bad message"),
        ("raise UsageError('there is no such folder')", 2, "there is no such folder"),
    ],
)
def test_a_node_goes_on_after_errors_of_callbacks_and_ends_after_its_last_act(end, code, last):
    done = run(FAILS.format(end=end))
    assert (done.returncode, done.stdout) == (code, "acted True\n")
    assert last in done.stderr
    assert done.stderr.count("ValueError") == 1, "further ones are too many to log"


HANGS = """
import os, signal, threading, time
from rclpy.node import Node
from failure_monitor.ros.common import run

run.MAX_TEARDOWN = 0.5

class Hanging(Node):
    def destroy_node(self):
        time.sleep(60)

def act(node):
    print('acted', flush=True)
    return False

threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGTERM]).start()
threading.Thread(target=time.sleep, args=[60]).start()
run.run_node(lambda: Hanging('hanging'), last_act=act)
"""


@pytest.mark.law(5)
def test_threads_and_a_node_that_hang_do_not_keep_the_process_from_its_end():
    done = run(HANGS)
    assert (done.returncode, done.stdout) == (0, "acted\n")


def test_a_node_whose_reader_is_gone_ends_without_a_traceback():
    node = subprocess.Popen(
        [sys.executable, "-m", "failure_monitor.ros.listening.alarm_lines"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert node.stdout.readline().startswith('{"kind": "graph"')
    node.stdout.close()
    assert node.wait(timeout=30) == 0
    assert node.stderr.read() == ""
