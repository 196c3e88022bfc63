# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All displays of a monitor: markers, and the camera's picture with an overlay.

They show what the monitor has published, and nothing once it is silent.
"""

from __future__ import annotations

import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from failure_monitor.bundle.bundle import policy_format
from failure_monitor.bundle.camera_topics import camera_topics, first_camera_topic
from failure_monitor.bundle.folder import load, load_description
from failure_monitor.bundle.input_types import image_type
from failure_monitor.display.view import MonitorView
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.monitoring.alarm_values import AlarmReading
from failure_monitor.monitoring.score_history import ScoreHistory
from failure_monitor.monitoring.unfamiliarity import NoNoveltyError, embedding_score
from failure_monitor.parameters.displays import DisplaysParameters
from failure_monitor.parameters.parameter import named
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.displays.chunks_input import ChunksInput
from failure_monitor.ros.displays.heat_map import HeatMap
from failure_monitor.ros.displays.marker_publisher import MarkerPublisher
from failure_monitor.ros.displays.monitor_input import MonitorInput
from failure_monitor.ros.displays.observations import Observations
from failure_monitor.ros.displays.overlay import OverlayPublisher

HISTORY_SECONDS = 10.0
"""Seconds of scores that are drawn as curves."""

MATCHING_TOLERANCE = 0.05
"""Seconds by which frames and joints may lie apart, where the bundle does not say."""

UPDATE_PERIOD = 0.05
"""Seconds between two looks at what has come: no decision is left out of a curve."""


class Displays:
    """The publishers of a monitor's markers and overlay, and what they show."""

    def __init__(self, node: Node, settings: DisplaysParameters) -> None:
        """Subscribe, and start to publish while there are subscribers.

        Args:
            node: the node that subscribes and publishes.
            settings: what to show.

        Raises:
            UsageError: a parameter of markers or overlay has another type or is out of bounds.
        """
        self._node = node
        self._settings = settings
        self._monitor = MonitorInput(node, settings.monitor, settings.max_silence)
        self._chunks = ChunksInput(node, settings.monitor, settings.action_chunks_topic)
        self._history = ScoreHistory(HISTORY_SECONDS)
        self._decision: tuple[int | None, int | None] = None, None
        self._bundle = ""
        self._why_no_bundle = self._why_no_heat_map = ""
        self._only_task = ""
        self._heat_map: HeatMap | None = None
        self._observations: Observations | None = None
        self._markers = MarkerPublisher(node, f"{settings.monitor}/markers", self._view)
        self._overlay = OverlayPublisher(node, f"{settings.monitor}/overlay", self._view)
        self._overlay.set_camera(first_camera_topic(settings.image_topics), None)
        # Steady: nothing must freeze with a clock that is simulated or stepped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(UPDATE_PERIOD, self._update, clock=steady)

    def stop(self) -> None:
        """End the threads with the node."""
        self._close_heat_map()
        self._overlay.stop()

    def diagnose(self, *, name: str) -> DiagnosticStatus:
        """Return what is not displayed, and why.

        Args:
            name: the node's name.
        """
        problems = {
            "monitor": self._monitor.problem(),
            "bundle": self._why_no_bundle,
            "chunks": self._chunks.problem,
            "markers": self._markers.problem(),
            "overlay": self._overlay.problem(),
            "unfamiliar_places": self._why_no_heat_map,
        }
        if self._heat_map is not None:
            problems["unfamiliar_places"] = self._heat_map.problem
        found = [problem for problem in problems.values() if problem]
        return DiagnosticStatus(
            level=DiagnosticStatus.WARN if found else DiagnosticStatus.OK,
            name=f"{name}: displays",
            message="; ".join(found) or "everything is displayed",
            hardware_id=self._settings.hardware_id,
            values=key_values(problems),
        )

    def _update(self) -> None:
        """Take over what the monitor has published."""
        bundle = self._settings.bundle or self._monitor.bundle
        if bundle != self._bundle:
            self._open(bundle)
        reading = self._monitor.reading()
        decision = (None, None) if reading is None else (reading.decision, reading.stamp)
        if reading is None or decision == self._decision:
            return
        if self._starts_rollout(reading):
            self._history.clear()
            self._chunks.forget()
        self._decision = decision
        if reading.decision is not None and reading.stamp is not None:
            self._history.add(reading.levels, time.monotonic())
            self._compare(reading.decision, reading.stamp, reading)

    def _starts_rollout(self, reading: AlarmReading) -> bool:
        before, _ = self._decision
        return reading.decision is None or (before is not None and reading.decision < before)

    def _compare(self, decision: int, stamp: int, reading: AlarmReading) -> None:
        if self._heat_map is None or self._observations is None:
            return
        observation = self._observations.at(stamp)
        if observation is not None:
            self._heat_map.update(
                observation,
                decision,
                reading.levels,
                task=self._monitor.task or self._only_task,
                is_wanted=self._overlay.has_subscriber,
            )

    def _view(self) -> MonitorView:
        reading, heat_map = self._monitor.reading(), self._heat_map
        is_known = reading is not None and reading.decision is not None
        return MonitorView(
            text=self._monitor.text(),
            history=self._history,
            levels={} if reading is None else reading.levels,
            sampled=self._chunks.sampled() if is_known else None,
            unfamiliarity=(
                heat_map.latest(time.monotonic()) if is_known and heat_map is not None else None
            ),
        )

    # The bundle

    def _open(self, folder: str) -> None:
        """Show the policy of a bundle: without it, chunks have no meaning."""
        self._bundle = folder
        self._close_heat_map()
        self._why_no_bundle = self._why_no_heat_map = ""
        self._markers.policy = None
        try:
            description = load_description(folder)
        except FailureMonitorError as error:
            self._why_no_bundle = (
                f"chunks are not drawn: {error} (on another machine than the monitor's, set "
                "'bundle' to a copy)"
            )
            return
        self._markers.policy = policy_format(description)
        section = description.positions_topic
        self._chunks.set_positions_topic(
            None if section is None else PositionsTopic(**vars(section))
        )
        self._overlay.set_camera(
            first_camera_topic(self._settings.image_topics, description),
            description,
        )
        if self._overlay.is_heat_map_wanted:
            try:
                self._open_heat_map(folder)
            except (FailureMonitorError, ImportError) as error:
                self._why_no_heat_map = str(error)

    def _open_heat_map(self, folder: str) -> None:
        # Imported here: without a heat map there is neither OpenCV nor ONNX Runtime.
        from failure_monitor.policy_models.models import ObservationEncoder
        from failure_monitor.policy_models.onnx_file import read_onnx_file

        bundle, named_file = load(folder), self._settings.encoder
        file = read_onnx_file(Path(named_file)) if named_file else bundle.encoder
        if file is None:
            raise NoNoveltyError(
                "where the picture is unfamiliar cannot be shown: the bundle holds no encoder, as "
                "it was calibrated on what the policy published; set 'encoder'"
            )
        encoder = ObservationEncoder(file)
        topics = camera_topics(
            list(encoder.cameras), named(self._settings.image_topics), bundle.description
        )
        promises = bundle.description.promises
        self._only_task = promises[0].task if len(promises) == 1 else ""
        self._heat_map = HeatMap(encoder, embedding_score(bundle.scores))
        black_box = bundle.description.black_box
        self._observations = Observations(
            self._node,
            topics,
            {camera: image_type(topic, bundle.description) for camera, topic in topics.items()},
            self._settings.joint_states_topic if encoder.joint_names else "",
            MATCHING_TOLERANCE if black_box is None else black_box.matching_tolerance,
            encoder.history,
        )

    def _close_heat_map(self) -> None:
        if self._heat_map is not None:
            self._heat_map.stop()
        if self._observations is not None:
            self._observations.destroy()
        self._heat_map = self._observations = None
