# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor check`."""

from __future__ import annotations

import json as json_format
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.text import Text

from failure_monitor.atomic_file import write_json
from failure_monitor.bundle import bundle as bundle
from failure_monitor.bundle import folder as bundle_files
from failure_monitor.cli.app import output, progress
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.cli.require_ros import NoListenerError, require_ros
from failure_monitor.display.appearance import (
    BLUISH_GREEN,
    VERMILLION,
    YELLOW,
    Colour,
    hexadecimal,
)
from failure_monitor.errors import UsageError
from failure_monitor.graph_check.expectation import TopicNames
from failure_monitor.graph_check.finding import Finding, Level
from failure_monitor.graph_check.inspection import inspect_graph
from failure_monitor.graph_check.snapshot import MONITOR_DEFAULTS, GraphSnapshot
from failure_monitor.schema import plain, read

LISTENER = "failure_monitor.ros.listening.graph_listener"
START = 30.0
"""Seconds that the listener may take to start, at most, on a busy machine."""

MIN_SECONDS = 3.0
"""It takes up to 2.5 s until all nodes of a graph are found."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
"""Of a topic or a namespace, without the first slash."""

NO_MONITOR = "Topics, where no monitor runs that could be asked for them"


@dataclass(frozen=True)
class Sign:
    """Style of each level; it never depends on colour alone.

    Attributes:
        glyph: in one character.
        letters: where a terminal has letters only.
        colour: of both.
    """

    glyph: str
    letters: str
    colour: Colour


SIGNS = {
    Level.OK: Sign("✔", "(ok)", BLUISH_GREEN),
    Level.ATTENTION: Sign("▲", "/!\\", YELLOW),
    Level.WRONG: Sign("✖", "[X]", VERMILLION),
}


def _topic(help: str) -> Option:
    return Option(help=help, panel=NO_MONITOR)


def check(
    bundle: Annotated[
        Path | None,
        Argument(metavar="[BUNDLE]", help="what the policy is compared with"),
    ] = None,
    namespace: Annotated[
        str, Option(help="of the monitors and gates to check; default: all")
    ] = "",
    seconds: Annotated[
        float,
        Option(min=MIN_SECONDS, max=600.0, help="seconds for which the graph is observed"),
    ] = 5.0,
    embedding_topic: Annotated[
        str, _topic("the policy's embeddings")
    ] = MONITOR_DEFAULTS.embedding_topic,
    action_chunks_topic: Annotated[
        str, _topic("its sampled action chunks")
    ] = MONITOR_DEFAULTS.action_chunks_topic,
    tokens_topic: Annotated[
        str, _topic("the tokens of its network, where the bundle needs them")
    ] = MONITOR_DEFAULTS.tokens_topic,
    format_topic: Annotated[
        str, _topic("what the policy states about itself")
    ] = MONITOR_DEFAULTS.format_topic,
    joint_states_topic: Annotated[
        str, _topic("the robot's joint states")
    ] = MONITOR_DEFAULTS.joint_states_topic,
    image_topic: Annotated[
        list[str] | None,
        _topic(
            "a camera of the encoder that the monitor is to run (may be given more than once); "
            "default: those that the bundle was calibrated on"
        ),
    ] = None,
    json: Annotated[
        Path | None, Option(help="write the findings here as JSON", writes="file")
    ] = None,
) -> None:
    """Check whether monitor, gate and policy of a live ROS graph fit together and fit a bundle."""
    require_ros()
    loaded = None if bundle is None else bundle_files.load(bundle)
    sha256 = None if bundle is None else bundle_files.content_hash(bundle)
    place = _place(namespace)
    names = _names(
        loaded,
        place,
        embedding=embedding_topic,
        action_chunks=action_chunks_topic,
        tokens=tokens_topic,
        format=format_topic,
        joint_states=joint_states_topic,
        cameras=image_topic or (),
    )
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    progress.print(f"listening to ROS domain {domain} for {seconds:g} s")
    seen = _listen(seconds, place or "/", names.all)
    findings = inspect_graph(seen, names, bundle=loaded, sha256=sha256)
    for finding in findings:
        output.print(_line(finding), soft_wrap=True)
    output.print(_summary(findings), soft_wrap=True, markup=False, highlight=False)
    if json is not None:
        write_json(json, _content(findings, seen))
    if any(finding.level is Level.WRONG for finding in findings):
        raise SystemExit(1)


def _place(namespace: str) -> str:
    """Return a namespace before a slash; empty for the root."""
    place = namespace.strip("/")
    if place and not NAME.fullmatch(place):
        raise UsageError(f"'{namespace}' is no namespace: write it like robot/left")
    return f"/{place}" if place else ""


def _names(
    bundle: bundle.Bundle | None,
    place: str,
    *,
    embedding: str,
    action_chunks: str,
    tokens: str,
    format: str,
    joint_states: str,
    cameras: Sequence[str],
) -> TopicNames:
    """Return the topics to inspect, without those that a bundle's own models replace."""
    black_box = None if bundle is None else bundle.description.black_box
    positions = None if bundle is None else bundle.description.positions_topic
    external = {} if bundle is None else bundle.external_topics
    joints = None if bundle is None else bundle.description.joints
    more_joints = () if joints is None else joints.topics[1:]
    runs_encoder = bool(cameras) or (black_box is not None and black_box.encoder is not None)
    runs_sampler = black_box is not None and black_box.sampler is not None
    if black_box is not None and not cameras:
        cameras = [*black_box.cameras.values()]
    return TopicNames(
        embedding="" if runs_encoder else _full(embedding, place),
        action_chunks="" if runs_sampler else _full(action_chunks, place),
        tokens=_full(tokens, place) if bundle is not None and bundle.needs_tokens else "",
        format=_full(format, place),
        joint_states=_full(joint_states, place),
        cameras=tuple(_full(topic, place) for topic in cameras),
        external={name: _full(topic, place) for name, topic in external.items()},
        more_joint_states=tuple(_full(topic, place) for topic in more_joints),
        commands=("", "")
        if bundle is None or joints is None or not joints.commands_topic
        else (
            _full(joints.commands_topic, place),
            bundle.description.message_types.get(joints.commands_topic, ""),
        ),
        positions=("", "")
        if positions is None
        else (_full(positions.name, place), positions.message_type),
    )


def _full(topic: str, place: str) -> str:
    if not NAME.fullmatch(topic.removeprefix("/")):
        raise UsageError(f"'{topic}' is no topic: write it like camera/image_raw")
    return topic if topic.startswith("/") else f"{place}/{topic}"


def _listen(seconds: float, namespace: str, topics: Sequence[str]) -> GraphSnapshot:
    # A process of its own: the command line stays free of ROS.
    command = [sys.executable, "-m", LISTENER, str(seconds), namespace, *topics]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds + START)
    except subprocess.TimeoutExpired:
        raise NoListenerError(
            f"what listens to ROS gave no answer in {seconds + START:g} s: the machine is "
            "overloaded, or the middleware hangs"
        ) from None
    if done.returncode or not done.stdout:
        raise NoListenerError.ended(done.returncode)
    try:
        return read(GraphSnapshot, json_format.loads(done.stdout))
    except ValueError as error:
        raise NoListenerError(
            f"what listens to ROS gave an answer that cannot be read ({error}): report this"
        ) from None


def _line(finding: Finding) -> Text:
    sign = SIGNS[finding.level]
    unicode = (output.encoding or "").lower().startswith("utf")
    style = hexadecimal(sign.colour)
    word = f"{sign.glyph if unicode else sign.letters} {finding.level.value:<5}"
    return Text.assemble((word, style), " ", (f"{finding.about}: ", "bold"), finding.message)


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    return (
        f"{counts[Level.WRONG]} wrong, {counts[Level.ATTENTION]} to look at, {counts[Level.OK]} ok"
    )


def _content(findings: Sequence[Finding], seen: GraphSnapshot) -> dict[str, Any]:
    return {
        "domain": seen.domain,
        "seconds": seen.seconds,
        "findings": [
            {"level": finding.level.value, "about": finding.about, "told": finding.message}
            for finding in findings
        ],
        "graph": plain(seen),
    }
