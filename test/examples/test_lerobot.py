# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The example with LeRobot's own policies: its parts, and all of it in its short form."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from testbed.repository import ROOT

PAGE = ROOT / "docs" / "lerobot_example.md"

PROGRAM = """
import runpy, sys
import testbed.torchvision_operators
sys.argv = ["python -m examples.lerobot", *sys.argv[1:]]
runpy.run_module("examples.lerobot.__main__", run_name="__main__")
"""
"""The torchvision of the tests lacks what LeRobot does not use."""


def run_example(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def environment():
    from examples.lerobot.environment import PickPlace

    return PickPlace()


needs_simulation = pytest.mark.skipif(find_spec("metaworld") is None, reason="needs Meta-World")


@needs_simulation
def test_the_seed_decides_the_scene_and_the_perturbation(environment):
    scenes = [environment.reset(seed, "camera knocked") for seed in (1, 1, 2)]
    for name in scenes[0]:
        np.testing.assert_array_equal(scenes[0][name], scenes[1][name])
    assert not np.allclose(
        scenes[0]["observation.environment_state"], scenes[2]["observation.environment_state"]
    )


@needs_simulation
def test_a_perturbed_rollout_is_its_undisturbed_twin_until_the_perturbation_begins(environment):
    from examples.lerobot.perturbations import FROM_THE_START, KINDS

    for kind in set(KINDS) - set(FROM_THE_START):
        twins = [observations(environment, each) for each in ("none", kind)]
        onset = environment.perturbation.onset
        before = int(onset / 0.05)
        np.testing.assert_array_equal(twins[0][:before], twins[1][:before], err_msg=kind)
        if kind != "none":
            assert not np.array_equal(twins[0], twins[1]), kind


def observations(environment, kind: str) -> np.ndarray:
    """Return what is seen while the arm closes its fingers on its way up, and opens them again."""
    seen = [np.concatenate([*environment.reset(3, kind).values()])]
    for number in range(60):
        action = np.array([0.1, 0.1, 0.1, 1.0 if number % 40 < 20 else -1.0])
        seen.append(np.concatenate([*environment.step(action).values()]))
    return np.array(seen)


@needs_simulation
def test_the_expert_demonstrates_the_task():
    from examples.lerobot.demonstrations import demonstrate

    first, second = demonstrate(2)
    for demonstration in (first, second):
        assert len(demonstration.observations) == len(demonstration.actions) > 20
        assert np.abs(demonstration.actions).max() <= 1.0
        # The fingers close on the way.
        assert demonstration.actions[0, 3] < 0.5 < demonstration.actions[-1, 3]
    assert not np.array_equal(first.actions[:20], second.actions[:20])


def test_the_page_names_every_kind_of_perturbation():
    from examples.lerobot.perturbations import KINDS

    page = PAGE.read_text()
    assert [kind for kind in KINDS if kind != "none" and f"| {kind} |" not in page] == []


@pytest.mark.lerobot
@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_a_checkpoint_is_one_of_lerobot_and_acts_in_the_units_of_the_robot(kind, tmp_path):
    from lerobot.policies.factory import get_policy_class

    from examples.lerobot.demonstrations import demonstrate
    from examples.lerobot.environment import PickPlace
    from examples.lerobot.plan import Plan
    from examples.lerobot.rollout import RobotPolicy
    from examples.lerobot.training import train

    train(kind, demonstrate(2), steps=5, checkpoint=tmp_path / "checkpoint")
    policy = RobotPolicy(kind, tmp_path / "checkpoint")
    assert type(policy.policy) is get_policy_class(kind)
    policy.start_rollout(Plan(seed=0))
    action = policy.action(PickPlace().reset(0))
    assert action.shape == (4,)
    assert np.isfinite(action).all()


@pytest.mark.lerobot
@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_short_form_trains_calibrates_evaluates_and_stops(tmp_path: Path):
    done = run_example("--quick", "--output", tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    # No option is repeated that the tap has stated.
    assert re.search(r"\$ failure-monitor calibrate \S+ --output \S+ --alpha 0\.25\n", done.stdout)
    assert (tmp_path / "act" / "checkpoint" / "config.json").exists()
    assert (tmp_path / "act" / "evaluation.json").exists()
    gated = re.findall(r"^\| ([a-z ]+) \| (\S+ s|—) \| (\S+ s|—) \| (\d+|—) \|", done.stdout, re.M)
    assert [row[0] for row in gated] == [
        "undisturbed",
        "object moved",
        "camera knocked",
        "slippery object",
    ]
    assert {row[3] for row in gated} <= {"0", "—"}
