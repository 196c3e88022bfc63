# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All displays of the monitor: markers, and the camera's picture with an overlay.

They influence no verdict, and whatever goes wrong here shows only in the diagnostics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.decision import Decision, Verdict
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.monitoring.alarm import AlarmStatus
from failure_monitor.monitoring.score_history import ScoreHistory
from failure_monitor.monitoring.unfamiliarity import NoNoveltyError, embedding_score
from failure_monitor.monitoring.view import MonitorView
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.displays.heat_map import HeatMap
from failure_monitor.ros.displays.marker_publisher import MarkerPublisher
from failure_monitor.ros.displays.overlay import OverlayPublisher
from failure_monitor.ros.response.steering import Advice

if TYPE_CHECKING:
    from failure_monitor.policy_models.models import ObservationEncoder

HISTORY_SECONDS = 10.0
"""Seconds of scores that are drawn as curves."""


def first_image_topic(cameras: Mapping[str, str], image_topics: Sequence[str]) -> str:
    """Return the topic of the encoder's first camera, or else the first of `image_topics`."""
    return next(filter(None, (*cameras.values(), *image_topics)), "")


class Displays:
    """The publishers of `~/markers` and `~/overlay`, and what they show."""

    def __init__(self, node: Node, status: Callable[[], AlarmStatus]) -> None:
        """Declare the parameters, and start to publish while there are subscribers.

        Args:
            node: the node that publishes.
            status: returns the alarm's status; called whenever something is drawn.

        Raises:
            UsageError: a parameter has another type or is out of bounds.
        """
        self._status = status
        self._bundle: Bundle | None = None
        self._history = ScoreHistory(HISTORY_SECONDS)
        self._verdict: Verdict | None = None
        self._decision: Decision | None = None
        self._advice = Advice()
        self._heat_map: HeatMap | None = None
        self._why_no_heat_map = ""
        self._markers = MarkerPublisher(node, self._view)
        self._overlay = OverlayPublisher(node, self._view)

    def open(
        self, bundle: Bundle, image_topic: str = "", encoder: ObservationEncoder | None = None
    ) -> None:
        """Show a policy.

        Args:
            bundle: the bundle that watches it.
            image_topic: the topic of the camera to draw on; empty for none.
            encoder: embeds the camera's pictures; None if the policy embeds them itself.
        """
        self.close()
        self._bundle = bundle
        self._overlay.set_camera(image_topic)
        if encoder is not None and encoder.cameras:
            try:
                self._heat_map = HeatMap(encoder, embedding_score(bundle.scores))
            except NoNoveltyError as error:
                self._why_no_heat_map = str(error)

    def close(self) -> None:
        """Show no policy, and end the heat map."""
        self.start_rollout()
        self._bundle = None
        self._why_no_heat_map = ""
        self._overlay.set_camera("")
        if self._heat_map is not None:
            self._heat_map.stop()
        self._heat_map = None

    def stop(self) -> None:
        """End the threads with the node."""
        self.close()
        self._overlay.stop()

    def start_rollout(self) -> None:
        """Forget the scores of the previous rollout."""
        self._verdict = self._decision = None
        self._advice = Advice()
        self._history.clear()

    def show(
        self,
        verdict: Verdict,
        decision: Decision,
        observation: object = None,
        advice: Advice | None = None,
    ) -> None:
        """Receive a scored decision, to be drawn at the displays' own rate.

        Args:
            verdict: on the decision.
            decision: the decision.
            observation: the messages of cameras and joints that it was made from, if it was.
            advice: what was published about it; None for nothing.
        """
        self._verdict, self._decision = verdict, decision
        self._advice = Advice() if advice is None else advice
        self._history.add(verdict, time.monotonic())
        if self._heat_map is not None and isinstance(observation, MatchedMessages):
            self._heat_map.update(observation, verdict, is_wanted=self._overlay.has_subscriber)

    def diagnose(self, *, name: str, hardware_id: str) -> DiagnosticStatus:
        """Return what is not displayed, and why.

        Args:
            name: the node's name.
            hardware_id: the robot's or the policy's.
        """
        problems = {"markers": self._markers.problem(), "overlay": self._overlay.problem()}
        if self._heat_map is not None:
            problems["unfamiliar_places"] = self._heat_map.problem
        found = [problem for problem in problems.values() if problem]
        return DiagnosticStatus(
            level=DiagnosticStatus.WARN if found else DiagnosticStatus.OK,
            name=f"{name}: displays",
            message="; ".join(found) or "everything is displayed",
            hardware_id=hardware_id,
            values=key_values({"unfamiliar_places": self._why_no_heat_map} | problems),
        )

    def _view(self) -> MonitorView:
        heat_map = self._heat_map
        return MonitorView(
            status=self._status(),
            history=self._history,
            policy=None if self._bundle is None else self._bundle.policy,
            verdict=self._verdict,
            decision=self._decision,
            chosen=self._advice.chosen,
            trusted=self._advice.trusted,
            unfamiliarity=None if heat_map is None else heat_map.latest(time.monotonic()),
        )
