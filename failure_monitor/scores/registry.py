# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every score by its name."""

from __future__ import annotations

from dataclasses import replace

from failure_monitor.errors import UsageError
from failure_monitor.scores.ace import ActionChunkEntropy
from failure_monitor.scores.ace_per_dimension import ActionChunkEntropyPerDimension
from failure_monitor.scores.base.folded_score import FoldedScore, states_of_folds
from failure_monitor.scores.base.score import Score, ScoreState
from failure_monitor.scores.chunk_lag import ChunkLag
from failure_monitor.scores.command_effect import CommandEffect
from failure_monitor.scores.dispersion_profile import DispersionProfile
from failure_monitor.scores.elapsed_time import ElapsedTime
from failure_monitor.scores.external import EXTERNAL_PREFIX, external_score
from failure_monitor.scores.gripper_effect import GripperEffect
from failure_monitor.scores.joint_effect import JointEffect
from failure_monitor.scores.kernel_support import KernelSupport
from failure_monitor.scores.kinematics import Kinematics
from failure_monitor.scores.knn import NearestNeighbourDistance
from failure_monitor.scores.lag import Lag
from failure_monitor.scores.logpzo import LogPZO
from failure_monitor.scores.mahalanobis import Mahalanobis
from failure_monitor.scores.one_step import OneStepPrediction
from failure_monitor.scores.pca_kmeans import PrincipalComponentClusters
from failure_monitor.scores.phase_knn import PhaseNeighbourDistance
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.pseudo_count import PseudoCount
from failure_monitor.scores.retrieval import Retrieval
from failure_monitor.scores.reversal_rate import ReversalRate
from failure_monitor.scores.rnd_a import ActionNetworkDistillation
from failure_monitor.scores.rnd_oe import RandomNetworkDistillation
from failure_monitor.scores.stac import TemporalConsistency
from failure_monitor.scores.stac_single import SingleSampleConsistency
from failure_monitor.scores.token_distance import TokenDistance
from failure_monitor.scores.tracking import Tracking

SCORES: dict[str, type[Score]] = {
    score.name: score
    for score in (
        ActionChunkEntropy,
        ActionChunkEntropyPerDimension,
        ActionNetworkDistillation,
        ChunkLag,
        CommandEffect,
        DispersionProfile,
        ElapsedTime,
        GripperEffect,
        JointEffect,
        KernelSupport,
        Kinematics,
        Lag,
        LogPZO,
        Mahalanobis,
        NearestNeighbourDistance,
        OneStepPrediction,
        PhaseNeighbourDistance,
        PrincipalComponentClusters,
        Probe,
        PseudoCount,
        RandomNetworkDistillation,
        Retrieval,
        ReversalRate,
        SingleSampleConsistency,
        TemporalConsistency,
        TokenDistance,
        Tracking,
    )
}

DEFAULT_SCORES = ("command_effect", "dispersion_profile", "one_step", "phase_knn", "chunk_lag")
"""Scores that detected best, as a mean, on tasks they were not chosen on:
docs/detection_appendix.md."""

JOINT_SCORES = ("joint_effect", "gripper_effect")
"""Scores that join these where a robot tells what its joints do."""


FIPER_SCORES = ("rnd_oe", "ace")
"""Scores of which all must be above their thresholds by the rule of the FIPER paper."""


def score_named(name: str) -> type[Score]:
    """Return the score of that name; `external:NAME` is one that another program computes.

    Raises:
        UsageError: there is no such score.
    """
    if name.startswith(EXTERNAL_PREFIX):
        return external_score(name.removeprefix(EXTERNAL_PREFIX))
    if name not in SCORES:
        raise UsageError(
            f"there is no score '{name}': the scores are {', '.join(sorted(SCORES))}, and "
            f"{EXTERNAL_PREFIX}NAME for one of your own"
        )
    return SCORES[name]


def restore_score(name: str, state: ScoreState) -> Score:
    """Restore a score from its name and state, as a bundle stores them.

    Raises:
        UsageError: there is no score of that name.
    """
    kind = score_named(name)
    weighed = tuple(restore_score(*each) for each in kind.weighed_states(state).items())
    return kind.from_state(replace(state, scores=weighed))


def restore_folded_score(name: str, state: ScoreState) -> FoldedScore:
    """Restore the models of a score from its name and state, of all folds or of one model.

    Raises:
        UsageError: there is no score of that name.
    """
    kind, states = score_named(name), states_of_folds(state)
    if any(kind.weighed_states(each) for each in states):
        return FoldedScore([restore_score(name, each) for each in states])
    return kind.folded_from_state(state)
