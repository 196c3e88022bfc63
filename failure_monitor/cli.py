# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: results on standard output, progress and complaints on standard error."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from failure_monitor import __version__, bundle
from failure_monitor.conformal import RULES, THRESHOLD_KINDS, Rule, ThresholdKind
from failure_monitor.decision import ACTION_KINDS, ActionKind, PolicyFormat, Rollout
from failure_monitor.errors import FailureMonitorError, UsageError

if TYPE_CHECKING:
    from failure_monitor.sources.rollouts import RolloutSet
    from failure_monitor.sources.source import Topics

Arguments = ParamSpec("Arguments")

app = typer.Typer(
    help="Failure prediction for learned robot policies, with a promised false-alarm rate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
output = Console()
progress = Console(stderr=True)

FIPER_SCORES = ("rnd_oe", "ace")
"""What the rule `fiper` means: all of these."""

Sources = Annotated[
    list[Path],
    typer.Argument(
        help="rosbag2 folders, rollout archives (.npz), FIPER rollout folders, or folders of these"
    ),
]
EmbeddingTopic = Annotated[str, typer.Option(help="the topic of the policy's embeddings in bags")]
ChunksTopic = Annotated[str, typer.Option(help="the topic of its sampled action chunks in bags")]
StatedActionKind = Annotated[
    str, typer.Option(help=f"what an action means: {', '.join(ACTION_KINDS)}; for bags")
]
StatedPositionNames = Annotated[
    str, typer.Option(help="comma-separated actions that span positions; for bags; default: all")
]
StatedExecutedActions = Annotated[
    int | None,
    typer.Option(min=1, help="actions of a chunk executed before the next decision; for bags"),
]
StatedTask = Annotated[
    str, typer.Option(help="the task of all of these rollouts; default: what archives say")
]
SuccessTopic = Annotated[str, typer.Option(help="the topic of a rollout's outcome (Bool) in bags")]


class MissingExtraError(FailureMonitorError):
    """A Python package that only some commands need is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this command needs the Python package '{package}', which is not installed: "
            f"pip install 'failure_monitor[{extra}]'"
        )


def plain_errors(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """End a command with one sentence and its exit code instead of a traceback."""

    @wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FailureMonitorError as error:
            progress.print(f"failure-monitor: {error}", style="red", soft_wrap=True, markup=False)
            raise typer.Exit(error.exit_code) from None
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("failure_monitor"):
                raise
            missing = MissingExtraError(error.name or str(error), "calibrate")
            progress.print(f"failure-monitor: {missing}", style="red", soft_wrap=True, markup=False)
            raise typer.Exit(missing.exit_code) from None
        except KeyboardInterrupt:
            progress.print("interrupted; nothing was written", style="red")
            raise typer.Exit(130) from None

    return wrapped


@app.callback(invoke_without_command=True)
def start(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Failure prediction for learned robot policies, with a promised false-alarm rate."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=progress, show_time=False, show_path=False)],
    )
    if version:
        output.print(__version__)


@app.command()
@plain_errors
def calibrate(
    sources: Sources,
    output_folder: Annotated[
        Path, typer.Option("--output", help="the bundle to write, a folder for the monitor node")
    ],
    alpha: Annotated[
        float, typer.Option(help="the chance that a successful rollout ever raises an alarm")
    ] = 0.1,
    rule: Annotated[
        str, typer.Option(help=f"how scores combine: fiper, {', '.join(RULES)}")
    ] = "fiper",
    scores: Annotated[
        str, typer.Option(help="comma-separated names of the rule's scores")
    ] = ",".join(FIPER_SCORES),
    window: Annotated[
        int, typer.Option(min=1, help="over how many decisions a score is averaged")
    ] = 5,
    threshold: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(THRESHOLD_KINDS)} with the decision's number in its rollout"
        ),
    ] = "constant",
    folds: Annotated[int, typer.Option(min=2, help="parts for cross-fitting by rollout")] = 5,
    fit: Annotated[
        list[Path] | None,
        typer.Option(
            help="sources of other successful rollouts to fit the scores on (may be given more "
            "than once); without it the calibration rollouts are cross-fitted"
        ),
    ] = None,
    action_kind: StatedActionKind = "",
    position_names: StatedPositionNames = "",
    executed_actions: StatedExecutedActions = None,
    task: StatedTask = "",
    embedding_topic: EmbeddingTopic = "/policy/embedding",
    action_chunks_topic: ChunksTopic = "/policy/action_chunks",
    success_topic: SuccessTopic = "/rollout/success",
    seed: Annotated[int, typer.Option(help="of the folds and of the training")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="processes that fit at a time")] = 2,
) -> None:
    """Calibrate a rule on successful rollouts, and write the bundle that the monitor loads."""
    # Imported here, as in every command: help must not wait for what it does not need.
    from failure_monitor.calibrate import CalibrationSettings, choose
    from failure_monitor.calibrate import calibrate as calibrate_rule
    from failure_monitor.sources.rollouts import read_rollouts
    from failure_monitor.sources.source import Topics

    settings = CalibrationSettings(
        scores=_names(scores),
        rule=_rule(rule, _names(scores)),
        alpha=alpha,
        window=window,
        threshold=_threshold_kind(threshold),
        folds=folds,
        seed=seed,
        jobs=jobs,
    )
    topics = Topics(embedding_topic, action_chunks_topic, success_topic)
    rollout_set = read_rollouts(
        sources,
        topics,
        action_kind=_action_kind(action_kind),
        position_names=_names(position_names) or None,
        executed_actions=executed_actions,
        task=task or None,
    )
    chosen, remarks = choose(rollout_set.rollouts)
    fit_rollouts, fit_remarks = choose(_of_the_same_policy(fit or [], topics, rollout_set.policy))
    for remark in (*remarks, *(f"to fit on: {remark}" for remark in fit_remarks)):
        progress.print(remark, markup=False)
    calibrated = calibrate_rule(
        chosen,
        rollout_set.policy,
        settings,
        fit_rollouts=fit_rollouts,
        report=lambda step: progress.print(step),
    )
    bundle.save(calibrated, output_folder)
    output.print(_promise(calibrated))
    output.print(f"wrote {output_folder}", soft_wrap=True, markup=False)


@app.command()
@plain_errors
def evaluate(
    bundle_folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="a calibrated bundle")],
    sources: Sources,
    json: Annotated[Path | None, typer.Option(help="write the results here as JSON")] = None,
    task: StatedTask = "",
    embedding_topic: EmbeddingTopic = "/policy/embedding",
    action_chunks_topic: ChunksTopic = "/policy/action_chunks",
    success_topic: SuccessTopic = "/rollout/success",
) -> None:
    """Measure a bundle on rollouts with known outcomes."""
    from failure_monitor.evaluate import evaluate as measure
    from failure_monitor.evaluate import tables, write_json
    from failure_monitor.sources.rollouts import read_rollouts
    from failure_monitor.sources.source import Topics

    calibrated = bundle.load(bundle_folder)
    rollout_set = read_rollouts(
        sources,
        Topics(embedding_topic, action_chunks_topic, success_topic),
        action_kind=calibrated.policy.action_kind,
        position_names=calibrated.policy.position_names,
        executed_actions=calibrated.policy.executed_actions,
        task=task or None,
    )
    evaluation = measure(calibrated, rollout_set)
    if json is not None:
        write_json(evaluation, json)
    for table in tables(evaluation):
        output.print(table)


@app.command()
@plain_errors
def archive(
    sources: Sources,
    output_file: Annotated[
        Path, typer.Option("--output", help="the archive to write, an .npz file")
    ],
    action_kind: StatedActionKind = "",
    position_names: StatedPositionNames = "",
    executed_actions: StatedExecutedActions = None,
    task: StatedTask = "",
    embedding_topic: EmbeddingTopic = "/policy/embedding",
    action_chunks_topic: ChunksTopic = "/policy/action_chunks",
    success_topic: SuccessTopic = "/rollout/success",
) -> None:
    """Put the rollouts of bags or FIPER folders into one file, a rollout archive."""
    from failure_monitor.sources.archive import write_archive
    from failure_monitor.sources.rollouts import read_rollouts
    from failure_monitor.sources.source import Topics

    if output_file.suffix != ".npz" or not output_file.parent.is_dir():
        raise UsageError(
            f"{output_file} cannot become an archive: name a file that ends in .npz, in a folder "
            "that exists"
        )
    rollout_set = read_rollouts(
        sources,
        Topics(embedding_topic, action_chunks_topic, success_topic),
        action_kind=_action_kind(action_kind),
        position_names=_names(position_names) or None,
        executed_actions=executed_actions,
        task=task or None,
    )
    write_archive(output_file, rollout_set)
    output.print(_contents(rollout_set))
    size = output_file.stat().st_size
    output.print(f"wrote {output_file}, {size} bytes", soft_wrap=True, markup=False)


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
@plain_errors
def demo(context: typer.Context) -> None:
    """Watch a simulated robot and its policy, undisturbed and perturbed (--help for options)."""
    for package in ("rclpy", "metaworld", "matplotlib", "rosbags", "torch"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "demo")
    # A process of its own: the command line stays free of ROS.
    done = subprocess.run([sys.executable, "-m", "failure_monitor.demo", *context.args])
    raise typer.Exit(done.returncode)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _rule(rule: str, scores: Sequence[str]) -> Rule:
    if rule == "fiper":
        if set(scores) != set(FIPER_SCORES):
            raise UsageError(
                f"the rule 'fiper' is all of {', '.join(FIPER_SCORES)}; for the scores "
                f"{', '.join(scores)} choose the rule {', '.join(RULES)}"
            )
        return "all"
    for known in RULES:
        if rule == known:
            return known
    raise UsageError(f"there is no rule '{rule}': choose fiper, {', '.join(RULES)}")


def _threshold_kind(text: str) -> ThresholdKind:
    for known in THRESHOLD_KINDS:
        if text == known:
            return known
    raise UsageError(f"there is no threshold '{text}': choose {', '.join(THRESHOLD_KINDS)}")


def _of_the_same_policy(
    sources: Sequence[Path], topics: Topics, policy: PolicyFormat
) -> tuple[Rollout, ...]:
    """The rollouts of more sources; none of none."""
    from failure_monitor.sources.rollouts import SourceError, read_rollouts

    if not sources:
        return ()
    rollout_set = read_rollouts(
        sources,
        topics,
        action_kind=policy.action_kind,
        position_names=policy.position_names,
        executed_actions=policy.executed_actions,
    )
    if rollout_set.policy != policy:
        raise SourceError(
            f"the rollouts in {', '.join(map(str, sources))} are of another policy than those to "
            f"calibrate on ({rollout_set.policy} against {policy}): give rollouts of one policy"
        )
    return rollout_set.rollouts


def _action_kind(text: str) -> ActionKind | None:
    for known in ACTION_KINDS:
        if text == known:
            return known
    if text:
        raise UsageError(f"there is no action kind '{text}': choose {', '.join(ACTION_KINDS)}")
    return None


def _contents(rollout_set: RolloutSet) -> Table:
    policy, rollouts = rollout_set.policy, rollout_set.rollouts
    outcomes = [rollout.success for rollout in rollouts]
    table = Table(title="What this archive holds", show_header=False, title_justify="left")
    table.add_row(
        "rollouts",
        f"{len(rollouts)}: {outcomes.count(True)} succeeded, {outcomes.count(False)} failed, "
        f"{outcomes.count(None)} without an outcome",
    )
    tasks = sorted({rollout.task for rollout in rollouts} - {""})
    table.add_row("tasks", escape(", ".join(tasks)) or "nobody said")
    table.add_row("decisions", str(sum(len(rollout) for rollout in rollouts)))
    table.add_row("embeddings", f"{policy.embedding_size} numbers")
    table.add_row(
        "action chunks", "{} samples of {} actions with {} dimensions".format(*policy.chunk_shape)
    )
    positions = ", ".join(policy.action_names[index] for index in policy.position_indices)
    table.add_row("an action is", escape(f"a {policy.action_kind}; {positions} span positions"))
    executed = policy.executed_actions
    table.add_row(
        "executed", "nobody said" if executed is None else f"{executed} actions of a chunk"
    )
    return table


def _promise(calibrated: bundle.Bundle) -> Table:
    description = calibrated.description
    table = Table(title="What this bundle promises", show_header=False, title_justify="left")
    names = ", ".join(score.name for score in description.scores)
    table.add_row("rule", f"{description.rule} of {names}, window {description.window}")
    table.add_row(
        "promise",
        f"a successful rollout raises an alarm with a chance of at most {description.alpha:g}",
    )
    table.add_row(
        "", "it holds for successful rollouts like these: same robot, task, policy and set-up"
    )
    if description.threshold == "time-varying":
        table.add_row(
            "time", "thresholds vary over a rollout: call ~/start_rollout when one begins"
        )
    for promise in description.promises:
        _add_task(table, calibrated, promise)
    return table


def _add_task(table: Table, calibrated: bundle.Bundle, promise: bundle.PromiseSection) -> None:
    low, high = promise.false_alarm_interval_90
    if promise.task:
        table.add_section()
        table.add_row("task", escape(promise.task))
    table.add_row(
        "calibrated on",
        f"{promise.rollouts} rollouts{_fitted_on(calibrated.description)}; the threshold is number "
        f"{promise.rank} of their maxima, smallest first",
    )
    table.add_row(
        "small print",
        "the chance is over the draw of the calibration rollouts too: given these, the true rate "
        f"lies between {low:.3f} and {high:.3f} (90 %)",
    )
    table.add_row("smallest alpha", f"{promise.smallest_alpha:.3f} with this many rollouts")
    thresholds = np.atleast_2d(calibrated.threshold(promise.task).thresholds)
    for score, over_time in zip(calibrated.scores, thresholds.T, strict=True):
        table.add_row(f"threshold of {score.name}", _range(over_time))


def _range(over_time: NDArray[np.float64]) -> str:
    """A threshold, or from where to where it goes over the decisions of a rollout."""
    if len(over_time) == 1:
        return f"{over_time[0]:.4g}"
    return (
        f"{over_time.min():.4g} to {over_time.max():.4g} over {len(over_time)} decisions, "
        f"{over_time[-1]:.4g} from there on"
    )


def _fitted_on(description: bundle.BundleDescription) -> str:
    if description.fit:
        return f", with scores fitted on {len(description.fit)} others"
    return f", cross-fitted in {description.folds} folds"


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
