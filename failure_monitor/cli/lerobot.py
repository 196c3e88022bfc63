# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor lerobot`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.decision import ACTION_KINDS
from failure_monitor.errors import UsageError
from failure_monitor.policies.watch_options import WatchOptions

RUNNER = "failure_monitor.lerobot_command"
GUARD = "without ROS"


def lerobot(
    command: Annotated[
        list[str],
        Argument(
            metavar="-- COMMAND...",
            help="a program that runs a LeRobot policy, with its own options: lerobot-rollout, "
            "lerobot-record, lerobot-eval, python -m lerobot.async_inference.policy_server, or a "
            "script",
        ),
    ],
    samples: Annotated[
        int | None,
        Option(min=1, help="number of action chunks per decision; default: the policy's own"),
    ] = None,
    every: Annotated[
        int | None,
        Option(
            min=1,
            help="take decisions for watching every so many control steps, between those of the "
            "policy",
        ),
    ] = None,
    action_names: Annotated[
        str,
        Option(
            metavar="NAME,NAME,...",
            help="names of the policy's actions, in order; default: those of the dataset that the "
            "program records, or numbers",
        ),
    ] = "",
    dataset: Annotated[
        Path | None, Option(help="folder of a LeRobotDataset that names the actions")
    ] = None,
    control_period: Annotated[
        float | None,
        Option(above=0, help="seconds from one executed action to the next; default: by --fps"),
    ] = None,
    action_kind: Annotated[
        str, Option(choices=("", *ACTION_KINDS), help="the meaning of an action")
    ] = "",
    rollout_topic: Annotated[
        bool, Option(help="publish rollout/active: a reset of the policy starts a rollout")
    ] = False,
    namespace: Annotated[str, Option(help="namespace of the ROS node")] = "",
    unwatched: Annotated[
        bool, Option(help="let a policy act although it cannot be watched")
    ] = False,
    bundle: Annotated[
        Path | None,
        Option(
            panel=GUARD,
            help="guard the policy in its own process by this bundle; this is not the gate",
        ),
    ] = None,
    task: Annotated[str, Option(panel=GUARD, help="task that is run, for the bundle")] = "",
    on_alarm: Annotated[
        str,
        Option(
            panel=GUARD,
            choices=("hold", "raise"),
            help="what the policy does in an alarm: hold the robot, or end the program",
        ),
    ] = "hold",
) -> None:
    """Run a LeRobot program and watch the policy that it loads, with no line of it changed."""
    names = tuple(name.strip() for name in action_names.split(",")) if action_names else ()
    if names and dataset is not None:
        raise UsageError("--action-names and --dataset both name the actions: give one of them")
    options = WatchOptions(
        samples=samples,
        every=every,
        action_names=names,
        dataset=str(dataset or ""),
        control_period=control_period,
        action_kind=action_kind,
        rollout_topic=rollout_topic,
        namespace=namespace,
        bundle=str(bundle or ""),
        task=task,
        on_alarm=on_alarm,
        unwatched=unwatched,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    for stream in range(3):
        # One that was closed is open on nothing by now, and stays so.
        os.set_inheritable(stream, True)
    # The same process: signals, terminal and exit code are those of the program.
    os.execv(sys.executable, [sys.executable, "-m", RUNNER, options.to_json(), *command])
