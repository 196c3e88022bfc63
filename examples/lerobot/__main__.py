# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Train LeRobot's policies, record, calibrate, perturb and stop them; README.md tells more.

python -m examples.lerobot
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import torch

from examples.lerobot.demonstrations import demonstrate
from examples.lerobot.figures import group_table, live_table, summary_table
from examples.lerobot.live import run_gated
from examples.lerobot.plan import (
    FULL,
    QUICK,
    Plan,
    Size,
    calibration_plans,
    live_plans,
    test_plans,
)
from examples.lerobot.recording import record
from examples.lerobot.rollout import Outcome, RobotPolicy
from examples.lerobot.training import CONFIGURATIONS, train
from failure_monitor import evaluate
from failure_monitor.atomic_file import write_json
from failure_monitor.cli.app import progress, run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.errors import FailureMonitorError, one_of
from failure_monitor.evaluation.evaluate import Evaluation


def main(
    output: Annotated[
        Path,
        Option(help="folder for checkpoints, bags, bundles and figures; what is there is kept"),
    ] = Path("lerobot_output"),
    policies: Annotated[str, Option(help="comma-separated")] = ",".join(CONFIGURATIONS),
    quick: Annotated[
        bool, Option(help="a short training of ACT and few rollouts: no figures to rely on")
    ] = False,
    seed: Annotated[int, Option(min=0, max=1000, help="of the training and of all rollouts")] = 0,
    live: Annotated[bool, Option(help="show rollouts behind monitor and gate, too")] = True,
) -> None:
    """Train LeRobot's policies, record, calibrate, perturb and stop them."""
    torch.set_num_threads(1)
    began = time.monotonic()
    size = QUICK if quick else FULL
    names = [one_of(name, tuple(CONFIGURATIONS), "policy") for name in policies.split(",")]
    evaluations = {}
    for name in names[:1] if quick else names:
        folder = output / name
        evaluations[name] = _run(name, folder, size, seed, live)
    print(f"\n{summary_table(evaluations)}")
    _progress(f"done in {time.monotonic() - began:.0f} s")


def _run(name: str, folder: Path, size: Size, seed: int, live: bool) -> Evaluation:
    """Do all of it for one policy."""
    checkpoint, bundle = folder / "checkpoint", folder / "bundle"
    if not (checkpoint / "model.safetensors").exists():
        _progress(f"{name}: {size.demonstrations} demonstrations")
        demonstrations = demonstrate(size.demonstrations)
        train(name, demonstrations, size.steps[name], checkpoint, seed, _progress)
    policy = RobotPolicy(name, checkpoint)
    calibration = _record(
        policy, calibration_plans(seed), folder / "calibration", wanted=size.calibration
    )
    _report(name, "to calibrate on", calibration)
    # No option repeats what the tap has stated.
    _command("calibrate", folder / "calibration", "--output", bundle, "--alpha", size.alpha)
    tests = _record(policy, test_plans(seed, size), folder / "test")
    _report(name, "undisturbed", [each for each in tests if not each.plan.is_perturbed])
    _command("evaluate", bundle, folder / "test", "--json", folder / "evaluation.json")
    if live:
        print(f"\n{name}, behind the gate, in real time")
        gated = run_gated(policy, bundle, live_plans(seed), folder / "nodes.log")
        print(live_table(gated))
    evaluation = evaluate(bundle, folder / "test")
    print(f"\n{name}\n\n{group_table(evaluation, [each.plan for each in tests])}")
    return evaluation


def _record(
    policy: RobotPolicy, plans: Iterable[Plan], bags: Path, wanted: int | None = None
) -> list[Outcome]:
    """Record rollouts, until as many succeeded as are wanted; return how they ended."""
    done = bags.with_suffix(".json")
    if done.exists():
        return [Outcome.from_json(each) for each in json.loads(done.read_text())["rollouts"]]
    shutil.rmtree(bags, ignore_errors=True)
    outcomes: list[Outcome] = []
    with closing(record(policy, plans, bags, bags.with_suffix(".log"))) as rollouts:
        for outcome in rollouts:
            outcomes.append(outcome)
            _log(policy.kind, bags.name, outcomes)
            if wanted is not None and _successes(outcomes) >= wanted:
                break
            if wanted is not None and len(outcomes) >= max(10, 3 * wanted):
                raise FailureMonitorError(
                    f"only {_successes(outcomes)} of {len(outcomes)} undisturbed rollouts "
                    "succeeded: the policy was not trained well enough to calibrate on"
                )
    write_json(done, {"rollouts": [each.to_json() for each in outcomes]})
    return outcomes


def _successes(outcomes: Iterable[Outcome]) -> int:
    return sum(outcome.success for outcome in outcomes)


def _log(policy: str, what: str, outcomes: list[Outcome]) -> None:
    if len(outcomes) % 20 == 0:
        done = f"{len(outcomes)} rollouts ({what}), {_successes(outcomes)} successes"
        _progress(f"{policy}: {done}")


def _progress(text: str) -> None:
    progress.print(text, markup=False, highlight=False, soft_wrap=True)


def _report(policy: str, what: str, outcomes: list[Outcome]) -> None:
    print(f"{policy}: {_successes(outcomes)} of {len(outcomes)} rollouts {what} succeeded")


def _command(*arguments: object) -> None:
    """Run a command of failure-monitor, as a user would."""
    words = [str(each) for each in arguments]
    print(f"\n$ {shlex.join(['failure-monitor', *words])}", flush=True)
    done = subprocess.run([sys.executable, "-m", "failure_monitor.cli", *words], check=False)
    if done.returncode != 0:
        raise FailureMonitorError(f"failure-monitor {words[0]} failed: see above")


if __name__ == "__main__":
    run_alone(main, prog="python -m examples.lerobot")
