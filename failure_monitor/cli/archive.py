# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor archive`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Option
from failure_monitor.cli.inspected_source import contents_table
from failure_monitor.cli.options import ActionOptions, Reading, Sources
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.errors import UsageError


def archive(
    sources: Sources,
    output_file: Annotated[
        Path, Option("--output", help="the archive to write, an .npz file", writes="file")
    ],
    reading: Reading,
    actions: ActionOptions,
) -> None:
    """Put the rollouts of bags or FIPER folders into one file, a rollout archive."""
    from failure_monitor.sources.archive import write_archive

    if output_file.suffix != ".npz":
        raise UsageError(f"{output_file} cannot become an archive: name a file that ends in .npz")
    rollout_set = reading.options.read(sources, actions.stated, progress=shown_progress)
    write_archive(output_file, rollout_set)
    output.print(contents_table(rollout_set, "What this archive holds"))
    size = output_file.stat().st_size
    output.print(f"wrote {output_file}, {size} bytes", soft_wrap=True, markup=False)
