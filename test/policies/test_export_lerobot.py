# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's policies as ONNX models: what they compute, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from testbed import lerobot_policies
from testbed.bags import BEGIN, BagBuilder
from testbed.command_line import run_here
from testbed.lerobot_policies import ACTIONS, CAMERA, LeRobotPolicy
from testbed.seen_bags import MILLISECOND, image

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policies import export_lerobot as exporting
from failure_monitor.policies.checkpoint import CheckpointError, checkpoint_hash
from failure_monitor.policies.export_lerobot import LeRobotExportError, export_lerobot
from failure_monitor.policies.watch_policy import watch_policy
from failure_monitor.policies.watched_decision import WatchedDecision
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.policy_models.torch_to_onnx import ExportError
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import BlackBox

PERIOD = 0.1
NAMED: dict[str, Any] = {"joint_names": ACTIONS, "action_names": ACTIONS}
TASKS = ("take the cube", "put it away, please")
POLICIES = {
    "act": ("act_policy", {}, {}),
    "ddim": ("diffusion_policy", {"noise_scheduler_type": "DDIM"}, {"control_period": PERIOD}),
    "ddpm": ("diffusion_policy", {}, {"control_period": PERIOD}),
    "one moment": ("diffusion_policy", {"n_obs_steps": 1, "crop_shape": (55, 56)}, {}),
    "smolvla": ("smolvla_policy", {"empty_cameras": 1}, {"tasks": TASKS}),
}


def saved(made: LeRobotPolicy, folder: Path) -> Path:
    for part in (made.policy, made.preprocessor, made.postprocessor):
        part.save_pretrained(folder)
    return folder


def made(kind: str, **more: Any) -> LeRobotPolicy:
    function, options, _ = POLICIES[kind]
    policy: LeRobotPolicy = getattr(lerobot_policies, function)(**options, **more)
    return policy


def loaded(folder: Path) -> tuple[ObservationEncoder, PolicySampler]:
    return (
        ObservationEncoder(read_onnx_file(folder / "encoder.onnx")),
        PolicySampler(read_onnx_file(folder / "sampler.onnx")),
    )


@pytest.mark.lerobot
@pytest.mark.parametrize("kind", POLICIES)
def test_the_models_compute_what_lerobots_class_does(kind: str, tmp_path: Path):
    """What the exporter compares, and the embedding that `watch_policy` reads, by hand here."""
    checkpoint = saved(made(kind), tmp_path / "checkpoint")
    written = export_lerobot(checkpoint, tmp_path / "models", **NAMED, **POLICIES[kind][2])
    assert written.difference <= 1e-4 * written.largest
    encoder, sampler = loaded(tmp_path / "models")
    for model in (encoder, sampler):
        assert model.properties["lerobot_checkpoint"] == checkpoint_hash(checkpoint)
    assert sampler.is_deterministic == (kind == "act")
    assert sampler.noise_shape[:-2] == ((4,) if kind in ("ddpm", "one moment") else ())
    policy = made(kind)
    assert sampler.contract.executed_actions == policy.policy.config.n_action_steps

    random = np.random.default_rng(3)
    picture = random.integers(256, size=(64, 64, 3), dtype=np.uint8)
    joints = (10 + random.standard_normal(3)).astype(np.float32)
    observation = {
        "observation.state": torch.from_numpy(joints),
        CAMERA: torch.from_numpy(picture).permute(2, 0, 1) / 255,
        "task": TASKS[1],
    }
    # The policy's first observation, which its queue repeats.
    images = np.stack([picture, picture]) if encoder.history else picture
    positions = np.stack([joints, joints]) if encoder.history else joints
    task = TASKS[1] if kind == "smolvla" else ""
    encoded = encoder.encode({"front": images}, positions, task)
    watched: list[WatchedDecision] = []
    watch = watch_policy(policy.policy, policy.postprocessor, on_decision=watched.append)
    policy.policy.select_action(policy.preprocessor(observation))
    watch.close()
    np.testing.assert_allclose(encoded.embedding, watched[0].embedding, atol=2e-5)

    noise = sampler.noise_stream(seed=1).draw(256)
    chunks = sampler.sample(encoded.embedding, noise, encoded.conditioning)
    if kind == "act":
        np.testing.assert_allclose(chunks[0], watched[0].chunks[0], atol=1e-4)
    else:
        # Other samples of the same distribution, in the robot's units.
        spread, shared = chunks.std(axis=0), min(chunks.shape[1], watched[0].chunks.shape[1])
        apart = np.abs(watched[0].chunks[:, :shared] - chunks.mean(axis=0)[:shared])
        assert (apart <= 6 * spread[:shared] + 1e-3).all()


@pytest.mark.lerobot
def test_a_bag_is_replayed_by_a_diffusion_policy_as_its_queue_saw_it(tmp_path: Path):
    """Two observations a control period apart, the first repeated, of a camera twice as fast."""
    policy = made("ddim")
    saved(policy, tmp_path / "checkpoint")
    export_lerobot(tmp_path / "checkpoint", tmp_path / "models", **NAMED, control_period=PERIOD)
    random = np.random.default_rng(5)
    pictures = random.integers(256, size=(9, 64, 64, 3), dtype=np.uint8)
    joints = (10 + random.standard_normal((9, 3))).astype(np.float32)
    with BagBuilder(tmp_path / "bag") as bag:
        for at in range(9):
            stamp = BEGIN + 50 * at * MILLISECOND
            bag.joint_state("/joint_states", ACTIONS, [float(one) for one in joints[at]], stamp)
            bag.write("/front", image(pictures[at], stamp), stamp)
    black_box = BlackBox(
        encoder=tmp_path / "models" / "encoder.onnx",
        sampler=tmp_path / "models" / "sampler.onnx",
        cameras={"front": "/front"},
        rate=1 / PERIOD,
        samples=2,
        seed=4,
    )
    (rollout,) = read_rollouts([tmp_path / "bag"], black_box=black_box).rollouts
    _, sampler = loaded(tmp_path / "models")
    noise = sampler.noise_stream(seed=4)
    policy.policy.reset()
    for number, at in enumerate(range(0, 9, 2)):
        observation = {
            "observation.state": torch.from_numpy(joints[at]),
            CAMERA: torch.from_numpy(pictures[at]).permute(2, 0, 1) / 255,
        }
        policy.policy._queues["action"].clear()
        drawn = torch.from_numpy(noise.draw(2))
        batch = policy.preprocessor(observation)
        action = policy.policy.select_action(batch, noise=drawn[:1])
        own = policy.postprocessor(action)[0].numpy()
        np.testing.assert_allclose(rollout.chunks[number, 0, 0], own, atol=2e-3)


@pytest.mark.lerobot
def test_models_that_compute_something_else_are_not_written(tmp_path: Path, monkeypatch):
    checkpoint = saved(made("act"), tmp_path / "checkpoint")
    own = exporting._Exporter._to_units
    monkeypatch.setattr(
        exporting._Exporter, "_to_units", lambda self, actions: own(self, actions) + 0.5
    )
    with pytest.raises(ExportError, match=r"differ from LeRobot's by 0.5"):
        export_lerobot(checkpoint, tmp_path / "models", **NAMED)
    assert not (tmp_path / "models").exists()


@pytest.mark.lerobot
@pytest.mark.parametrize(
    ("kind", "options", "fault"),
    [
        ("act", {"joint_names": ("a",)}, r"has 3 joints, and 1 are named: .*--joint-names"),
        ("act", {"action_names": ()}, r"has 3 actions, and none are named: .*--action-names"),
        ("ddim", {}, r"looks at 2 observations.*--control-period"),
        ("smolvla", {}, r"receives its task as text: .*--task"),
        ("act", {"tasks": ("a",)}, r"the act policy receives no task"),
        ("act", {"dataset": Path("/nowhere")}, r"/nowhere is no LeRobotDataset"),
    ],
)
def test_what_a_checkpoint_does_not_hold_must_be_stated(kind, options, fault, tmp_path):
    checkpoint = saved(made(kind), tmp_path / "checkpoint")
    with pytest.raises(LeRobotExportError, match=fault):
        export_lerobot(checkpoint, tmp_path / "models", **{**NAMED, **options})
    assert not (tmp_path / "models").exists()


@pytest.mark.lerobot
def test_a_dataset_names_joints_and_actions_and_states_the_rate(tmp_path: Path):
    checkpoint = saved(made("ddim"), tmp_path / "checkpoint")
    # Older datasets hold names by group.
    names = {"observation.state": {"motors": list(ACTIONS)}, "action": list(ACTIONS)}
    info = {"fps": 20, "features": {name: {"names": held} for name, held in names.items()}}
    (tmp_path / "dataset" / "meta").mkdir(parents=True)
    (tmp_path / "dataset" / "meta" / "info.json").write_text(json.dumps(info))
    result = run_here(
        "export-lerobot", checkpoint, tmp_path / "models", "--dataset", tmp_path / "dataset"
    )
    assert result.exit_code == 0, result.output
    assert "differ from LeRobot's by at most" in result.stdout
    encoder, sampler = loaded(tmp_path / "models")
    assert encoder.joint_names == sampler.action_names == ACTIONS
    assert encoder.history is not None
    assert encoder.history.spacing == 1 / 20


@pytest.mark.lerobot
def test_a_processor_with_an_unknown_step_is_refused(tmp_path: Path):
    from lerobot.processor import ProcessorStepRegistry
    from lerobot.processor.normalize_processor import NormalizerProcessorStep

    @ProcessorStepRegistry.register(name="halving")
    class Halving(NormalizerProcessorStep):
        pass

    policy = made("act")
    steps = [*policy.preprocessor.steps, Halving(features={}, norm_map={})]
    checkpoint = saved(
        replace(policy, preprocessor=replace(policy.preprocessor, steps=steps)),
        tmp_path / "checkpoint",
    )
    with pytest.raises(LeRobotExportError, match=r"processors have the steps Halving"):
        export_lerobot(checkpoint, tmp_path / "models", **NAMED)


@pytest.mark.lerobot
def test_a_checkpoint_without_its_processors_is_refused(tmp_path: Path):
    checkpoint = saved(made("act"), tmp_path / "checkpoint")
    (checkpoint / "policy_postprocessor.json").unlink()
    with pytest.raises(CheckpointError, match=r"no policy_postprocessor.json.*convert it"):
        export_lerobot(checkpoint, tmp_path / "models", **NAMED)


@pytest.mark.lerobot
def test_a_damaged_checkpoint_is_refused(tmp_path: Path):
    checkpoint = saved(made("act"), tmp_path / "checkpoint")
    (checkpoint / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"cannot load the checkpoint"):
        export_lerobot(checkpoint, tmp_path / "models", **NAMED)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (None, r"config.json cannot be read"),
        ("[]", r"does not state the type of the policy"),
        ("{", r"is no JSON"),
        ('{"type": "pi0"}', r"of the type 'pi0', and act, diffusion, smolvla can be exported"),
    ],
)
def test_a_folder_that_is_no_such_checkpoint_is_refused(config, fault, tmp_path: Path):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
        (tmp_path / "model.safetensors").touch()
    with pytest.raises(FailureMonitorError, match=fault):
        export_lerobot(tmp_path, tmp_path / "models", **NAMED)
