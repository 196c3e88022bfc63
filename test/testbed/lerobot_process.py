# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Programs of LeRobot as processes of their own, and checkpoints for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from testbed.repository import ROOT


def save_checkpoint(tiny: Any, folder: Path) -> Path:
    """Save a policy with its processors, as LeRobot does."""
    for part in (tiny.policy, tiny.preprocessor, tiny.postprocessor):
        part.save_pretrained(folder)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return that of a program: offline, and with the operators that torchvision looks for.

    Args:
        folder: where files for it may be written.
    """
    (folder / "sitecustomize.py").write_text("import testbed.torchvision_operators\n")
    paths = (folder, ROOT / "test", ROOT)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "HF_HUB_OFFLINE": "1",
        "HF_LEROBOT_HOME": str(folder / "lerobot"),
        "OMP_NUM_THREADS": "1",
    }


def watched(*arguments: object) -> list[str]:
    """Return the command line of `failure-monitor lerobot`."""
    return [sys.executable, "-m", "failure_monitor.cli", "lerobot", *map(str, arguments)]


def record(checkpoint: Path, folder: Path, *, seconds: float = 1.0) -> list[str]:
    """Return the command line of a short `lerobot-record` of a policy.

    Args:
        checkpoint: of the policy.
        folder: gets the dataset, and the robot's actions in `actions.jsonl`.
        seconds: of one episode.
    """
    return [
        *(
            sys.executable,
            "-m",
            "testbed.lerobot_record",
            "--robot.type=paper",
            "--robot.id=paper",
        ),
        f"--robot.path={folder / 'actions.jsonl'}",
        f"--policy.path={checkpoint}",
        "--dataset.repo_id=test/eval_paper",
        f"--dataset.root={folder / 'dataset'}",
        *("--dataset.num_episodes=1", "--dataset.fps=15"),
        f"--dataset.episode_time_s={seconds}",
        *("--dataset.single_task=take", "--dataset.push_to_hub=false", "--play_sounds=false"),
    ]


def run(command: list[str], folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        command,
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        **options,
    )
