# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Train the demo's policy for a task: demonstrations, flow matching, export to ONNX.

Run as `python -m failure_monitor.demo.train_policy --task TASK --output FOLDER`.
"""

import argparse
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from failure_monitor.atomic_file import write_atomically
from failure_monitor.demo.demonstrations import Demonstrations, collect
from failure_monitor.demo.flow_network import (
    EMBEDDING_SIZE,
    ChunkSampler,
    DemoEncoder,
    FlowPolicyNetwork,
    VelocityField,
)
from failure_monitor.demo.policy import CAMERA
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, FRAME_PERIOD, POSITION_NAMES, TASKS
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.joint_vector import JOINTS
from failure_monitor.policy_models.contract import EMBEDDING
from failure_monitor.policy_models.export import export_encoder, export_sampler

logger = logging.getLogger("failure_monitor.demo.train_policy")

_KEPT_STEPS = 250
"""Steps after which the state of a training is kept."""


@dataclass(frozen=True)
class TrainingPlan:
    """What a training takes."""

    demonstrations: int = 200
    """Successful demonstrations of the expert."""
    horizon: int = 8
    """H, actions per chunk, one per camera frame."""
    h_exec: int = 2
    """Actions executed before the next decision."""
    steps: int = 5000
    """Optimiser steps."""
    batch: int = 96
    """Frames per step."""
    draws: int = 8
    """Noises and flow times per frame."""
    learning_rate: float = 1e-3
    """Peak of a cosine schedule."""
    seed: int = 0
    """Seed of torch; demonstrations have their own."""


def train(
    data: Demonstrations, plan: TrainingPlan, *, checkpoint: Path | None = None
) -> FlowPolicyNetwork:
    """Fit a policy; its weights are an exponential moving average over the steps.

    Args:
        data: what it learns from.
        plan: how.
        checkpoint: a file that keeps the state every 250 steps; an interrupted training of the
            same data and plan goes on from there.
    """
    torch.manual_seed(plan.seed)
    network = _new_network(data)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=False)
    optimiser = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.learning_rate, total_steps=plan.steps, pct_start=0.05
    )
    frames = [torch.from_numpy(array) for array in (data.images, data.joints, data.chunks)]
    began, running = time.monotonic(), 0.0
    parts = {
        "network": network,
        "average": average,
        "optimiser": optimiser,
        "schedule": schedule,
    }
    first = 1 + (_resume(checkpoint, parts) if checkpoint and checkpoint.is_file() else 0)
    for step in range(first, plan.steps + 1):
        loss = network.loss(*_draw(frames, plan.batch), draws=plan.draws)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        running += loss.item()
        if step % 500 == 0:
            logger.info(
                "step %d of %d: loss %.4f, %.0f s",
                *(step, plan.steps, running / 500, time.monotonic() - began),
            )
            running = 0.0
        if checkpoint is not None and step % _KEPT_STEPS == 0:
            _keep(checkpoint, parts, step)
    return average.module.eval()


def _keep(checkpoint: Path, parts: Mapping[str, Any], step: int) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "random": torch.get_rng_state()}
    write_atomically(checkpoint, lambda stream: torch.save(state, stream))


def _resume(checkpoint: Path, parts: Mapping[str, Any]) -> int:
    """Take up a kept state, and return after how many steps it was kept."""
    state = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["random"])
    step: int = state["step"]
    return step


def export(
    network: FlowPolicyNetwork,
    data: Demonstrations,
    *,
    joint_names: Sequence[str],
    executed_actions: int,
    metadata: Mapping[str, object],
    folder: Path,
) -> None:
    """Write `encoder.onnx` and `sampler.onnx` into the folder."""
    about = {key: json.dumps(value) for key, value in metadata.items()}
    some = slice(None, None, max(1, len(data.images) // 7))
    image, joints = torch.from_numpy(data.images[some]), torch.from_numpy(data.joints[some])
    off = export_encoder(
        network.encoder,
        folder / "encoder.onnx",
        cameras={CAMERA: (image.shape[1], image.shape[2])},
        joint_names=joint_names,
        examples={CAMERA: image, JOINTS: joints},
        metadata=about,
    )
    logger.info("encoder.onnx: differs from torch by %.1e of the largest value", off)
    with torch.no_grad():
        embedding = network.encoder(image, joints)
    off = export_sampler(
        network.sampler,
        folder / "sampler.onnx",
        embedding_size=EMBEDDING_SIZE,
        noise_shape=data.chunks.shape[1:],
        action_names=ACTION_NAMES,
        action_kind="delta",
        position_names=POSITION_NAMES,
        executed_actions=executed_actions,
        examples={EMBEDDING: embedding},
        metadata=about,
    )
    logger.info("sampler.onnx: differs from torch by %.1e of the largest value", off)


def _new_network(data: Demonstrations) -> FlowPolicyNetwork:
    # Joints and actions that hardly move in the demonstrations would otherwise fill the network
    # with magnified noise: fingers at their stop, a gripper that stays open.
    joint_mean, joint_std = _moments(data.joints, smallest=0.01)
    action_mean, action_std = _moments(data.chunks.reshape(-1, len(ACTION_NAMES)), smallest=0.1)
    return FlowPolicyNetwork(
        DemoEncoder(data.images.shape[1], joint_mean, joint_std),
        ChunkSampler(VelocityField(*data.chunks.shape[1:]), action_mean, action_std),
    )


def _moments(values: np.ndarray, smallest: float) -> tuple[Tensor, Tensor]:
    mean = values.mean(axis=0, dtype=np.float64)
    std = np.maximum(values.std(axis=0, dtype=np.float64), smallest)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


def _draw(frames: list[Tensor], count: int) -> tuple[Tensor, Tensor, Tensor]:
    chosen = torch.randint(len(frames[0]), (count,))
    image, joints, chunks = (values[chosen] for values in frames)
    return image, joints, chunks


def _metadata(simulation: Simulation, data: Demonstrations) -> dict[str, object]:
    task = simulation.task
    return {
        "task": task.name,
        "frame_period": FRAME_PERIOD,
        "camera_lookat": task.camera_lookat,
        "camera_distance": task.camera_distance,
        "camera_azimuth": task.camera_azimuth,
        "camera_elevation": task.camera_elevation,
        "demonstrations": len(data.seconds),
        "longest_demonstration": float(data.seconds.max()),
    }


def train_task(task: str, output: Path, plan: TrainingPlan) -> None:
    """Demonstrate, train and export one task."""
    simulation = Simulation(task)
    data = collect(simulation, plan.demonstrations, plan.horizon)
    logger.info(
        "%s: %d of %d demonstrations succeeded, %d frames, %.2f to %.2f s, median %.2f s",
        *(task, len(data.seconds), data.attempts, len(data.images)),
        *(data.seconds.min(), data.seconds.max(), np.median(data.seconds)),
    )
    network = train(data, plan)
    export(
        network,
        data,
        joint_names=simulation.joint_names,
        executed_actions=plan.h_exec,
        metadata=_metadata(simulation, data),
        folder=output,
    )
    simulation.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True, choices=sorted(TASKS))
    parser.add_argument("--output", required=True, type=Path, help="folder for the two models")
    parser.add_argument("--demonstrations", type=int, default=TrainingPlan.demonstrations)
    parser.add_argument("--steps", type=int, default=TrainingPlan.steps)
    parser.add_argument("--seed", type=int, default=TrainingPlan.seed)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("failure_monitor").setLevel(logging.INFO)
    torch.set_num_threads(arguments.threads)
    plan = TrainingPlan(
        demonstrations=arguments.demonstrations, steps=arguments.steps, seed=arguments.seed
    )
    try:
        train_task(arguments.task, arguments.output, plan)
    except FailureMonitorError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
