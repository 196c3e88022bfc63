# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How sources are read for a bundle: by what it holds of its models, their inputs and topics."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import BlackBoxSection
from failure_monitor.bundle.input_types import COMPRESSED
from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.parameters.topics import external_topic
from failure_monitor.policy_models.onnx_file import OnnxFile, read_onnx_file
from failure_monitor.sources.reading_options import ReadingOptions
from failure_monitor.sources.source import TOKENS, BlackBox, Topics


@contextmanager
def reading_for(bundle: Bundle, stated: ReadingOptions) -> Iterator[ReadingOptions]:
    """Yield options completed by what a bundle holds; its models lie in files meanwhile.

    Args:
        bundle: The bundle.
        stated: What the user states of how sources are read.

    Raises:
        UsageError: What is stated contradicts the bundle.
        OnnxFileError: A stated model cannot be read.
    """
    positions = bundle.description.positions_topic
    stated = replace(stated, black_box=_with_joints_topic(bundle, stated.black_box))
    topics = _completed_topics(bundle, stated.topics)
    measured = stated.measured_names
    if positions is not None and topics.positions == positions.name:
        measured = measured or positions.joints
    made = bundle.description.black_box
    if made is None:
        yield replace(stated, topics=topics, measured_names=measured)
        return
    black_box = _completed(bundle, made, stated.black_box)
    with tempfile.TemporaryDirectory() as folder:
        black_box = replace(
            black_box,
            encoder=_in_file(bundle.encoder, Path(folder), "encoder"),
            sampler=_in_file(bundle.sampler, Path(folder), "sampler"),
        )
        yield replace(stated, topics=topics, measured_names=measured, black_box=black_box)


def _completed_topics(bundle: Bundle, stated: Topics) -> Topics:
    positions, joints = bundle.description.positions_topic, bundle.description.joints
    return replace(
        stated,
        more_joints=stated.more_joints or (() if joints is None else joints.topics[1:]),
        commands=stated.commands or ("" if joints is None else joints.commands_topic),
        external={**_external_topics(bundle), **stated.external},
        positions=stated.positions or ("" if positions is None else positions.name),
        tokens=stated.tokens or (TOKENS if bundle.needs_tokens else ""),
    )


def _with_joints_topic(bundle: Bundle, stated: BlackBox) -> BlackBox:
    joints = bundle.description.joints
    if joints is None or not joints.topics or stated.joints != BlackBox.joints:
        return stated
    return replace(stated, joints=joints.topics[0])


def _external_topics(bundle: Bundle) -> dict[str, str]:
    """Return the topics of external scores in recordings: as in those of calibration."""
    usual = {name: f"/{external_topic(name)}" for name in bundle.external_topics}
    return {**usual, **bundle.description.external_topics}


def _completed(bundle: Bundle, made: BlackBoxSection, stated: BlackBox) -> BlackBox:
    """Return how the bundle's decisions were made, which what is stated must not contradict."""
    _reject_another_model("encoder", bundle.encoder, stated.encoder)
    _reject_another_model("sampler", bundle.sampler, stated.sampler)
    _reject_other_cameras(made.cameras, stated.cameras)
    rate = made.observation_rate or None
    samples = bundle.policy.samples
    for option, value, calibrated in (
        ("--samples", stated.samples, samples),
        ("--noise-seed", stated.seed, made.noise_seed),
        ("--decision-rate", stated.rate, rate),
        ("--stamp-tolerance", stated.tolerance, made.matching_tolerance),
    ):
        if value is not None and value != calibrated:
            was = "without it" if calibrated is None else f"with {calibrated:g}"
            raise UsageError(
                f"'{option} {value:g}' contradicts the bundle, which was calibrated {was}: leave "
                "the option out, or calibrate again"
            )
    return replace(
        stated,
        cameras=stated.cameras or made.cameras,
        samples=samples,
        seed=made.noise_seed,
        rate=rate,
        tolerance=made.matching_tolerance,
    )


def _reject_other_cameras(held: Mapping[str, str], stated: Mapping[str, str]) -> None:
    """Reject cameras that are not the bundle's; one may be recorded raw and compressed."""
    if not stated:
        return
    if set(stated) != set(held):
        raise UsageError(
            f"'--image-topic' names the cameras {list_names(sorted(stated))}, the bundle's "
            f"encoder takes {list_names(sorted(held)) or 'none'}: name these, or leave the option "
            "out"
        )
    for name, topic in stated.items():
        if topic.removesuffix(COMPRESSED) != held[name].removesuffix(COMPRESSED):
            raise UsageError(
                f"'--image-topic {name}:={topic}' is another camera than the bundle was "
                f"calibrated with ({held[name]}): leave the option out, or calibrate again"
            )


def _reject_another_model(kind: str, held: OnnxFile | None, stated: Path | None) -> None:
    if stated is None:
        return
    if held is None:
        raise UsageError(
            f"'--{kind} {stated}' contradicts the bundle, which holds no {kind}: its policy "
            "published what that would compute; leave the option out, or calibrate with it"
        )
    if read_onnx_file(stated).sha256 != held.sha256:
        raise UsageError(
            f"'--{kind} {stated}' is another {kind} than the bundle was calibrated with (its "
            "SHA-256 differs): leave the option out, as the bundle holds its own, or calibrate "
            "again"
        )


def _in_file(model: OnnxFile | None, folder: Path, kind: str) -> Path | None:
    """Write a model as it was calibrated with: other processes read it."""
    if model is None:
        return None
    path = folder / kind / f"{kind}.onnx"
    path.parent.mkdir()
    path.write_bytes(model.model)
    for name, weights in model.weights.items():
        beside = path.parent / name
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(weights)
    return path
