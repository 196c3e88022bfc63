# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the rollouts that published_benchmark.py is shipped with.

python benchmarks/published_rollouts.py --output FOLDER: the demo's robot and policy without ROS,
an archive of each task. Undisturbed rollouts that succeed calibrate. To test on, there are further
undisturbed ones, whatever their outcome, and perturbed ones of seven kinds. Of each kind the
strength is raised after a success and lowered after a failure, so that about half of them fail.

Chunks are rounded and fewer samples kept than the policy draws, so that the archives are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.console import Console

from failure_monitor.atomic_file import write_atomically
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Rollout
from failure_monitor.demo.perturbation import MAX_STRENGTH, UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rollout import roll_out
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import FRAME_PERIOD, TASKS
from failure_monitor.sources.archive_writing import arrays_of
from failure_monitor.sources.rollout_set import RolloutSet

KINDS = (
    "object_range",
    "displacement",
    "camera",
    "light",
    "occlusion",
    "dynamics",
    "actuation",
)
FIRST_STRENGTH, STEP = 0.6, 1.35
"""Strength of the first rollout of a kind, and the factor from one to the next."""
ONSET = 0.5
"""Simulated seconds until a perturbation starts."""
SAMPLES = 16
"""Sampled chunks that are kept of each decision, the executed one among them."""
CHUNK_STEPS = 128
"""Actions are rounded to 1 / 128 of the largest."""
TEST_SEEDS = 10_000
"""The seed of the first undisturbed test; of each kind they start that much later."""

progress = Console(stderr=True)


def main(
    output: Annotated[Path, Option(help="the folder to write an archive of each task into")],
    calibration: Annotated[int, Option(min=1, help="undisturbed successes to calibrate on")] = 40,
    undisturbed: Annotated[int, Option(min=1, help="undisturbed rollouts to test on")] = 40,
    perturbed: Annotated[int, Option(min=1, help="rollouts of each kind to test on")] = 10,
    task: Annotated[str, Option(help="only this task", choices=("", *sorted(TASKS)))] = "",
) -> None:
    """Make the rollouts of every task."""
    output.mkdir(parents=True, exist_ok=True)
    for name in [task] if task else sorted(TASKS):
        maker = RolloutMaker(name)
        rollouts = [
            *islice(maker.calibration(), calibration),
            *islice(maker.undisturbed(), undisturbed),
            *(each for kind in KINDS for each in islice(maker.perturbed(kind), perturbed)),
        ]
        write(output / f"{name}.npz", RolloutSet(maker.policy_format, tuple(rollouts)))
        maker.close()


class RolloutMaker:
    """The robot and the policy of a task."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._policy = FlowPolicy(MODELS / task)
        self._robot = Simulation(task)
        self.policy_format = replace(self._policy.format, samples=SAMPLES)

    def close(self) -> None:
        """Close the simulation, of which there can be one at a time."""
        self._robot.close()

    def calibration(self) -> Iterator[Rollout]:
        """Yield undisturbed rollouts that succeed."""
        for seed in count():
            rollout = self._rollout(seed, UNDISTURBED)
            if rollout.success:
                yield replace(rollout, calibration=True, name=f"calibration/{seed}")

    def undisturbed(self) -> Iterator[Rollout]:
        """Yield undisturbed rollouts to test on, with either outcome."""
        for seed in count(TEST_SEEDS):
            yield self._rollout(seed, UNDISTURBED)

    def perturbed(self, kind: str) -> Iterator[Rollout]:
        """Yield rollouts of a kind of perturbation, about half of which fail."""
        strength = FIRST_STRENGTH
        for seed in count((2 + KINDS.index(kind)) * TEST_SEEDS):
            rollout = self._rollout(seed, Perturbation(kind, strength, ONSET))
            yield rollout
            factor = STEP if rollout.success else 1 / STEP
            strength = min(strength * factor, MAX_STRENGTH)

    def _rollout(self, seed: int, perturbation: Perturbation) -> Rollout:
        made = roll_out(self._robot, self._policy, seed, perturbation)
        group = "id" if perturbation == UNDISTURBED else perturbation.kind
        name = f"{group} {perturbation.strength:.2f}/{seed}"
        progress.print(f"{self._task}: {name} {'succeeded' if made.success else 'failed'}")
        chunks = np.array([decision.chunks[:SAMPLES] for decision in made.decisions])
        return Rollout(
            name=name,
            stamps=np.arange(len(chunks)) * self._policy.h_exec * FRAME_PERIOD,
            embeddings=np.array([decision.embedding for decision in made.decisions]),
            chunks=np.round(chunks * CHUNK_STEPS) / CHUNK_STEPS,
            success=made.success,
            group=group,
            task=self._task,
            joints=made.joints,
            calibration=False,
        )


def write(path: Path, rollout_set: RolloutSet) -> None:
    """Write an archive whose numbers are of half or single precision."""
    arrays = arrays_of(rollout_set)
    for name in ("action_chunks", "obs_embedding"):
        arrays[name] = arrays[name].astype(np.float16)
    for name in ("joint_states", "joint_means"):
        arrays[name] = arrays[name].astype(np.float32)
    write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))
    progress.print(f"wrote {path}, {path.stat().st_size} bytes", markup=False)


if __name__ == "__main__":
    run_alone(main)
