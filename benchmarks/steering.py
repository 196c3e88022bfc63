# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What steering brings: rollouts of the demo with and without it, on the same scenes.

python benchmarks/steering.py results.jsonl: success, frames, decisions and alarms of every way to
steer, undisturbed and perturbed, and the difference to the same seeds without steering.

Simulation, policy and monitor run in one process without ROS, so that a seed decides everything
but what steering changes. Nothing is halted: an alarm is counted and the robot goes on. Every row
has a monitor that was calibrated on undisturbed rollouts steered as the row is, but for those of
the speed scale: what slows these down is the monitor. Results are appended rollout by rollout;
what the file holds already is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from benchmark_parts import one_thread

# isort: split
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.decision import Decision, PolicyFormat, Rollout, Verdict
from failure_monitor.demo import jpeg
from failure_monitor.demo.calibration_process import POSITION_NAMES
from failure_monitor.demo.execution import ChunkExecution
from failure_monitor.demo.perturbation import KINDS, UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, FRAME_PERIOD, FRAME_STEPS, TASKS
from failure_monitor.evaluation.metrics import clopper_pearson
from failure_monitor.monitoring.monitor import FailureMonitor
from failure_monitor.monitoring.response.chosen_chunk import Medoid, SampleScore, chosen_chunk
from failure_monitor.monitoring.response.speed_scale import SpeedScale, SpeedSettings
from failure_monitor.monitoring.response.table import Reaction, ResponseTable
from failure_monitor.monitoring.response.trusted_horizon import (
    Dispersion,
    TrustedHorizon,
    calibrate_limit,
)
from failure_monitor.scores.base.reached_positions import ReachedPositions

assert one_thread
CALIBRATION_SEED, FIRST_SEED = 10_000, 20_000
CALIBRATION_ROLLOUTS = 50
STRENGTHS, ONSETS = (0.2, 1.0), (0.3, 1.0)
"""What the mix of perturbations is drawn from; onsets in seconds."""
RESAMPLES = 10_000

console = Console(width=150)


@dataclass(frozen=True)
class Steering:
    """One way to steer.

    Attributes:
        title: of its row.
        executed_actions: from one decision to the next; 0 for the policy's own number, 2.
        horizon_alpha: the trusted horizon's; None where it is not obeyed.
        replan: whether the policy decides anew after every action of an alarm.
        chunk: what chooses it; empty for the first sample.
        speed: the reactions whose speed scale is obeyed; None for full speed.
        settings: of the speed scale.
        rule: the monitor's.
        scores: the monitor's; empty for the default.
        time_limit: in the task's time limits: a robot that is slowed down is given more of it.
        baseline: the title of the row to compare with.
    """

    title: str
    executed_actions: int = 0
    horizon_alpha: float | None = None
    replan: bool = False
    chunk: str = ""
    speed: ResponseTable | None = None
    settings: SpeedSettings = field(default_factory=SpeedSettings)
    rule: str = "mean"
    scores: tuple[str, ...] = ()
    time_limit: float = 1.0
    baseline: str = "none"


UNSTEERED = Steering("none")
UNHURRIED = Steering("none, in twice the time", time_limit=2.0, baseline="none, in twice the time")
STEERINGS = (
    UNSTEERED,
    UNHURRIED,
    replace(
        UNHURRIED,
        title="speed scale, default rule, in CAUTION",
        speed=ResponseTable(caution=Reaction.SLOW),
    ),
    replace(
        UNHURRIED,
        title="speed scale, any of rnd_oe, ace, from level 0.5",
        speed=ResponseTable(nominal=Reaction.SLOW),
        settings=SpeedSettings(slow_from=0.5),
        rule="any",
        scores=("rnd_oe", "ace"),
    ),
    Steering("trusted horizon, alpha 0.1", horizon_alpha=0.1),
    Steering("trusted horizon, alpha 0.5", horizon_alpha=0.5),
    Steering("re-plan in ALARM", replan=True),
    Steering("7 actions, always", executed_actions=7),
    Steering("7 actions, trusted horizon, alpha 0.1", executed_actions=7, horizon_alpha=0.1),
    Steering("7 actions, trusted horizon, alpha 0.5", executed_actions=7, horizon_alpha=0.5),
    Steering("chosen chunk, medoid", chunk="medoid"),
    Steering("chosen chunk, pseudo_count", chunk="pseudo_count"),
    Steering("chosen chunk, retrieval", chunk="retrieval"),
)


@dataclass(frozen=True)
class Result:
    """How one rollout went; frames and decisions until success or the time limit."""

    task: str
    steering: str
    perturbation: str
    seed: int
    success: bool
    frames: int
    decisions: int
    alarm_frame: int | None

    @property
    def key(self) -> tuple[str, str, bool, int]:
        return (self.task, self.steering, self.perturbation != "none", self.seed)


class Rig:
    """One task: simulation, policy, and what was learned from its undisturbed rollouts."""

    def __init__(self, task: str) -> None:
        self.simulation = Simulation(task)
        self.policy = FlowPolicy(MODELS / task)
        plain = self._calibration_rollouts(UNSTEERED)
        self.format = PolicyFormat(
            embedding_size=plain[0].embeddings.shape[1],
            samples=plain[0].chunks.shape[1],
            horizon=self.policy.horizon,
            action_names=self.policy.action_names,
            action_kind="delta",
            position_names=tuple(POSITION_NAMES.split(",")),
            executed_actions=self.policy.h_exec,
        )
        # One more than are executed: the first belongs to the frame of the decision.
        self._dispersion = Dispersion.fit(plain, self.format, self.policy.h_exec + 1)
        self._largest = [self._dispersion.largest(rollout) for rollout in plain]
        self._choices: dict[str, SampleScore] = {
            "medoid": Medoid(ReachedPositions.of(self.format)),
            "pseudo_count": fit_score("pseudo_count", plain, self.format, 0),
            "retrieval": fit_score("retrieval", plain, self.format, 0),
        }
        self._plain = plain

    def bundle(self, steering: Steering) -> Bundle:
        """Return a monitor for rollouts that are steered so."""
        as_run = replace(steering, speed=None, replan=False, time_limit=1.0)
        changed = (as_run.executed_actions, as_run.horizon_alpha, as_run.chunk) != (0, None, "")
        rollouts = self._calibration_rollouts(as_run) if changed else self._plain
        settings = CalibrationSettings(rule=steering.rule, jobs=1)
        if steering.scores:
            settings = replace(settings, scores=steering.scores)
        executed = steering.executed_actions or self.policy.h_exec
        return calibrate(rollouts, replace(self.format, executed_actions=executed), settings)

    def _calibration_rollouts(self, steering: Steering) -> list[Rollout]:
        rollouts: list[Rollout] = []
        seed = CALIBRATION_SEED
        while len(rollouts) < CALIBRATION_ROLLOUTS:
            decisions: list[Decision] = []
            result = self.roll_out(steering, seed, UNDISTURBED, keep=decisions.append)
            if result.success:
                rollouts.append(
                    Rollout(
                        name=f"seed {seed}",
                        stamps=np.array([1e-9 * decision.stamp for decision in decisions]),
                        embeddings=np.stack([decision.embedding for decision in decisions]),
                        chunks=np.stack([decision.chunks for decision in decisions]),
                        success=True,
                    )
                )
            seed += 1
        return rollouts

    def roll_out(
        self,
        steering: Steering,
        seed: int,
        perturbation: Perturbation,
        *,
        monitor: FailureMonitor | None = None,
        keep: Callable[[Decision], None] = lambda decision: None,
    ) -> Result:
        """Run a rollout; what is told of a decision counts from the next frame on."""
        simulation, frames, decisions, alarm = self.simulation, 0, 0, None
        simulation.reset(seed, perturbation)
        rng = np.random.default_rng([seed, 3])
        execution = ChunkExecution(self.policy, rng, executed_actions=steering.executed_actions)
        speed_scale = SpeedScale(steering.settings)
        verdict: Verdict | None = None
        action = np.zeros(len(ACTION_NAMES), dtype=np.float32)
        limit = steering.time_limit * simulation.task.time_limit
        while not simulation.success and simulation.time < limit:
            image = jpeg.decode(jpeg.encode(simulation.render()))
            speed = 1.0
            if steering.speed is not None:
                reaction, level = self._reaction(steering.speed, verdict)
                speed = speed_scale.update(reaction, level, frames * FRAME_PERIOD)
            commanded = execution.act(speed)
            if commanded is not None:
                action = commanded
            decided = execution.observe(image, simulation.joint_positions)
            if decided is not None:
                decisions += 1
                decision = Decision(
                    round(1e9 * simulation.time), decided.embedding, decided.chunks
                )
                keep(decision)
                if monitor is not None:
                    verdict = monitor.update(decision)
                    alarm = frames if verdict.calls_for_alarm and alarm is None else alarm
                self._steer(execution, steering, decision, verdict)
            frames += 1
            for _ in range(FRAME_STEPS):
                simulation.step(action)
                if simulation.success:
                    break
        return Result(
            task=simulation.task.name,
            steering=steering.title,
            perturbation=perturbation.kind,
            seed=seed,
            success=simulation.success,
            frames=frames,
            decisions=decisions,
            alarm_frame=alarm,
        )

    @staticmethod
    def _reaction(table: ResponseTable, verdict: Verdict | None) -> tuple[Reaction, float]:
        """React as the monitor does, but at the slowest speed to an alarm that would halt."""
        if verdict is None:
            return table.nominal, 0.0
        if verdict.calls_for_alarm:
            return Reaction.REPLAN, verdict.level
        caution = any(score.is_above_threshold for score in verdict.scores)
        return table.caution if caution else table.nominal, verdict.level

    def _steer(
        self,
        execution: ChunkExecution,
        steering: Steering,
        decision: Decision,
        verdict: Verdict | None,
    ) -> None:
        if steering.horizon_alpha is not None:
            limit = calibrate_limit(self._largest, steering.horizon_alpha)
            execution.trust(TrustedHorizon(self._dispersion, limit)(decision.chunks))
        if steering.replan and verdict is not None and verdict.calls_for_alarm:
            execution.trust(1)
        if steering.chunk:
            chosen = chosen_chunk(self._choices[steering.chunk], decision)
            execution.choose(decision.chunks[chosen])


def perturbation_of(seed: int) -> Perturbation:
    """Return one kind after the other, of a strength and an onset that the seed decides."""
    kinds = [kind for kind in KINDS if kind != "none"]
    rng = np.random.default_rng([seed, 4])
    return Perturbation(kinds[seed % len(kinds)], rng.uniform(*STRENGTHS), rng.uniform(*ONSETS))


def run_missing(
    done: dict[tuple[str, str, bool, int], Result],
    tasks: Sequence[str],
    counts: Mapping[bool, int],
    append: Callable[[Result], None],
) -> None:
    """Run what is not done yet."""
    for task in tasks:
        rig = None
        for steering in STEERINGS:
            missing = [
                (perturbed, seed)
                for perturbed, count in counts.items()
                for seed in range(FIRST_SEED, FIRST_SEED + count)
                if (task, steering.title, perturbed, seed) not in done
            ]
            if not missing:
                continue
            rig = rig or Rig(task)
            bundle = rig.bundle(steering)
            for perturbed, seed in missing:
                perturbation = perturbation_of(seed) if perturbed else UNDISTURBED
                result = rig.roll_out(steering, seed, perturbation, monitor=bundle.monitor())
                done[result.key] = result
                append(result)
        if rig is not None:
            rig.simulation.close()


def table(
    title: str, rows: Sequence[tuple[Steering, Sequence[Result], Sequence[Result]]]
) -> Table:
    """Return rows of a steering, its results, and those of the same seeds without."""
    drawn = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    for column in (
        "steering",
        "n",
        "success [95 %]",
        "won, lost",
        "difference [95 %]",
        "frames, if both\nsucceed [95 %]",
        "decisions",
        "alarms in\nsuccesses",
        "alarms in\nfailures",
    ):
        drawn.add_column(column, justify="left" if column == "steering" else "right")
    for steering, results, plain in rows:
        drawn.add_row(steering.title, *_cells(results, plain))
    return drawn


def _cells(results: Sequence[Result], plain: Sequence[Result]) -> list[str]:
    n = len(results)
    succeeded = np.array([result.success for result in results])
    before = np.array([result.success for result in plain])
    won, lost = int((succeeded & ~before).sum()), int((before & ~succeeded).sum())
    frames = np.array([r.frames - p.frames for r, p in zip(results, plain, strict=True)])
    good = [result for result in results if result.success]
    bad = [result for result in results if not result.success]
    return [
        str(n),
        f"{succeeded.mean():.2f} [{_proportion(int(succeeded.sum()), n)}]",
        f"{won}, {lost}",
        _mean(succeeded.astype(float) - before, ".2f"),
        _mean(frames[succeeded & before].astype(float), ".1f"),
        f"{np.mean([result.decisions for result in results]):.1f}",
        f"{sum(result.alarm_frame is not None for result in good)} of {len(good)}",
        f"{sum(result.alarm_frame is not None for result in bad)} of {len(bad)}",
    ]


def _proportion(count: int, n: int) -> str:
    """Return the ends of the exact 95 % interval of a proportion, as text."""
    low, high = clopper_pearson(count, n) or (0.0, 1.0)
    return f"{low:.2f}, {high:.2f}"


def _mean(differences: NDArray[np.float64], form: str) -> str:
    """Return a mean over seeds, with its bootstrap interval."""
    if not len(differences):
        return "–"
    rng = np.random.default_rng(0)
    drawn = rng.choice(differences, size=(RESAMPLES, len(differences))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{differences.mean():+{form}} [{low:+{form}}, {high:+{form}}]"


def show(done: Mapping[tuple[str, str, bool, int], Result], tasks: Sequence[str]) -> None:
    """Print a table for each task, undisturbed and perturbed, and one for all tasks together."""
    groups = [*((task,) for task in tasks), *([tuple(tasks)] if len(tasks) > 1 else [])]
    for group in groups:
        for perturbed in (False, True):
            rows = []
            for steering in STEERINGS:
                keys = [
                    key
                    for key in done
                    if key[0] in group and key[1] == steering.title and key[2] == perturbed
                ]
                if keys:
                    plain = [done[key[0], steering.baseline, perturbed, key[3]] for key in keys]
                    rows.append((steering, [done[key] for key in keys], plain))
            how = "a mix of perturbations" if perturbed else "undisturbed"
            console.print(table(f"{', '.join(group)}: {how}", rows))


def main(
    results: Annotated[Path, Argument(help="JSON lines, one a rollout; made or added to")],
    undisturbed: Annotated[int, Option(help="undisturbed rollouts of every row")] = 70,
    perturbed: Annotated[int, Option(help="perturbed rollouts of every row")] = 105,
    tasks: Annotated[str, Option(help="comma-separated")] = ",".join(TASKS),
) -> None:
    """Run what the results file lacks, and print the tables."""
    done = {}
    if results.exists():
        for line in results.read_text().splitlines():
            result = Result(**json.loads(line))
            done[result.key] = result
    with results.open("a", buffering=1) as output:
        run_missing(
            done,
            tasks.split(","),
            {False: undisturbed, True: perturbed},
            lambda result: print(json.dumps(asdict(result)), file=output),
        )
    show(done, tasks.split(","))


if __name__ == "__main__":
    run_alone(main)
