# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor export-lerobot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.decision import ActionKind
from failure_monitor.missing_package import require_package


def export_lerobot(
    checkpoint: Annotated[
        Path, Argument(metavar="CHECKPOINT", help="the folder 'pretrained_model' of a checkpoint")
    ],
    folder: Annotated[
        Path, Argument(metavar="FOLDER", help="where encoder.onnx and sampler.onnx are written")
    ],
    dataset: Annotated[
        Path | None,
        Option(
            help="the folder of the LeRobotDataset that it was trained on, which names joints and "
            "actions and states the rate",
        ),
    ] = None,
    joint_names: Annotated[
        str, Option(help="comma-separated joints, in the order of observation.state")
    ] = "",
    action_names: Annotated[str, Option(help="comma-separated actions, in order")] = "",
    control_period: Annotated[
        float | None, Option(help="seconds from an observation to the next", above=0.0)
    ] = None,
    task: Annotated[
        list[str] | None,
        Option(
            help="the text of a task that the policy is told, as rollouts state it (may be given "
            "more than once)"
        ),
    ] = None,
    action_kind: Annotated[
        str, Option(help="what an action means", choices=get_args(ActionKind))
    ] = "position",
    position_names: Annotated[
        str, Option(help="comma-separated actions that span positions; default: all")
    ] = "",
) -> None:
    """Export a LeRobot policy to the models that the monitor runs beside the robot."""
    for package in ("lerobot", "onnx"):
        require_package(package)
    from failure_monitor.policies.export_lerobot import export_lerobot as export

    written = export(
        checkpoint,
        folder,
        dataset=dataset,
        joint_names=_names(joint_names),
        action_names=_names(action_names),
        control_period=control_period,
        tasks=tuple(task or ()),
        action_kind=cast(ActionKind, action_kind),
        position_names=_names(position_names),
    )
    output.print(
        f"wrote {written.encoder} and {written.sampler}; their chunks differ from LeRobot's by at "
        f"most {written.difference:.1e}, with actions up to {written.largest:.3g}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())
