# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle for a tiny LeRobot policy, calibrated on its own decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import ActionKind, PolicyFormat, Rollout
from failure_monitor.policies.watch_policy import watch_policy
from failure_monitor.policies.watched_decision import WatchedDecision
from testbed.lerobot_policies import ACTIONS

ROLLOUTS, STEPS = 12, 20


def bundle_of(tiny: Any, *, action_kind: ActionKind = "position", states: bool = True) -> Bundle:
    """Return a bundle of a policy that is run on usual observations.

    Args:
        tiny: the policy with its processors.
        action_kind: the meaning of its actions.
        states: whether the bundle states which policy it is of.
    """
    decisions: list[WatchedDecision] = []
    watch = watch_policy(
        tiny.policy, tiny.postprocessor, action_names=ACTIONS, on_decision=decisions.append
    )
    rollouts = []
    for seed in range(ROLLOUTS):
        tiny.policy.reset()
        decisions.clear()
        for step in range(STEPS):
            tiny.act(STEPS * seed + step)
        rollouts.append(_rollout(seed, decisions))
    watch.close()
    tiny.policy.reset()
    samples, horizon, _ = rollouts[0].chunks.shape[1:]
    policy = PolicyFormat(
        embedding_size=rollouts[0].embeddings.shape[1],
        samples=samples,
        horizon=horizon,
        action_names=ACTIONS,
        action_kind=action_kind,
    )
    settings = CalibrationSettings(
        scores=("mahalanobis",), rule="any", window=1, folds=3, jobs=1, alpha=0.2
    )
    bundle = calibrate(rollouts, policy, settings)
    if not states:
        return bundle
    stated = replace(watch.description, action_kind=action_kind)
    description = replace(bundle.description, stated_policy=stated)
    return replace(bundle, description=description)


def _rollout(seed: int, decisions: list[WatchedDecision]) -> Rollout:
    return Rollout(
        name=f"rollout {seed}",
        stamps=0.1 * np.arange(len(decisions)),
        embeddings=np.stack([decision.embedding for decision in decisions]),
        chunks=np.stack([decision.chunks for decision in decisions]),
        success=True,
        sha256=f"{seed:064x}",
    )
