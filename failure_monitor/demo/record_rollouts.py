# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Record bags of successful undisturbed rollouts, as the demo is calibrated from.

Run as `python -m failure_monitor.demo.record_rollouts --task TASK --output FOLDER`. Robot, policy
and recorder run as in the live demo, so that calibration and demo are exchangeable.
"""

import argparse
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.node import Node

from failure_monitor.demo.node_processes import NodeProcesses, private_domain
from failure_monitor.demo.policy import MODELS
from failure_monitor.demo.robot_client import RobotClient
from failure_monitor.demo.tasks import TASKS
from failure_monitor.errors import FailureMonitorError

logger = logging.getLogger("failure_monitor.demo.record_rollouts")

TOPICS = (
    "camera/image_raw/compressed",
    "joint_states",
    "policy/embedding",
    "policy/action_chunks",
    "policy/format",
    "policy/command",
    "rollout/active",
    "rollout/success",
)
"""What a bag of the demo holds."""

FIRST_SEED = 10_000
"""Recorded rollouts use the seeds from here on, demonstrations much larger ones."""

TIMEOUT = 60.0
"""Seconds after which a rollout, or a bag, is given up."""


PATIENCE = 2
"""Rollouts tried per bag wanted before the policy is called unfit."""

SETTLING = 1.0
"""Seconds that discovery has to finish."""


@dataclass(frozen=True)
class RecordedBags:
    """How many rollouts were tried for how many bags."""

    bags: int
    attempts: int


def record(
    task: str, count: int, output: Path, models: Path, *, states_checkpoint: bool = True
) -> RecordedBags:
    """Record `count` successful rollouts of a task into bags in `output`."""
    domain = private_domain()
    os.environ.update(domain)
    output.mkdir(parents=True, exist_ok=True)
    with NodeProcesses(domain, sys.stderr) as nodes:
        nodes.start("demo.robot_node", {"task": task}, {"command": "policy/command"})
        policy = {"task": task, "models": models, "states_checkpoint": states_checkpoint}
        nodes.start("demo.policy_node", policy)
        # The policy is done with a rollout a moment after its end: no need for a longer tail.
        nodes.start("ros.recording.record_node", {"topics": TOPICS, "output": output, "tail": 0.1})
        rclpy.init()
        node = rclpy.create_node("record_rollouts")
        try:
            return _record_until(count, node, nodes, output)
        finally:
            node.destroy_node()
            rclpy.try_shutdown()


def _record_until(count: int, node: Node, nodes: NodeProcesses, output: Path) -> RecordedBags:
    robot = RobotClient(node)
    robot.wait_for_robot(TIMEOUT)
    _wait_for_listeners(node, nodes)
    bags = attempts = 0
    while bags < count:
        seed = FIRST_SEED + attempts
        attempts += 1
        before = _bags_in(output)
        success = robot.roll_out({"seed": seed}, TIMEOUT)
        bag = _new_bag(output, before)
        if success:
            bags += 1
        else:
            shutil.rmtree(bag)
        logger.info(
            "seed %d: %s, %d of %d bags", seed, "success" if success else "failure", bags, count
        )
        nodes.check()
        if attempts >= PATIENCE * count and bags < count:
            raise FailureMonitorError(
                f"only {bags} of {attempts} rollouts succeeded: the policy is not good enough to "
                "calibrate from; train it for longer or with more demonstrations"
            )
    return RecordedBags(bags, attempts)


def _wait_for_listeners(node: Node, nodes: NodeProcesses) -> None:
    """Return once the recorder listens to every topic, and robot and policy to one another."""
    expected = {topic: {"record"} for topic in TOPICS}
    for topic in ("camera/image_raw/compressed", "joint_states", "rollout/active"):
        expected[topic].add("policy")
    expected["policy/command"].add("robot")
    nodes.wait_while(lambda: _missing_listeners(node, expected), TIMEOUT)
    # A subscription appears in the graph a little before its publishers have matched it.
    time.sleep(SETTLING)


def _missing_listeners(node: Node, expected: Mapping[str, set[str]]) -> list[str]:
    return [
        f"node '{name}' does not listen to {topic}"
        for topic, names in expected.items()
        for name in names
        - {info.node_name for info in node.get_subscriptions_info_by_topic(topic)}
    ]


def _bags_in(folder: Path) -> set[Path]:
    return {metadata.parent for metadata in folder.glob("*/metadata.yaml")}


def _new_bag(folder: Path, before: set[Path]) -> Path:
    """Wait for the recorder to finish a bag, and return the bag's folder."""
    deadline = time.monotonic() + TIMEOUT
    while not (new := _bags_in(folder) - before):
        if time.monotonic() > deadline:
            raise FailureMonitorError(
                f"the recorder has not finished a bag in {folder} {TIMEOUT:.0f} s after the "
                "rollout: see its output"
            )
        time.sleep(0.02)
    return new.pop()


def main() -> None:
    """Record one task."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task", required=True, choices=sorted(TASKS))
    parser.add_argument("--output", required=True, type=Path, help="folder for the bags")
    parser.add_argument("--models", type=Path, help="default: those that come with the package")
    parser.add_argument("--rollouts", type=int, default=30, help="bags of successful rollouts")
    parser.add_argument(
        "--no-checkpoint",
        action="store_true",
        help="do not state of which checkpoint the policy is, so that rollouts of another task "
        "may stand for failures of the same policy",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    models = arguments.models or MODELS / arguments.task
    try:
        done = record(
            arguments.task,
            arguments.rollouts,
            arguments.output,
            models,
            states_checkpoint=not arguments.no_checkpoint,
        )
    except FailureMonitorError as error:
        parser.exit(error.exit_code, f"{error}\n")
    logger.info("%s: %d bags from %d rollouts", arguments.task, done.bags, done.attempts)


if __name__ == "__main__":
    main()
