# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Robot, policy, monitor and gate, wired up, run and observed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import rclpy
from rclpy.node import Node

from failure_monitor.demo.interrupts import uninterrupted
from failure_monitor.demo.monitor_client import MonitorClient
from failure_monitor.demo.node_processes import NodeProcesses, private_domain
from failure_monitor.demo.observer import Observer
from failure_monitor.demo.remote_node import RemoteNode
from failure_monitor.demo.robot_client import RobotClient
from failure_monitor.demo.scripted_human import ScriptedHuman, Takeover
from failure_monitor.demo.timeline import RolloutPlan, Timeline, timeline
from failure_monitor.errors import FailureMonitorError
from failure_monitor.ros.common.start_ros import start_ros

NODES = ("robot", "policy", "failure_monitor", "failure_monitor_gate")
"""What has to run."""

PARAMETERS = Path(__file__).with_name("demo.yaml")
"""Parameters of the nodes, which `ros2 launch` reads, too."""

SETTLING = 4.0
"""Seconds for which two new processes may not have found each other, though both are seen."""

REHEARSAL = 0.6
"""Simulated seconds of the rollout that tries every connection."""

REHEARSALS = 5
"""Rehearsals after which something must be wrong."""

TAIL = 0.3
"""Seconds for which messages of a rollout may come after its end."""

TIMEOUT = 60.0
"""Seconds to start the nodes; and, at real time, to end a rollout."""

Watch = Callable[[RolloutPlan, Observer], None]
"""Called again and again while a rollout runs."""


class Rig:
    """Runs one rollout after the other."""

    def __init__(
        self, node: Node, nodes: NodeProcesses, *, task: str, real_time_factor: float
    ) -> None:
        self._node = node
        self._nodes = nodes
        self._task = task
        self._real_time_factor = real_time_factor
        self._robot = RobotClient(node)
        self._monitor = MonitorClient(node)
        self._observer = Observer(node)

    def connect(self, bundle: Path) -> None:
        """Wait for the nodes, load the bundle, and rehearse until a command reaches the robot."""
        self._wait_for_nodes()
        self._check_policy()
        self._robot.wait_for_robot(TIMEOUT)
        self._monitor.load(bundle)
        for _ in range(REHEARSALS):
            self._begin(RolloutPlan("rehearsal"), time_limit=REHEARSAL)
            self._follow(RolloutPlan("rehearsal"), lambda plan, observer: None)
            if self._observer.observed.passed:
                return
        raise FailureMonitorError(
            "no command came through the gate in "
            f"{REHEARSALS} short rollouts; the monitor's reason: {self._last_reason()}"
        )

    def run(self, plan: RolloutPlan, watch: Watch = lambda plan, observer: None) -> Timeline:
        """Run a rollout to its end, whether or not it is stopped on the way."""
        self._begin(plan, time_limit=0.0)
        self._follow(plan, watch)
        return timeline(plan, self._observer.observed)

    def run_with_human(self, plan: RolloutPlan, watch: Watch) -> Takeover:
        """Run a rollout in which a scripted human takes over and hands back.

        Raises:
            FailureMonitorError: it ended before they did.
        """
        human = ScriptedHuman(
            self._node, self._monitor.reset, real_time_factor=self._real_time_factor
        )

        def watch_both(plan: RolloutPlan, observer: Observer) -> None:
            human.watch(plan, observer)
            watch(plan, observer)

        observed = self.run(plan, watch_both)
        if not human.ended:
            raise FailureMonitorError(
                f"'{plan.title}' ended after {observed.duration:.1f} s, before the human let go: "
                "try another --seed"
            )
        return Takeover(observed, human.began, human.ended)

    def _begin(self, plan: RolloutPlan, *, time_limit: float) -> None:
        self._observer.clear()
        self._monitor.start_rollout()
        parameters = {
            "task": self._task,
            "seed": plan.seed,
            "perturbation": plan.perturbation.kind,
            "strength": plan.perturbation.strength,
            "onset": plan.perturbation.onset,
            "real_time_factor": self._real_time_factor,
            "time_limit": time_limit,
            "claims": plan.claims,
        }
        self._robot.begin(parameters, TIMEOUT)

    def _follow(self, plan: RolloutPlan, watch: Watch) -> None:
        deadline = time.monotonic() + TIMEOUT / min(self._real_time_factor, 1.0)
        while self._robot.outcome is None:
            self._nodes.check()
            if time.monotonic() > deadline:
                raise FailureMonitorError(
                    f"'{plan.title}' has not ended: the simulation is stuck or far too slow; see "
                    "the output of the robot's node"
                )
            rclpy.spin_once(self._node, timeout_sec=0.1)
            watch(plan, self._observer)
        self._monitor.end_rollout(self._robot.outcome)
        self._spin(TAIL)

    def _wait_for_nodes(self) -> None:
        self._nodes.wait_while(self._missing_nodes, TIMEOUT)
        self._spin(SETTLING)

    def _missing_nodes(self) -> list[str]:
        present = self._node.get_node_names()
        return [f"no node {name}" for name in NODES if name not in present]

    def _check_policy(self) -> None:
        task = RemoteNode(self._node, "policy").parameter("task", TIMEOUT)
        if task != self._task:
            raise FailureMonitorError(
                f"the policy that runs is trained for '{task}', the demo is asked for "
                f"'{self._task}': start both with the same task"
            )

    def _spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left)

    def _last_reason(self) -> str:
        readings = self._observer.observed.readings
        return readings[-1].reason if readings else "nothing"


@contextmanager
def open_rig(
    task: str,
    log: Path,
    *,
    spawn: bool = True,
    halt: bool = True,
    real_time_factor: float = 1.0,
    monitor_parameters: Mapping[str, object] | None = None,
) -> Iterator[Rig]:
    """Start the nodes, end them afterwards.

    Args:
        task: the task of robot and policy.
        log: file for the output of the nodes.
        spawn: start the nodes as processes on a private ROS domain; otherwise they run already.
        halt: whether the robot obeys the gate; otherwise it obeys the policy directly.
        real_time_factor: simulated seconds per second.
        monitor_parameters: parameters of a monitor that is started, beside those of the demo.
    """
    domain = private_domain() if spawn else {}
    os.environ.update(domain)
    with (
        log.open("w") as output,
        TemporaryDirectory() as marks,
        NodeProcesses(domain, output) as nodes,
    ):
        if spawn:
            # A demo that is killed is no reason to halt the user's robot.
            parameters = {"halt_mark_folder": marks, **(monitor_parameters or {})}
            with uninterrupted():
                _start_nodes(nodes, task, halt, parameters)
        # Python's own signal handlers: an interrupt must unwind to here and end the nodes.
        start_ros(sys.argv)
        node = rclpy.create_node("demo_director")
        try:
            yield Rig(node, nodes, task=task, real_time_factor=real_time_factor)
        finally:
            node.destroy_node()
            rclpy.try_shutdown()


def _start_nodes(
    nodes: NodeProcesses, task: str, halt: bool, monitor_parameters: Mapping[str, object]
) -> None:
    robot_remappings = {} if halt else {"command": "policy/command"}
    gate_remappings = {"command_in": "policy/command", "command_out": "command"}
    nodes.start("demo.robot_node", {"task": task}, robot_remappings, parameter_file=PARAMETERS)
    nodes.start("demo.policy_node", {"task": task}, parameter_file=PARAMETERS)
    nodes.start("ros.gate.node", {}, gate_remappings, parameter_file=PARAMETERS)
    nodes.start("ros.monitor.node", monitor_parameters, parameter_file=PARAMETERS)
