# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""CPU time of a decision of LeRobot's policies: unwatched, watched, and sampled the naive way.

The naive way gives the policy its observation once for every sample. The policies are of LeRobot's
real classes, larger than in the tests and smaller than real ones; their weights are random, which
costs the same. Run it where LeRobot is, on one core:

    OMP_NUM_THREADS=1 PYTHONPATH=.:test python benchmarks/lerobot_cost.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from testbed.lerobot_policies import (
    LeRobotPolicy,
    act_policy,
    diffusion_policy,
    has_pi_policies,
    pi0_policy,
    pi05_policy,
    smolvla_policy,
)

from failure_monitor.policies.watch_policy import watch_policy

IMAGE = {"image": (3, 240, 320)}
WIDE = {**IMAGE, "dim_model": 256, "n_heads": 8, "dim_feedforward": 1024, "n_encoder_layers": 4}
UNET = {**IMAGE, "down_dims": (64, 128, 256), "n_groups": 8, "spatial_softmax_num_keypoints": 32}
FLOW = {"chunk_size": 50, "num_steps": 10}
# The proportions of pi0: eight times narrower, and 4 layers instead of 18.
GEMMA = {
    "gemma_2b": {"width": 256, "depth": 4, "mlp_dim": 2048, "head_dim": 32},
    "gemma_300m": {"width": 128, "depth": 4, "mlp_dim": 512, "head_dim": 32},
}
PI = {
    "chunk_size": 50,
    "image_resolution": (224, 224),
    "num_inference_steps": 10,
    "tokenizer_max_length": 200,
    "gemma": GEMMA,
}

POLICIES: dict[str, tuple[Callable[..., LeRobotPolicy], dict[str, Any], tuple[int, ...]]] = {
    "ACT": (act_policy, {"chunk_size": 100, **WIDE}, (1,)),
    "Diffusion, DDIM of 10 steps": (
        diffusion_policy,
        {"noise_scheduler_type": "DDIM", "num_inference_steps": 10, **UNET},
        (1, 8, 16, 64),
    ),
    "SmolVLA": (smolvla_policy, FLOW, (1, 8, 16)),
    "Diffusion, DDPM of 100 steps": (
        diffusion_policy,
        {"num_train_timesteps": 100, "num_inference_steps": 100, **UNET},
        (16,),
    ),
    "pi0": (pi0_policy, PI, (1, 8)),
    "pi0.5": (pi05_policy, PI, (1, 8)),
}


def cpu_times(decide: Callable[[], Any], count: int) -> list[float]:
    """Return the CPU seconds of some decisions, after two that warm up."""
    times = []
    for _ in range(count + 2):
        start = time.process_time()
        decide()
        times.append(time.process_time() - start)
    return times[2:]


def decision(run: LeRobotPolicy, rows: int = 1) -> Callable[[], Any]:
    """Return a function that takes one decision from as many equal observations."""
    batch = {
        name: value.expand(rows, *value.shape[1:]) if isinstance(value, torch.Tensor) else value
        for name, value in run.batch().items()
    }

    def decide() -> Any:
        run.policy.reset()
        return run.policy.select_action(dict(batch))

    return decide


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=20)
    count = parser.parse_args().decisions
    torch.set_num_threads(1)
    print("| policy | samples | unwatched, ms | watched | naive |")
    print("|---|---|---|---|---|")
    for name, (make, options, sizes) in POLICIES.items():
        if name.startswith("pi0") and not has_pi_policies():
            continue
        run = make(**options)
        for samples in sizes:
            _print_row(name, run, samples, count)


def _print_row(name: str, run: LeRobotPolicy, samples: int, count: int) -> None:
    unwatched = statistics.median(cpu_times(decision(run), count))
    watch = watch_policy(
        run.policy, run.postprocessor, samples=samples, on_decision=lambda decided: None
    )
    watched = statistics.median(cpu_times(decision(run), count))
    watch.close()
    naive = statistics.median(cpu_times(decision(run, samples), count))
    print(
        f"| {name} | {samples} | {1000 * unwatched:.1f} | x{watched / unwatched:.2f} "
        f"| x{naive / unwatched:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
