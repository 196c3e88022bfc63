# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor archive`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Option
from failure_monitor.cli.inspected_source import contents_table
from failure_monitor.cli.options import ActionOptions, Reading, Sources, named_topic
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.errors import UsageError


def archive(
    sources: Sources,
    reading: Reading,
    actions: ActionOptions,
    output_file: Annotated[
        Path | None, Option("--output", help="the archive to write, an .npz file", writes="file")
    ] = None,
    lerobot: Annotated[
        Path | None,
        Option(
            help="the LeRobotDataset to write instead, a new folder, with the cameras of bags",
            writes="folder",
        ),
    ] = None,
    camera: Annotated[
        list[str] | None,
        Option(
            help="for --lerobot, a camera and its topic, as NAME:=TOPIC; may be given more than "
            "once; default: all that every bag has"
        ),
    ] = None,
    cameras: Annotated[bool, Option(help="write the cameras of bags")] = True,
) -> None:
    """Put rollouts into one file, a rollout archive, or into a LeRobotDataset."""
    _check(output_file, lerobot, camera, cameras)
    topics = {} if not cameras else dict(named_topic("--camera", text) for text in camera or ())
    # A LeRobotDataset has no place for them.
    options = reading.options if output_file is None else reading.options.with_tokens()
    rollout_set = options.read(sources, actions.stated, progress=shown_progress)
    if output_file is not None:
        from failure_monitor.sources.archive import write_archive

        write_archive(output_file, rollout_set)
        output.print(contents_table(rollout_set, "What this archive holds"))
        size = output_file.stat().st_size
        output.print(f"wrote {output_file}, {size} bytes", soft_wrap=True, markup=False)
    if lerobot is not None:
        from failure_monitor.sources.lerobot_export import write_lerobot_dataset

        write_lerobot_dataset(lerobot, rollout_set, topics if topics or not cameras else None)
        output.print(contents_table(rollout_set, "What this dataset holds"))
        output.print(f"wrote {lerobot}", soft_wrap=True, markup=False)


def _check(
    output_file: Path | None, lerobot: Path | None, camera: list[str] | None, cameras: bool
) -> None:
    if output_file is None and lerobot is None:
        raise UsageError(
            "name what to write: an archive with '--output FILE.npz', or a LeRobotDataset with "
            "'--lerobot FOLDER'"
        )
    if output_file is not None and output_file.suffix != ".npz":
        raise UsageError(f"{output_file} cannot become an archive: name a file that ends in .npz")
    if camera and (lerobot is None or not cameras):
        raise UsageError("'--camera' is for '--lerobot' with cameras: leave it out")
    if lerobot is not None:
        from failure_monitor.sources.lerobot_export import reject_used_folder

        reject_used_folder(lerobot)
