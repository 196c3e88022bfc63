# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from failure_monitor.demo import jpeg
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.policy import SAMPLES, FlowPolicy
from failure_monitor.demo.record_rollouts import FIRST_SEED
from failure_monitor.demo.rollout import roll_out
from failure_monitor.demo.simulation import Simulation
from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.rollouts import read_rollouts


@pytest.mark.slow
def test_the_policy_solves_undisturbed_rollouts(simulation: Simulation, flow_policy: FlowPolicy):
    outcomes = [roll_out(simulation, flow_policy, seed, UNDISTURBED) for seed in range(100, 112)]
    assert sum(outcome.success for outcome in outcomes) >= 11


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["object_range", "displacement", "camera", "light", "occlusion"])
def test_a_perturbation_of_strength_1_makes_most_rollouts_fail(
    simulation: Simulation, flow_policy: FlowPolicy, kind: str
):
    perturbation = Perturbation(kind, 1.0, onset=0.4)
    outcomes = [roll_out(simulation, flow_policy, seed, perturbation) for seed in range(6)]
    assert sum(outcome.success for outcome in outcomes) <= 3


def test_decisions_have_the_shapes_they_promise_and_differ(
    simulation: Simulation, flow_policy: FlowPolicy
):
    decisions = roll_out(simulation, flow_policy, 3, UNDISTURBED).decisions
    shape = (SAMPLES, flow_policy.horizon, len(flow_policy.action_names))
    assert all(decision.chunks.shape == shape for decision in decisions)
    embeddings = np.array([decision.embedding for decision in decisions])
    assert embeddings.shape == (len(decisions), 64)
    assert 12 <= len(decisions) <= 35
    # The samples of a decision disagree, and the scene shows in most of the embedding.
    assert all(decision.chunks[:, :, :3].std(axis=0).mean() > 0.01 for decision in decisions)
    assert (embeddings.std(axis=0) > 0.01).sum() > 48


def test_rollouts_without_ros_are_written_and_begin_as_those_in_bags(tmp_path: Path):
    task, output = "button-press-topdown-v3", tmp_path / "rollouts.npz"
    [bag] = read_rollouts([BAGS / task / "rollout_0000"]).rollouts
    arguments = ["--task", task, "--rollouts", "1", "--first-seed", str(FIRST_SEED)]
    program = [sys.executable, "-m", "failure_monitor.demo.rollout"]
    done = subprocess.run(
        [*program, *arguments, "--output", output], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{task}, undisturbed: 1 of 1 rollouts succeeded; median ")
    [written] = read_rollouts([output]).rollouts
    assert (written.success, written.group) == (True, "none")
    np.testing.assert_allclose(written.embeddings[0], bag.embeddings[0], atol=1e-3)
    assert abs(len(written) - len(bag)) <= 2
    for odd in (["--rollouts", "0"], ["--first-seed", "-1"], ["--output", "none/rollouts.npz"]):
        done = subprocess.run([*program, *arguments, *odd], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert odd[0] in done.stderr
        assert "Traceback" not in done.stderr


def test_the_same_noise_gives_the_same_chunks(simulation: Simulation, flow_policy: FlowPolicy):
    simulation.reset(0)
    embedding = flow_policy.embed(simulation.render(), simulation.joint_positions)
    first, second = (
        flow_policy.sample(embedding, np.random.default_rng(7), samples=5) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_a_folder_without_models_is_refused_with_the_way_to_make_them(tmp_path: Path):
    with pytest.raises(FailureMonitorError, match=r"encoder\.onnx.*train_policy"):
        FlowPolicy(tmp_path)


def test_an_image_that_is_no_jpeg_is_refused():
    with pytest.raises(FailureMonitorError, match="of 3 bytes is no JPEG"):
        jpeg.decode(b"abc")
