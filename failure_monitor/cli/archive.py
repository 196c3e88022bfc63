# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor archive`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from failure_monitor.cli.app import app, output, plain_errors
from failure_monitor.cli.options import Reading, Sources, StatedActions, with_options
from failure_monitor.errors import UsageError

if TYPE_CHECKING:
    from failure_monitor.sources.rollouts import RolloutSet


@app.command()
@plain_errors
@with_options
def archive(
    sources: Sources,
    output_file: Annotated[
        Path, typer.Option("--output", help="the archive to write, an .npz file")
    ],
    reading: Reading,
    actions: StatedActions,
) -> None:
    """Put the rollouts of bags or FIPER folders into one file, a rollout archive."""
    from failure_monitor.sources.archive import write_archive

    if output_file.suffix != ".npz" or not output_file.parent.is_dir():
        raise UsageError(
            f"{output_file} cannot become an archive: name a file that ends in .npz, in a folder "
            "that exists"
        )
    rollout_set = reading.read(sources, **actions.stated)
    write_archive(output_file, rollout_set)
    output.print(_contents(rollout_set))
    size = output_file.stat().st_size
    output.print(f"wrote {output_file}, {size} bytes", soft_wrap=True, markup=False)


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
