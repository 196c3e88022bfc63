# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: calibrate, then watch a nominal rollout, three that go wrong, and a false success.

Starts robot, policy, gate and monitor (unless `ros2 launch` did), calibrates from the shipped
bags as a user would, runs the rollouts one after the other, and reports what came of them. The
exit code is 0 only if the demo showed what it promises.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from rclpy.utilities import remove_ros_args
from rich.console import Console

from failure_monitor.atomic_file import write_json
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.demo.calibration_process import calibrate_arguments, calibration
from failure_monitor.demo.interrupts import unwind_on_signals
from failure_monitor.demo.live_table import LineView, LiveState, TableView, View
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.observer import Observer
from failure_monitor.demo.perturbation import Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rig import Watch, open_rig
from failure_monitor.demo.scripted_human import Takeover, takeover_picture
from failure_monitor.demo.summary import RolloutSummary, shortfalls, summarise
from failure_monitor.demo.summary_table import summary_table
from failure_monitor.demo.tasks import TASKS, task_named
from failure_monitor.demo.timeline import SECOND, RolloutPlan, Timeline
from failure_monitor.demo_data import require_demo_data
from failure_monitor.errors import FailureMonitorError

DEFAULT_TASK = "button-press-topdown-v3"

DEFAULT_SEED = 2
"""A typical one: a share alpha of undisturbed rollouts may raise a false alarm, this does not."""

PERTURBATIONS = (
    ("Camera knocked", Perturbation("camera", strength=1.0, onset=0.7)),
    ("Object moved", Perturbation("displacement", strength=1.2, onset=0.8)),
    ("Mechanism stuck", Perturbation("dynamics", strength=1.0, onset=0.0)),
)
"""One that the camera suffers, one that it sees, and one that it cannot see."""

FALSE_SUCCESS = ("Falsely claimed", Perturbation("early", strength=1.4))
"""One whose caller does not see that the task is undone."""

LOG_WIDTH = 80
"""Characters of a line where no terminal defines them."""

results = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
progress = Console(stderr=True)


@dataclass(frozen=True)
class DemoSettings:
    """What the demo is asked to do.

    Attributes:
        task: the task of robot and policy.
        output: folder for bundle, figures, logs and summary.
        spawn: whether the nodes are started; otherwise they run already.
        real_time_factor: simulated seconds per second.
        seed: the seed of the scene, which all rollouts share.
        rule: how the scores combine.
        scores: the scores of the rule, comma-separated; empty means the default ones.
        window: decisions that a score is averaged over.
        alpha: the promised false-alarm rate.
        human: whether a scripted human takes over in one more rollout.
    """

    task: str
    output: Path
    spawn: bool
    real_time_factor: float
    seed: int
    rule: str
    scores: str
    window: int
    alpha: float
    human: bool = False


def plans(seed: int) -> list[RolloutPlan]:
    """Return the rollouts of the demo: one scene, undisturbed, perturbed, and falsely claimed."""
    perturbed = [RolloutPlan(title, kind, seed) for title, kind in PERTURBATIONS]
    claimed = RolloutPlan(*FALSE_SUCCESS, seed, claims=True)
    return [RolloutPlan("Undisturbed", seed=seed), *perturbed, claimed]


def run_demo(settings: DemoSettings) -> tuple[list[Timeline], Takeover | None]:
    """Calibrate, run all rollouts, and return what was observed of them, with the human's last."""
    output, bundle = settings.output, settings.output / "bundle"
    output.mkdir(parents=True, exist_ok=True)
    arguments = calibrate_arguments(
        BAGS / settings.task,
        bundle,
        executed_actions=FlowPolicy(MODELS / settings.task).h_exec,
        rule=settings.rule,
        window=settings.window,
        alpha=settings.alpha,
        scores=settings.scores,
    )
    with ExitStack() as stack:
        rig = stack.enter_context(
            open_rig(
                settings.task,
                output / "nodes.log",
                spawn=settings.spawn,
                real_time_factor=settings.real_time_factor,
            )
        )
        command = shlex.join(["failure-monitor", *arguments])
        progress.print(command, style="bold", markup=False, highlight=False, soft_wrap=True)
        process = stack.enter_context(calibration(arguments, output / "calibrate.log"))
        progress.print(process.wait().rstrip(), markup=False, highlight=False, soft_wrap=True)
        progress.print("connecting robot, policy, monitor and gate")
        rig.connect(bundle)
        view = stack.enter_context(TableView(progress)) if progress.is_terminal else None
        follow = _follower(view or LineView(progress))
        timelines = [rig.run(plan, follow) for plan in plans(settings.seed)]
        if not settings.human:
            return timelines, None
        return timelines, rig.run_with_human(
            RolloutPlan("Human takes over", seed=settings.seed), follow
        )


def _follower(view: View) -> Watch:
    def follow(plan: RolloutPlan, observer: Observer) -> None:
        observed = observer.observed
        begin = observed.active[0][0] if observed.active else time.time_ns()
        view.show(
            LiveState(
                plan=plan,
                clock=(time.time_ns() - begin) / SECOND,
                reading=observed.readings[-1] if observed.readings else None,
                gate_open=observer.gate_open,
                perturbation=observer.perturbation,
            )
        )

    return follow


def report_results(timelines: Sequence[Timeline], settings: DemoSettings) -> list[str]:
    """Print the summary, write it and the figures, and return what did not hold."""
    # Imported here: matplotlib would keep the nodes waiting.
    from failure_monitor.demo.figures import save_figure

    summaries = [summarise(timeline) for timeline in timelines]
    missing = shortfalls(summaries)
    results.print(summary_table(summaries))
    for summary in summaries:
        if summary.claims and summary.check:
            results.print(f"{summary.title}: {summary.check}", soft_wrap=True, markup=False)
    for number, timeline in enumerate(timelines):
        kind = "nominal" if timeline.plan.is_nominal else timeline.plan.perturbation.kind
        save_figure(timeline, settings.output / f"rollout_{number}_{kind}.png")
    write_summary(settings.output / "summary.json", summaries, missing, settings)
    results.print(f"figures, summary and logs: {settings.output}/", soft_wrap=True, markup=False)
    return missing


def report_takeover(takeover: Takeover) -> list[str]:
    """Print what became of the human's rollout, and return what did not hold."""
    for line in takeover_picture(takeover):
        results.print(line, soft_wrap=True, markup=False, highlight=False)
    if takeover.was_open_meanwhile:
        return ["the gate was open while a human had the robot: see its output"]
    return []


def write_summary(
    path: Path,
    summaries: Sequence[RolloutSummary],
    missing: Sequence[str],
    settings: DemoSettings,
) -> None:
    """Write the numbers as JSON."""
    content = {
        "task": settings.task,
        "rule": settings.rule,
        "scores": settings.scores,
        "window": settings.window,
        "alpha": settings.alpha,
        "seed": settings.seed,
        "real_time_factor": settings.real_time_factor,
        "passed": not missing,
        "shortfalls": list(missing),
        "rollouts": [asdict(summary) for summary in summaries],
    }
    write_json(path, content)


def demo(
    task: Annotated[str, Option(help=f"what the arm does: {', '.join(TASKS)}")] = (DEFAULT_TASK),
    output: Annotated[
        Path, Option(help="folder for the bundle, the figures, the summary and the logs")
    ] = Path("demo_output"),
    spawn: Annotated[
        bool, Option(help="start the nodes; --no-spawn where `ros2 launch` has done so")
    ] = True,
    real_time_factor: Annotated[
        float, Option(min=0.05, max=20.0, help="simulated seconds per second")
    ] = 1.0,
    seed: Annotated[
        int,
        Option(
            min=0,
            help="of the scene; the default shows the typical case, while a share alpha of "
            "undisturbed rollouts may raise a false alarm",
        ),
    ] = DEFAULT_SEED,
    rule: Annotated[str, Option(help="how the scores combine: fiper, all, any, mean")] = ("mean"),
    scores: Annotated[
        str, Option(help="comma-separated names of scores; default: those of `calibrate`")
    ] = "",
    window: Annotated[int, Option(min=1, help="decisions a score is averaged over")] = 3,
    alpha: Annotated[float, Option(help="the promised false-alarm rate")] = 0.1,
    human: Annotated[
        bool, Option(help="run one more rollout, in which a scripted human takes over")
    ] = False,
) -> None:
    """Watch a simulated robot and its policy: undisturbed, perturbed in three ways, and half done
    while success is claimed.
    """
    settings = DemoSettings(
        task, output, spawn, real_time_factor, seed, rule, scores, window, alpha, human
    )
    try:
        task_named(task)
        require_demo_data()
        timelines, takeover = run_demo(settings)
        missing = report_results(timelines, settings)
        missing += [] if takeover is None else report_takeover(takeover)
    except FailureMonitorError as error:
        _complain(f"failure-monitor demo: {error}")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        _complain("interrupted; the nodes are ended")
        raise SystemExit(130) from None
    if missing:
        for sentence in missing:
            _complain(sentence)
        raise SystemExit(1)
    progress.print("all of it as it should be", style="green")


def _complain(sentence: str) -> None:
    progress.print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the demo."""
    unwind_on_signals()
    # `ros2 launch` appends ROS arguments, which are for rclpy.
    run_alone(demo, remove_ros_args(sys.argv)[1:], prog="failure-monitor demo")


if __name__ == "__main__":
    main()
