# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor archive`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Option
from failure_monitor.cli.inspected_source import contents_table
from failure_monitor.cli.options import ActionOptions, Reading, Sources, named_topic
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.sources.addresses import file_sizes, located, shown

if TYPE_CHECKING:
    from failure_monitor.sources.reading_options import ReadingOptions
    from failure_monitor.sources.rollout_set import RolloutSet

ARCHIVE_SUFFIX = ".npz"
"""The end of an archive's name; any other is a store's."""


def archive(
    sources: Sources,
    reading: Reading,
    actions: ActionOptions,
    output_file: Annotated[
        Path | None,
        Option(
            "--output",
            help="the archive to write, an .npz file; any other name is a store of rollouts, to "
            "which is added what it does not hold yet",
            writes="file or folder",
        ),
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
    """Put rollouts into one file, a rollout archive, into a store, or into a LeRobotDataset."""
    output_file = None if output_file is None else located(output_file)
    _check(output_file, lerobot, camera, cameras)
    topics = {} if not cameras else dict(named_topic("--camera", text) for text in camera or ())
    # A LeRobotDataset has no place for them.
    options = reading.options if output_file is None else reading.options.with_tokens()
    if output_file is not None and output_file.suffix != ARCHIVE_SUFFIX:
        rollout_set = _add_to_store(output_file, sources, options, actions, lerobot is not None)
    else:
        rollout_set = options.read(sources, actions.stated, progress=shown_progress)
    if output_file is not None and output_file.suffix == ARCHIVE_SUFFIX:
        from failure_monitor.sources.archive import write_archive

        write_archive(output_file, rollout_set)
        output.print(contents_table(rollout_set, "What this archive holds"))
        size = sum(file_sizes(output_file).values())
        output.print(f"wrote {shown(output_file)}, {size} bytes", soft_wrap=True, markup=False)
    if lerobot is not None:
        from failure_monitor.sources.lerobot_export import write_lerobot_dataset

        write_lerobot_dataset(lerobot, rollout_set, topics if topics or not cameras else None)
        output.print(contents_table(rollout_set, "What this dataset holds"))
        output.print(f"wrote {lerobot}", soft_wrap=True, markup=False)


def _add_to_store(
    store: Path,
    sources: Sources,
    options: ReadingOptions,
    actions: ActionOptions,
    wants_numbers: bool,
) -> RolloutSet:
    """Add rollouts to a store; return them, with their numbers where these are wanted."""
    from failure_monitor.sources.agreed_policy import reject_contradiction
    from failure_monitor.sources.rollout_store import StoreWriter, first_part, is_store

    part = first_part(store) if is_store(store) else None
    stored = None if part is None else options.alone.read([part])
    writer = StoreWriter(store)

    def add(rollout_set: RolloutSet) -> None:
        if stored is not None:
            reject_contradiction(stored, rollout_set)
        writer.add(rollout_set)

    # Labels are checked against all rollouts before any is stored with one.
    if wants_numbers or options.labels is not None:
        rollout_set = options.read(sources, actions.stated, progress=shown_progress)
        add(rollout_set)
    else:
        try:
            rollout_set = options.read(sources, actions.stated, progress=shown_progress, take=add)
        except FailureMonitorError:
            # So that running this again, once that is put right, adds the rest alone.
            writer.close()
            raise
        except KeyboardInterrupt:
            if not writer.stored.rollouts:
                raise
            raise KeyboardInterrupt(
                f"{writer.stored.rollouts} rollouts are in {shown(store)}, to which running this "
                "again adds the rest"
            ) from None
    added = writer.close()
    output.print(contents_table(rollout_set, "What was archived"))
    output.print(
        f"wrote {added.rollouts} rollouts into {shown(store)}, in {added.parts} parts, "
        f"{added.size} bytes; {added.already} were there",
        soft_wrap=True,
        markup=False,
    )
    return rollout_set


def _check(
    output_file: Path | None, lerobot: Path | None, camera: list[str] | None, cameras: bool
) -> None:
    if output_file is None and lerobot is None:
        raise UsageError(
            "name what to write: an archive with '--output FILE.npz', a store of rollouts with "
            "'--output FOLDER', or a LeRobotDataset with '--lerobot FOLDER'"
        )
    if output_file is not None and output_file.suffix != ARCHIVE_SUFFIX:
        from failure_monitor.sources.rollout_store import reject_no_place

        reject_no_place(output_file)
    if camera and (lerobot is None or not cameras):
        raise UsageError("'--camera' is for '--lerobot' with cameras: leave it out")
    if lerobot is not None:
        from failure_monitor.sources.lerobot_export import reject_used_folder

        reject_used_folder(lerobot)
