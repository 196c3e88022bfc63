# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a LeRobot program in this process, and watches the policy that it loads.

`failure-monitor lerobot` replaces itself by `python -m failure_monitor.lerobot_command OPTIONS
COMMAND...`, OPTIONS in JSON, so that signals, terminal and exit code are the program's own.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.policies.action_names import dataset_action_names, numbered_names
from failure_monitor.policies.checkpoint import folder_of
from failure_monitor.policies.lerobot_hook import LeRobotHook, LoadedPolicy, Watch
from failure_monitor.policies.observation_stamps import ObservationStamps
from failure_monitor.policies.watch_options import WatchOptions
from failure_monitor.policy_description import Execution, PolicyDescription

PYTHON = re.compile(r"python(3(\.\d+)?)?")
PASSED_BY = ("-u", "-B", "-E", "-s")
"""Options of Python that change nothing about what is run."""

POLICY_SERVER = "policy_server"
RATE = re.compile(r"--(?:dataset\.|env\.)?fps(?:=(.*))?")
"""The option of LeRobot's programs that states the control steps per second."""


def main() -> None:
    """Run the program that the arguments name, and watch the policy that it loads."""
    options = WatchOptions.from_json(sys.argv[1])
    command = sys.argv[2:]
    hook: LeRobotHook | None = None
    is_refused = False
    try:
        program = find_program(command)
        hook = _install(options, command)
        program()
    except FailureMonitorError as error:
        is_refused = True
        report(str(error))
        sys.exit(error.exit_code)
    finally:
        if hook is not None:
            if not hook.watched and not is_refused:
                report("nothing was watched: the command has loaded no policy that could be")
            hook.close()


def report(sentence: str) -> None:
    """Print a line on standard error; nobody may be left to read it."""
    with suppress(OSError, ValueError):
        print(f"failure-monitor: {sentence}", file=sys.stderr, flush=True)  # noqa: T201


def find_program(command: Sequence[str]) -> Callable[[], Any]:
    """Return what runs a command in this process; `sys.argv` and `sys.path` are its own then.

    Raises:
        UsageError: it is none of this Python's programs.
    """
    name, arguments = command[0], list(command[1:])
    # Python has put the working directory there, for this module.
    del sys.path[0]
    if PYTHON.fullmatch(Path(name).name):
        _check_python(name)
        return _python_program(arguments)
    if Path(name).suffix == ".py":
        return _script(name, arguments)
    for point in entry_points(group="console_scripts", name=Path(name).name):
        sys.argv = [shutil.which(name) or name, *arguments]
        return lambda: sys.exit(point.load()())
    raise UsageError(
        f"'{name}' is no program of the Python that failure-monitor runs in "
        f"({sys.executable}): install failure-monitor in the environment of LeRobot, or name a "
        "script (.py) or `python -m MODULE`"
    )


def _check_python(name: str) -> None:
    found = shutil.which(name)
    if found is None or Path(found).parent.resolve() != Path(sys.executable).parent.resolve():
        raise UsageError(
            f"{name} is {found or 'not found'}, failure-monitor runs in {sys.executable}: install "
            "failure-monitor in the environment of LeRobot, and activate that"
        )


def _python_program(arguments: list[str]) -> Callable[[], Any]:
    while arguments and arguments[0] in PASSED_BY:
        del arguments[0]
    if arguments[:1] == ["-m"] and len(arguments) > 1:
        module = arguments[1]
        sys.argv = [module, *arguments[2:]]
        sys.path.insert(0, os.getcwd())
        return lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)
    if arguments and not arguments[0].startswith("-"):
        return _script(arguments[0], arguments[1:])
    raise UsageError(
        f"python is given {' '.join(arguments[:1]) or 'nothing'}: name a script, or -m and a "
        "module"
    )


def _script(path: str, arguments: list[str]) -> Callable[[], Any]:
    if not Path(path).is_file():
        raise UsageError(f"the script {path} is not there: name one that is")
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).resolve().parent))
    return lambda: runpy.run_path(path, run_name="__main__")


def _install(options: WatchOptions, command: Sequence[str]) -> LeRobotHook:
    if options.bundle:
        start = _guard(options)
    elif find_spec("rclpy") is not None:
        start = _tap(options)
    else:
        raise UsageError(
            "ROS 2 is not found (there is no Python package 'rclpy'): source its setup file, such "
            "as /opt/ros/jazzy/setup.bash, or install its wheels (docs/installation.md); or name "
            "the --bundle that guards the policy in its own process, without ROS"
        )

    def start_watch(loaded: LoadedPolicy) -> Watch:
        return start(loaded, _found(loaded, options, command))

    hook = LeRobotHook(start_watch, lets_unwatched_act=options.unwatched, report=report)
    hook.install()
    return hook


@dataclass(frozen=True)
class _Found:
    action_names: tuple[str, ...]
    control_period: float | None
    checkpoint: Path | None
    execution: Execution


def _found(loaded: LoadedPolicy, options: WatchOptions, command: Sequence[str]) -> _Found:
    """Return what was given about a policy, and what the program knows of the rest."""
    names = options.action_names or loaded.action_names
    if options.dataset:
        names = dataset_action_names(Path(options.dataset))
    if not names and not options.bundle:
        names = numbered_names(loaded.policy)
        report(
            f"the names of the {len(names)} actions are not known, so they are numbered: give "
            "--action-names, or the --dataset that the policy was trained on"
        )
    period = options.control_period or loaded.control_period or _period_in(command)
    serves = any(POLICY_SERVER in part for part in command[:3])
    checkpoint = folder_of(loaded.checkpoint)
    return _Found(names, period, checkpoint, "server" if serves else "")


def _period_in(command: Sequence[str]) -> float | None:
    """Return the control period that a command's arguments state; None if they do not."""
    for index, argument in enumerate(command):
        if match := RATE.fullmatch(argument):
            text = match[1] if match[1] is not None else "".join(command[index + 1 : index + 2])
            with suppress(ValueError):
                return 1 / float(text) if float(text) > 0 else None
    return None


def _tap(options: WatchOptions) -> Callable[[LoadedPolicy, _Found], Watch]:
    # Imported here: without ROS there is none.
    from rclpy.time import Time

    from failure_monitor.ros.common.node_in_thread import NodeInThread
    from failure_monitor.ros.lerobot_tap import NODE_NAME, LeRobotTap

    own = NodeInThread(NODE_NAME, options.namespace)

    def start(loaded: LoadedPolicy, found: _Found) -> Watch:
        tap = LeRobotTap(
            own.node,
            loaded.policy,
            loaded.postprocessor,
            found.action_names,
            samples=options.samples,
            every=options.every,
            control_period=found.control_period,
            checkpoint=found.checkpoint,
            action_kind=options.action_kind or None,  # type: ignore[arg-type]
            execution=found.execution,
            rollout_topic=options.rollout_topic,
        )
        if found.execution == "server":
            # They are of the robot's machine. The policy keeps this as long as it lives.
            ObservationStamps(loaded.policy, lambda stamp: tap.observed(Time(nanoseconds=stamp)))
        report(f"watching {_text(tap.description, found)}; publishing {', '.join(tap.topics)}")
        return tap

    return start


def _guard(options: WatchOptions) -> Callable[[LoadedPolicy, _Found], Watch]:
    from failure_monitor.bundle.folder import load
    from failure_monitor.policies.guard import guard_policy

    # A folder that is no bundle fails here, before a policy is loaded.
    bundle = load(Path(options.bundle))
    if options.samples not in (None, bundle.policy.samples):
        raise UsageError(
            f"the bundle was calibrated with {bundle.policy.samples} chunks per decision: leave "
            "--samples out"
        )

    def start(loaded: LoadedPolicy, found: _Found) -> Watch:
        guard = guard_policy(
            loaded.policy,
            loaded.postprocessor,
            bundle,
            action_names=found.action_names,
            on_alarm=options.on_alarm,  # type: ignore[arg-type]
            task=options.task,
            every=options.every,
            control_period=found.control_period,
            checkpoint=found.checkpoint,
            execution=found.execution,
        )
        report(
            f"guarding {_text(guard.description, found)} by the bundle {options.bundle}; this is "
            "not the gate"
        )
        return guard

    return start


def _text(description: PolicyDescription, found: _Found) -> str:
    hashed = f" {description.checkpoint[:12]}" if description.checkpoint else " without a hash"
    period = description.control_period
    return (
        f"{description.policy or 'a policy'}{hashed} ({', '.join(description.action_names)}; "
        f"control period {f'{period:.4g} s' if period else 'unknown'})"
    )


if __name__ == "__main__":
    main()
