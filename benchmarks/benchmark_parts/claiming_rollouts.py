# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of the demo's policies that claim success, truly and falsely, kept as archives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from failure_monitor.atomic_file import write_json
from failure_monitor.decision import Rollout
from failure_monitor.demo.claimer import Claimer
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rollout import roll_out
from failure_monitor.demo.simulation import Simulation
from failure_monitor.joint_motion import is_of_kind
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts

TRUE_SEED, FALSE_SEED = 30_000, 40_000
"""Of the first rollout: a false success has no scene of a true one that calibrates."""
POSITION_NOISE, VELOCITY_NOISE = 0.0005, 0.01
"""Standard deviations of what joints and hand are measured with, rad or m, and per second: in the
simulation a finger at rest is at rest to a hundredth of a millimetre, and of no robot it is."""


@dataclass(frozen=True)
class Kind:
    """A kind of rollouts.

    Attributes:
        title: what happened, for tables.
        perturbation: what is perturbed.
        must_move: whether only those count in which the object was moved all the way, as one
            that moves a look-alike.
    """

    title: str
    perturbation: Perturbation
    must_move: bool = False

    @property
    def name(self) -> str:
        """Its name as a file's."""
        return f"{self.perturbation.kind}_{self.perturbation.strength:g}"


TRUE = Kind("nothing", UNDISTURBED)
FALSE = (
    Kind("claimed 3 cm early", Perturbation("early", 0.5)),
    Kind("claimed 6 cm early", Perturbation("early", 1.0)),
    Kind("jammed almost at the end", Perturbation("jam", 0.3)),
    Kind("jammed half-way", Perturbation("jam", 1.0)),
    Kind("nearer, almost done", Perturbation("nearer", 0.5)),
    Kind("nearer, half done", Perturbation("nearer", 1.0)),
    Kind("slipped and went back", Perturbation("slip", 1.0)),
    Kind("the look-alike moved", Perturbation("lookalike", 1.0), must_move=True),
    Kind("beside it: camera knocked", Perturbation("camera", 0.6)),
    Kind("beside it: out of range", Perturbation("object_range", 0.6)),
    Kind("stuck", Perturbation("dynamics", 1.0)),
)
"""What makes success a false claim."""


@dataclass(frozen=True)
class Made:
    """What came of the rollouts that were tried.

    Attributes:
        tried: how many.
        unclaimed: which ran to the time limit without a claim.
        true: whose claim was true.
        false: whose claim was false.
        left_out: whose false claim is not of the kind.
        travel: the median share of the demanded travel that the object was moved at false claims.
    """

    tried: int
    unclaimed: int
    true: int
    false: int
    left_out: int
    travel: float | None


@dataclass(frozen=True)
class Claiming:
    """Rollouts of one kind: those with true claims, or those with false ones."""

    kind: Kind
    made: Made
    rollouts: tuple[Rollout, ...]


def claiming_rollouts(task: str, kind: Kind, wanted: int, folder: Path) -> Claiming:
    """Return so many rollouts of a kind, or what three times as many tries gave.

    Args:
        task: of the demo.
        kind: of rollouts; of `TRUE` those with true claims, of others those with false ones.
        wanted: how many.
        folder: where they are kept; what lies there is not made again.
    """
    archive = folder / f"{task}_{kind.name}_{wanted}.npz"
    counts = archive.with_suffix(".json")
    if not counts.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made, rollouts = _make(task, kind, wanted)
        if rollouts:
            write_archive(archive, RolloutSet(FlowPolicy(MODELS / task).format, rollouts))
        write_json(counts, asdict(made))
    made = Made(**json.loads(counts.read_text()))
    rollouts = read_rollouts([archive]).rollouts if archive.is_file() else ()
    return Claiming(kind, made, tuple(_measured(rollout) for rollout in rollouts))


def _measured(rollout: Rollout) -> Rollout:
    """Return a rollout as a robot's sensors would give it."""
    joints, hand = rollout.joints, rollout.positions
    assert joints is not None
    assert hand is not None
    random = np.random.default_rng(int(rollout.name.rpartition("_")[2]))
    is_velocity = np.array([is_of_kind(name, "velocity") for name in joints.names])
    noise = np.where(is_velocity, VELOCITY_NOISE, POSITION_NOISE)
    states = joints.states + noise * random.normal(size=joints.states.shape)
    seen = hand + POSITION_NOISE * random.normal(size=hand.shape).astype(np.float32)
    return replace(rollout, joints=replace(joints, states=states), positions=seen)


def _make(task: str, kind: Kind, wanted: int) -> tuple[Made, tuple[Rollout, ...]]:
    policy, simulation = FlowPolicy(MODELS / task), Simulation(task)
    kept: list[Rollout] = []
    travel: list[float] = []
    counts = {"unclaimed": 0, "true": 0, "false": 0, "left_out": 0}
    tried = 0
    while len(kept) < wanted and tried < 3 * wanted:
        seed = (TRUE_SEED if kind is TRUE else FALSE_SEED) + tried
        tried += 1
        made = roll_out(
            simulation,
            policy,
            seed,
            kind.perturbation,
            Claimer(simulation.task, kind.perturbation),
        )
        moved = simulation.object_travel / simulation.task.travel
        if not made.claim:
            counts["unclaimed"] += 1
            continue
        counts["true" if made.success else "false"] += 1
        if made.success is not (kind is TRUE):
            continue
        if kind.must_move and moved < 1.0:
            counts["left_out"] += 1
            continue
        travel.append(moved)
        recorded = made.recorded(policy, f"{kind.name}_{seed}", kind.perturbation.kind)
        kept.append(replace(recorded, positions=made.hand.astype(np.float32)))
    simulation.close()
    median = float(np.median(travel)) if travel else None
    return Made(tried, **counts, travel=median), tuple(kept)


def all_kinds(
    task: str, true: int, false: int, folder: Path
) -> tuple[Claiming, Sequence[Claiming]]:
    """Return rollouts with true claims, and with false ones of every kind."""
    return (
        claiming_rollouts(task, TRUE, true, folder),
        [claiming_rollouts(task, kind, false, folder) for kind in FALSE],
    )
