# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting a score by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module

import numpy as np

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.missing_package import require_package
from failure_monitor.policy_models.onnx_network import OnnxNetwork
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.base.score import Score
from failure_monitor.scores.base.standardisation import Standardisation
from failure_monitor.scores.registry import score_named


def fit_score(name: str, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int) -> Score:
    """Fit the score of that name on successful rollouts.

    Raises:
        ScoreUndefinedError: the score means nothing for this policy or these rollouts.
        UsageError: there is no such score.
    """
    score = score_named(name)
    if issubclass(score, NetworkScore):
        return _train(score, rollouts, seed)
    return score.fit(rollouts, policy, seed)


def require_training(names: Iterable[str]) -> None:
    """Reject scores that are trained where what trains them is not installed.

    Args:
        names: the names of scores, all known.

    Raises:
        MissingPackageError: torch or onnx is not installed.
    """
    for name in names:
        if issubclass(score_named(name), NetworkScore):
            for package in ("torch", "onnx"):
                require_package(
                    package,
                    purpose=f"the score {name}, which is trained",
                    instead="leave it out: the default rule needs nothing that is trained",
                )


def _train(score: type[NetworkScore], rollouts: Sequence[Rollout], seed: int) -> NetworkScore:
    """Train a network on standardised inputs, and export it together with the standardisation."""
    inputs = np.concatenate([score.inputs(rollout) for rollout in rollouts])
    standardisation = Standardisation.fit(inputs, f"{score.name}: the {score.inputs_name}")
    # Imported here, so that nothing waits for torch that does not need it.
    import torch

    from failure_monitor.calibration.fitting.standardise import Standardise
    from failure_monitor.policy_models.torch_to_onnx import export_network

    # The networks are small: a second thread would cost more than it brings.
    torch.set_num_threads(1)
    standardise = Standardise(standardisation)
    examples = torch.from_numpy(inputs)
    trainer = import_module(f"failure_monitor.calibration.fitting.{score.trained_by}")
    network = trainer.train(standardise(examples), seed)
    model = export_network(torch.nn.Sequential(standardise, network), examples[:8])
    return score(OnnxNetwork(model, name=score.name))
