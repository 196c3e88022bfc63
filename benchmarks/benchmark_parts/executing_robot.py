# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A small simulated robot whose policy is executed in every mode that people run.

An arm in the plane takes an object to a goal. The policy plans the positions of the next 16
control steps, in 16 samples. It fails where the arm sticks, where something pushes it, and where
the object is moved without its noticing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import ActionKind, PolicyFormat, Rollout

Array: TypeAlias = NDArray[np.float64]

PERIOD = 0.05
"""Seconds of a control step."""
HORIZON, SAMPLES, FEATURES, STEPS = 16, 16, 16, 140
SPEED = 0.03
JITTER = 0.004
"""Seconds by which stamps are off, as those of a camera."""
GOAL = np.array([0.8, 0.8])
FAULTS = ("stuck", "pushed", "moved")

POLICY = PolicyFormat(
    embedding_size=FEATURES,
    samples=SAMPLES,
    horizon=HORIZON,
    action_names=("x", "y"),
    action_kind="position",
    control_period=PERIOD,
)


@dataclass
class Robot:
    """The arm, the object, and what goes wrong."""

    random: np.random.Generator
    fault: str = ""
    place: Array = field(default_factory=lambda: np.array([0.0, 0.5]))
    holds: bool = False
    step: int = 0

    def __post_init__(self) -> None:
        """Place the object, and choose when the fault begins."""
        self.place = self.place + 0.03 * self.random.normal(size=2)
        self.object = self.random.uniform([0.4, 0.0], [0.9, 0.3])
        self.seen = self.object.copy()
        self.begin = int(self.random.integers(8, 20))
        self.push = self.random.choice([-1.0, 1.0], size=2) * 0.6 * SPEED

    def move(self, target: Array) -> None:
        """Carry out one action."""
        self.step += 1
        is_faulty = bool(self.fault) and self.step > self.begin
        stride = np.clip(0.8 * (target - self.place), -1.3 * SPEED, 1.3 * SPEED)
        if is_faulty and self.fault == "stuck":
            stride = 0.1 * stride
        if is_faulty and self.fault == "pushed":
            stride = stride + self.push
        if self.fault == "moved" and self.step == self.begin:
            self.object = self.object + self.random.choice([-1, 1], size=2) * 0.15
        self.place = self.place + stride + 0.001 * self.random.normal(size=2)
        self.holds |= bool(np.linalg.norm(self.place - self.object) < 0.035)
        if self.holds:
            self.object = self.place.copy()
            self.seen = self.object.copy()

    @property
    def is_done(self) -> bool:
        """Whether the object is at its goal."""
        return bool(np.linalg.norm(self.object - GOAL) < 0.05)

    def observe(self) -> Observation:
        """Return what is seen now, with what the policy's encoder makes of it, (E,)."""
        weights = np.random.default_rng(0).normal(size=(7, FEATURES))
        scene = [*self.place, *self.object, float(self.holds), *(self.place - self.object)]
        noise = 0.02 * self.random.normal(size=FEATURES)
        embedding = np.tanh(2 * np.array(scene) @ weights / 3) + noise
        return Observation(self.step, self.place.copy(), embedding)

    def plans(self) -> Array:
        """Return sampled chunks of positions, (B, H, 2): less sure where it has not been."""
        target = GOAL if self.holds else self.seen
        gone = SPEED * np.arange(1, HORIZON + 1)[:, np.newaxis]
        way = target - self.place
        length = max(float(np.linalg.norm(way)), 1e-9)
        plan = self.place + way / length * np.minimum(gone, length)
        lost = 1.0 if self.holds or length > 0.05 else 4.0
        bends = self.random.normal(size=(SAMPLES, 1, 2)) * np.sqrt(gone)
        return plan + 0.02 * lost * bends + 0.001 * self.random.normal(size=(SAMPLES, HORIZON, 2))


@dataclass(frozen=True)
class Observation:
    """What is seen at a control step."""

    step: int
    place: Array
    embedding: Array


@dataclass
class Record:
    """The decisions of a rollout as they are published.

    Attributes:
        seen: the observation of each.
        chunks: of positions, of each.
        delays: seconds from each observation to its decision.
    """

    seen: list[Observation] = field(default_factory=list)
    chunks: list[Array] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def add(self, seen: Observation, chunks: Array, delay: int = 0) -> None:
        """Publish a decision on an observation, so many control steps after it."""
        self.seen.append(seen)
        self.chunks.append(chunks)
        self.delays.append(PERIOD * (0.5 + delay))

    @property
    def steps(self) -> list[int]:
        """The control step of each observation."""
        return [seen.step for seen in self.seen]

    def actions(self, kind: ActionKind) -> Array:
        """Return the chunks as positions, or as steps from one to the next: (T, B, H, 2)."""
        chunks = np.array(self.chunks)
        if kind == "position":
            return chunks
        starts = np.array([seen.place for seen in self.seen])[:, np.newaxis, np.newaxis]
        starts = np.broadcast_to(starts, chunks[:, :, :1].shape)
        return np.diff(chunks, axis=2, prepend=starts)


Execution: TypeAlias = Callable[[Robot, Record], Iterator[Array]]
"""Yields the position for each control step, and records decisions."""


def queue(robot: Robot, record: Record, executed: int = 4) -> Iterator[Array]:
    """Execute so many actions of each chunk, then decide while the robot waits."""
    while True:
        chunks = robot.plans()
        record.add(robot.observe(), chunks)
        yield from chunks[0, :executed]


def whole_chunks(robot: Robot, record: Record) -> Iterator[Array]:
    """Execute all actions of each chunk."""
    return queue(robot, record, HORIZON)


def watched_chunks(robot: Robot, record: Record, every: int = 4) -> Iterator[Array]:
    """Execute all actions of each chunk; decide in between, only to be watched."""
    while True:
        plan = robot.plans()[0]
        for done in range(0, HORIZON, every):
            chunks = robot.plans()
            chunks[0] = np.concatenate([plan[done:], chunks[0, HORIZON - done :]])
            record.add(robot.observe(), chunks)
            yield from plan[done : done + every]


def ensemble(robot: Robot, record: Record) -> Iterator[Array]:
    """Decide at every step, and execute the mean of all plans for it, older ones first."""
    plans: list[tuple[int, Array]] = []
    while True:
        chunks = robot.plans()
        plans = [*plans[-HORIZON + 1 :], (robot.step, chunks[0])]
        mean = [_mean_plan(plans, robot.step + ahead) for ahead in range(HORIZON)]
        record.add(robot.observe(), np.concatenate([np.array(mean)[np.newaxis], chunks[1:]]))
        yield mean[0]


def _mean_plan(plans: list[tuple[int, Array]], step: int) -> Array:
    of_step = [plan[step - begin] for begin, plan in plans if 0 <= step - begin < HORIZON]
    weights = np.exp(-0.1 * np.arange(len(of_step)))
    return np.asarray(np.average(of_step, axis=0, weights=weights))


DELAY, EVERY = 3, 6
"""Control steps that inference takes in real-time chunking, and from one decision to the next."""


def real_time_chunking(robot: Robot, record: Record) -> Iterator[Array]:
    """Decide while the last chunk is executed: the new one begins with what will have been."""
    chunks, seen = robot.plans(), robot.observe()
    record.add(seen, chunks)
    plan, begin = chunks[0], seen.step
    while True:
        for step in range(EVERY):
            if step == 0 and robot.step > begin:
                chunks, seen = robot.plans(), robot.observe()
                chunks[:, :DELAY] = plan[seen.step - begin : seen.step - begin + DELAY]
            if step == DELAY and seen.step > begin:
                record.add(seen, chunks, DELAY)
                plan, begin = chunks[0], seen.step
            yield plan[robot.step - begin]


def server(robot: Robot, record: Record) -> Iterator[Array]:
    """Ask a server ahead of time: its answers are late, sometimes very, and sometimes lost."""
    chunks = robot.plans()
    plan, begin = chunks[0], robot.step
    record.add(robot.observe(), chunks)
    waiting: tuple[int, Observation, Array] | None = None
    while True:
        if waiting is None and robot.step - begin >= HORIZON // 2:
            late = 30 if robot.random.uniform() < 0.02 else int(robot.random.integers(2, 7))
            # A request that is lost is sent again at the next step.
            if robot.random.uniform() > 0.03:
                waiting = (robot.step + late, robot.observe(), robot.plans())
        if waiting is not None and robot.step >= waiting[0]:
            came, seen, chunks = waiting
            record.add(seen, chunks, came - seen.step)
            plan, begin, waiting = chunks[0], seen.step, None
        yield plan[min(robot.step - begin, HORIZON - 1)]


MODES: dict[str, Execution] = {
    "queue, 4 of 16": queue,
    "whole chunks": whole_chunks,
    "whole chunks, watched every 4": watched_chunks,
    "temporal ensembling": ensemble,
    "real-time chunking": real_time_chunking,
    "policy server": server,
}


def roll_out(
    mode: str, seed: int, fault: str = "", *, kind: ActionKind = "position"
) -> tuple[Rollout, Record]:
    """Run the robot until it is done or its time is over."""
    robot, record = Robot(np.random.default_rng([seed, len(fault)]), fault), Record()
    for target in MODES[mode](robot, record):
        robot.move(target)
        if robot.is_done or robot.step >= STEPS:
            break
    random = np.random.default_rng([seed, 9])
    shifts = random.uniform(0, JITTER, size=len(record.steps))
    rollout = Rollout(
        name=f"{mode} {fault or 'nominal'} {seed}",
        stamps=np.round(1.7e9 + PERIOD * np.array(record.steps) + shifts, 3),
        embeddings=np.array([seen.embedding for seen in record.seen], dtype=np.float32),
        chunks=record.actions(kind).astype(np.float32),
        success=robot.is_done,
        group=fault or "id",
        sha256=hashlib.sha256(f"{mode} {seed} {fault}".encode()).hexdigest(),
    )
    return rollout, record
