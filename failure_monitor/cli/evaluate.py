# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failure_monitor import bundle
from failure_monitor.cli.app import app, output, plain_errors
from failure_monitor.cli.options import (
    ChunksTopic,
    EmbeddingTopic,
    Sources,
    StatedTask,
    SuccessTopic,
)


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
