# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor node beside a robot: how soon it alarms, and what it takes.

python benchmarks/node_latency.py: two 640×480 cameras at 30 Hz, joints at 500 Hz, decisions at
10 Hz with B 64, H 16, D 7, E 512, each a process of its own, on a private ROS domain. From the
publication of action chunks to the receipt of the alarm by the process that published them, beside
a node in the monitor's place that answers at once; processor time and resident memory of the
monitor; its start; messages lost. Then the black box: the monitor runs an encoder as large as
ResNet-18 on both cameras and a sampler, five times a second; from the publication of a frame to
the receipt of the alarm, beside the time that the models alone take. --seconds 600 is a soak: the
memory of every second goes into the JSON file.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from benchmark_parts import one_thread

# isort: split
import numpy as np
import psutil
from benchmark_parts.robot_load import CAMERAS, JOINT_RATE, JOINTS, bare_answerer, robot_load
from benchmark_parts.synthetic_task import SyntheticTask
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.bundle.additions import with_models
from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Rollout

assert one_thread
EMBEDDING, SAMPLES, HORIZON, ACTIONS, DECISIONS = 512, 64, 16, 7, 40
DECISION_PERIOD = 0.1
BLACK_BOX_RATE = 5.0
WARM_UP = 3.0
"""Seconds after the first verdict that no figure is of."""
MONITOR = "failure_monitor.ros.monitor.node"

TARGET_P99_MS, TARGET_RSS_MB, TARGET_START_S = 5.0, 150.0, 3.0

console = Console(width=130)
progress = Console(stderr=True)


@dataclass
class Figures:
    """What was measured.

    Attributes:
        latencies_ms: from the publication of the chunks to the receipt of the alarm.
        start_s: from the start of the monitor's process to the receipt of its first verdict.
        cpu_percent: of one core.
        memory_mb: resident, every second.
        decisions: published.
        scored: those with a verdict.
        skipped: those that were replaced by a newer one.
        joint_states_lost: share of those published that the monitor did not receive.
        models_ms: what the exported models alone take, one after the other; 0 without any.
        torch: whether a library of torch is in the monitor's process.
    """

    latencies_ms: list[float] = field(default_factory=list)
    start_s: float = 0.0
    cpu_percent: float = 0.0
    memory_mb: list[float] = field(default_factory=list)
    decisions: int = 0
    scored: int = 0
    skipped: int = 0
    joint_states_lost: float = 0.0
    models_ms: float = 0.0
    torch: bool = False

    def summary(self) -> dict[str, float]:
        """Return the figures of the table, by name."""
        latencies = np.array(self.latencies_ms)
        seconds = np.arange(len(self.memory_mb))
        slope = np.polyfit(seconds, self.memory_mb, 1)[0] if len(seconds) > 1 else 0.0
        return {
            "decisions": self.decisions,
            "p50_ms": float(np.median(latencies)),
            "p99_ms": float(np.quantile(latencies, 0.99)),
            "max_ms": float(latencies.max()),
            "start_to_first_verdict_s": self.start_s,
            "cpu_percent": self.cpu_percent,
            "rss_mb": self.memory_mb[-1] if self.memory_mb else 0.0,
            "rss_growth_mb_per_hour": float(3600 * slope),
            "decisions_lost": self.decisions - self.scored - self.skipped,
            "decisions_skipped": self.skipped,
            "joint_states_lost_percent": 100 * self.joint_states_lost,
            "models_alone_ms": self.models_ms,
            "torch_in_process": float(self.torch),
        }


def make_bundle(folder: Path, scores: tuple[str, ...]) -> list[Rollout]:
    """Calibrate, and return rollouts to play."""
    task = SyntheticTask.of_size(
        embedding=EMBEDDING,
        samples=SAMPLES,
        horizon=HORIZON,
        actions=ACTIONS,
        decisions=DECISIONS,
    )
    settings = CalibrationSettings(window=3, rule="mean", folds=3, jobs=1)
    if scores:
        settings = CalibrationSettings(scores=scores, window=3, rule="mean", folds=3, jobs=1)
    save(calibrate(task.rollouts(range(20)), task.policy, settings), folder)
    return task.rollouts(range(20, 25))


@dataclass(frozen=True)
class BlackBox:
    """A bundle with an exported policy, and what its models alone take in milliseconds."""

    bundle: Path
    models_ms: float


def make_black_box(folder: Path) -> BlackBox:
    """Export a policy, calibrate on what it does with random images, and time its models."""
    # Imported here: torch and ONNX Runtime are no part of the other rows.
    from benchmark_parts.residual_encoder import SIDE, export_residual_policy

    from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
    from failure_monitor.policy_models.observation import Observation
    from failure_monitor.policy_models.onnx_file import read_onnx_file
    from failure_monitor.policy_models.replay import black_box_rollout

    paths = export_residual_policy(folder, joint_names=JOINTS, horizon=HORIZON, actions=ACTIONS)
    encoder = ObservationEncoder(read_onnx_file(paths[0]))
    sampler = PolicySampler(read_onnx_file(paths[1]))
    noise = sampler.noise_stream(seed=0)
    rng = np.random.default_rng(0)

    def observation(number: int) -> Observation:
        image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        joints = rng.normal(size=len(JOINTS)).astype(np.float32)
        return Observation(number * 10**8, dict.fromkeys(CAMERAS, image), joints)

    rollouts = [
        black_box_rollout(
            map(observation, range(4)), encoder, sampler, name=f"{seed}", samples=SAMPLES, seed=0
        )
        for seed in range(12)
    ]
    seconds = []
    for number in range(10):
        seen = observation(number)
        begin = time.monotonic()
        embedding = encoder.embed(seen.images, seen.joints)
        sampler.sample(embedding, noise.draw(SAMPLES))
        seconds.append(time.monotonic() - begin)
    settings = CalibrationSettings(scores=("knn", "ace"), window=3, rule="mean", folds=3, jobs=1)
    successes = [
        replace(rollout, success=True, sha256=f"{seed:064x}")
        for seed, rollout in enumerate(rollouts)
    ]
    calibrated = with_models(
        calibrate(successes, sampler.policy_format(samples=SAMPLES), settings),
        encoder.file,
        sampler.file,
        cameras=dict(zip(CAMERAS, CAMERAS, strict=True)),
        observation_rate=BLACK_BOX_RATE,
        matching_tolerance=0.05,
        noise_seed=0,
    )
    save(calibrated, folder / "bundle")
    return BlackBox(folder / "bundle", 1e3 * float(np.median(seconds)))


class Policy:
    """Plays rollouts to a monitor and takes the time until it answers.

    Without rollouts it is silent, and takes the time from the stamps of the cameras' frames.
    """

    def __init__(self, rollouts: list[Rollout]) -> None:
        # Imported here: the ROS domain is chosen first.
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
        from std_msgs.msg import Bool

        from failure_monitor.ros.tap import DecisionTap

        self._rclpy = rclpy
        rclpy.init()
        self.node = rclpy.create_node("policy")
        names = [f"action_{index}" for index in range(ACTIONS)]
        self._tap = DecisionTap(self.node, action_names=names)
        self._active = self.node.create_publisher(Bool, "rollout/active", 10)
        self._flag = Bool
        self.node.create_subscription(
            DiagnosticStatus, "failure_monitor/alarm", self._on_alarm, 10
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._decisions = [list(rollout.decisions()) for rollout in rollouts]
        self._rollout, self._number = 0, 0
        self._announced = False
        self._published: dict[str, float] = {}
        self._last_stamp = ""
        self.published = 0
        self.latencies: list[float] = []
        self.first_verdict: float | None = None
        self.diagnostics: dict[str, dict[str, str]] = {}

    def play(self, seconds: float) -> None:
        """Decide at the policy's rate."""
        begin = due = time.monotonic()
        while time.monotonic() < begin + seconds:
            if time.monotonic() >= due:
                self._decide()
                due += DECISION_PERIOD
            self._spin(due - time.monotonic())

    def settle(self) -> None:
        """Receive what is still on its way."""
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            self._spin(0.1)

    def close(self) -> None:
        self.node.destroy_node()
        self._rclpy.try_shutdown()

    def _spin(self, seconds: float) -> None:
        self._rclpy.spin_once(self.node, timeout_sec=max(0.0, seconds))

    def _decide(self) -> None:
        if not self._decisions:
            return
        decisions = self._decisions[self._rollout]
        if self.first_verdict is None:
            # A rollout that began before the monitor was there would not be scored to its end.
            self._number = 0
        if self._number == 0 and not self._announced:
            for active in (False, True):
                self._active.publish(self._flag(data=active))
            self._announced = True
            return
        self._announced = False
        now = self.node.get_clock().now()
        decision = decisions[self._number]
        # The tap publishes the chunks last; making its messages is part of what is measured.
        self._published[f"{1e-9 * now.nanoseconds:.6f}"] = time.monotonic()
        self._tap.publish(decision.embedding, decision.chunks, now.to_msg())
        self.published += 1
        self._number += 1
        if self._number == len(decisions):
            self._rollout, self._number = (self._rollout + 1) % len(self._decisions), 0

    def _on_alarm(self, alarm: Any) -> None:
        received = time.monotonic()
        stamps = [value.value for value in alarm.values if value.key == "stamp"]
        if not stamps:
            return
        if self._decisions:
            published = self._published.pop(f"{float(stamps[0]):.6f}", None)
        else:
            # Once for each: the same stamp comes again with every heartbeat.
            is_new = self._last_stamp != stamps[0]
            self._last_stamp = stamps[0]
            published = received - (time.time() - float(stamps[0])) if is_new else None
        if published is not None:
            self.latencies.append(1e3 * (received - published))
            if self.first_verdict is None:
                self.first_verdict = received

    def _on_diagnostics(self, array: Any) -> None:
        for status in array.status:
            name = status.name.split(": ", 1)[-1]
            self.diagnostics[name] = {value.key: value.value for value in status.values}


def measure(
    bundle: Path,
    rollouts: list[Rollout],
    seconds: float,
    *,
    load: bool,
    black_box: BlackBox | None = None,
) -> Figures:
    """Run the monitor for so long beside the robot."""
    figures = Figures(models_ms=0.0 if black_box is None else black_box.models_ms)
    with robot_load(images_reliable=black_box is not None) if load else nullcontext():
        policy = Policy(rollouts)
        policy.play(3.0)
        begin = time.monotonic()
        command = [sys.executable, "-m", MONITOR, "--ros-args", "-p", f"bundle:={bundle}"]
        if black_box is None:
            command += ["-p", "rollout_boundaries:=topic"]
        else:
            command += ["-p", "rollout_boundaries:=none", "-p", "images_reliable:=true"]
            command += ["-p", "max_decision_age:=5.0"]
        command += ["-p", f"max_joint_state_age:={0.5 if load else 0.0}"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as monitor:
            try:
                process = psutil.Process(monitor.pid)
                while policy.first_verdict is None:
                    policy.play(DECISION_PERIOD)
                    if time.monotonic() > begin + 60:
                        raise SystemExit("the monitor has published nothing within 60 s")
                figures.start_s = policy.first_verdict - begin
                policy.play(WARM_UP)
                _watch(policy, process, figures, seconds)
                maps = process.memory_maps(grouped=True)
                figures.torch = any("libtorch" in mapped.path for mapped in maps)
            finally:
                monitor.terminate()
        policy.close()
    return figures


def control(rollouts: list[Rollout], seconds: float) -> Figures:
    """Measure a node that answers and does nothing else: what the middleware takes."""
    figures = Figures()
    with robot_load(images_reliable=False), bare_answerer():
        policy = Policy(rollouts)
        while policy.first_verdict is None:
            policy.play(DECISION_PERIOD)
        policy.play(WARM_UP)
        published, policy.latencies = policy.published, []
        policy.play(seconds)
        policy.settle()
        figures.latencies_ms = policy.latencies
        figures.decisions = policy.published - published
        figures.scored = len(policy.latencies)
        policy.close()
    return figures


def _watch(policy: Policy, process: psutil.Process, figures: Figures, seconds: float) -> None:
    policy.settle()
    before = _counts(policy)
    published, policy.latencies = policy.published, []
    cpu, begin = _cpu_seconds(process), time.monotonic()
    for _ in range(round(seconds)):
        policy.play(1.0)
        figures.memory_mb.append(process.memory_info().rss / 1e6)
    figures.cpu_percent = 100 * (_cpu_seconds(process) - cpu) / (time.monotonic() - begin)
    policy.settle()
    after, elapsed = _counts(policy), time.monotonic() - begin
    figures.latencies_ms = policy.latencies
    figures.scored, figures.skipped = (after[key] - before[key] for key in ("judged", "skipped"))
    figures.decisions = policy.published - published or figures.scored + figures.skipped
    received = after["joint_states"] - before["joint_states"]
    figures.joint_states_lost = (
        max(0.0, 1 - received / (JOINT_RATE * elapsed)) if received else 0.0
    )


def _counts(policy: Policy) -> dict[str, int]:
    scoring, joints = policy.diagnostics["scoring"], policy.diagnostics["input joint_states"]
    return {
        "judged": int(scoring["judged_decisions"]),
        "skipped": int(scoring["skipped_decisions"]),
        "joint_states": int(joints["messages"]),
    }


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def table(rows: dict[str, Figures]) -> Table:
    """Return the figures for a terminal."""
    drawn = Table(box=SIMPLE_HEAD, title="from the publication of chunks to the alarm")
    for column in (
        "",
        "decisions",
        "p50\nms",
        "p99\nms",
        "max\nms",
        "first\nverdict\ns",
        "CPU\n%",
        "RSS\nMB",
        "growth\nMB/h",
        "lost or\nskipped",
        "joints\nlost\n%",
        "models\nalone\nms",
        "torch",
    ):
        drawn.add_column(column, justify="right" if column else "left")
    for name, figures in rows.items():
        f = figures.summary()
        drawn.add_row(
            name,
            f"{f['decisions']:.0f}",
            *(f"{f[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")),
            f"{f['start_to_first_verdict_s']:.2f}",
            f"{f['cpu_percent']:.1f}",
            f"{f['rss_mb']:.0f}",
            f"{f['rss_growth_mb_per_hour']:+.1f}",
            f"{f['decisions_lost'] + f['decisions_skipped']:.0f}",
            f"{f['joint_states_lost_percent']:.1f}",
            f"{f['models_alone_ms']:.0f}" if f["models_alone_ms"] else "–",
            "yes" if f["torch_in_process"] else "no",
        )
    drawn.caption = (
        f"aims: p99 ≤ {TARGET_P99_MS:g} ms, first verdict ≤ {TARGET_START_S:g} s, RSS ≤ "
        f"{TARGET_RSS_MB:g} MB"
    )
    return drawn


ROWS = ("default", "fiper", "alone", "bare", "black_box")


def run_row(row: str, folder: Path, seconds: float) -> tuple[str, Figures]:
    """Return the row's title and figures."""
    progress.print(f"{row}: {seconds:g} s, once it is calibrated")
    if row == "black_box":
        # What large images need, by docs/monitor_node.md.
        os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "LARGE_DATA"
        black_box = make_black_box(folder)
        return "black box, from a frame", measure(
            black_box.bundle, [], seconds, load=True, black_box=black_box
        )
    rollouts = make_bundle(folder / row, ("rnd_oe", "ace") if row == "fiper" else ())
    if row == "bare":
        return "a node that answers at once", control(rollouts, seconds)
    title = {
        "default": "default rule",
        "fiper": "FIPER's scores",
        "alone": "default rule, no robot beside",
    }[row]
    return title, measure(folder / row, rollouts, seconds, load=row != "alone")


def main(
    seconds: Annotated[float, Option(help="how long each row runs")] = 60.0,
    rows: Annotated[str, Option(help=f"comma-separated: {', '.join(ROWS)}")] = ",".join(ROWS),
    output: Annotated[Path | None, Option("--json", help="write all figures here")] = None,
) -> None:
    """Measure each row for so long, print a table, and write all of it as JSON."""
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(101, 200))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ROS_HOME"] = scratch
        figures = dict(run_row(row, Path(scratch), seconds) for row in rows.split(","))
    console.print(table(figures))
    if output is not None:
        content = {name: {**f.summary(), "raw": asdict(f)} for name, f in figures.items()}
        output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    run_alone(main)
