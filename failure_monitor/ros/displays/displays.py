# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""All that there is to see of the monitor: the markers, and the camera's picture with an overlay.

Nothing here is asked for a verdict, and nothing that goes wrong here reaches one: it is told in
the diagnostics.
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
from failure_monitor.ros.displays.heat_map import UnfamiliarityWorker
from failure_monitor.ros.displays.marker_publisher import MarkerPublisher
from failure_monitor.ros.displays.overlay import OverlayPublisher
from failure_monitor.ros.response.steering import Advice

if TYPE_CHECKING:
    from failure_monitor.policy_models.models import ObservationEncoder

HISTORY = 10.0
"""Seconds of the scores that are drawn as curves."""


def first_image_topic(cameras: Mapping[str, str], image_topics: Sequence[str]) -> str:
    """Of the cameras that an encoder sees, or that are named all the same; empty for none."""
    return next(filter(None, (*cameras.values(), *image_topics)), "")


class Displays:
    """`~/markers` and `~/overlay`."""

    def __init__(self, node: Node, status: Callable[[], AlarmStatus]) -> None:
        """Declare the parameters, and publish from now on, while somebody looks.

        Args:
            node: publishes.
            status: of the alarm, asked whenever something is drawn.

        Raises:
            UsageError: the node is given a value of another type or out of bounds.
        """
        self._status = status
        self._bundle: Bundle | None = None
        self._history = ScoreHistory(HISTORY)
        self._verdict: Verdict | None = None
        self._decision: Decision | None = None
        self._advice = Advice()
        self._unfamiliarity: UnfamiliarityWorker | None = None
        self._why_no_places = ""
        self._markers = MarkerPublisher(node, self._view)
        self._overlay = OverlayPublisher(node, self._view)

    def open(
        self, bundle: Bundle, image_topic: str = "", encoder: ObservationEncoder | None = None
    ) -> None:
        """Show a policy.

        Args:
            bundle: that watches it.
            image_topic: of the first camera that is looked at; empty for none.
            encoder: that embeds the camera's pictures; None if the policy embeds them itself.
        """
        self.close()
        self._bundle = bundle
        self._overlay.watch(image_topic)
        if encoder is not None and encoder.cameras:
            try:
                self._unfamiliarity = UnfamiliarityWorker(encoder, embedding_score(bundle.scores))
            except NoNoveltyError as error:
                self._why_no_places = str(error)

    def close(self) -> None:
        """Show no policy; end what works for it."""
        self.start_rollout()
        self._bundle = None
        self._why_no_places = ""
        self._overlay.watch("")
        if self._unfamiliarity is not None:
            self._unfamiliarity.stop()
        self._unfamiliarity = None

    def stop(self) -> None:
        """End the threads with the node."""
        self.close()
        self._overlay.stop()

    def start_rollout(self) -> None:
        """Forget the scores of the one before."""
        self._verdict = self._decision = None
        self._advice = Advice()
        self._history.clear()

    def show(
        self,
        verdict: Verdict,
        decision: Decision,
        seen: object = None,
        advice: Advice | None = None,
    ) -> None:
        """Take a decision and what was said of it; it is drawn when it is time.

        Args:
            verdict: on the decision.
            decision: that was judged.
            seen: the messages of cameras and joints that it was made of, if it was.
            advice: what the policy was told of it; None if nothing.
        """
        self._verdict, self._decision = verdict, decision
        self._advice = Advice() if advice is None else advice
        self._history.add(verdict, time.monotonic())
        if self._unfamiliarity is not None and isinstance(seen, MatchedMessages):
            self._unfamiliarity.see(seen, verdict, is_wanted=self._overlay.is_watched)

    def diagnose(self, *, name: str, hardware_id: str) -> DiagnosticStatus:
        """What cannot be seen, and why.

        Args:
            name: the node's name.
            hardware_id: the robot's or the policy's.
        """
        problems = {"markers": self._markers.problem(), "overlay": self._overlay.problem()}
        if self._unfamiliarity is not None:
            problems["unfamiliar_places"] = self._unfamiliarity.problem
        told = [problem for problem in problems.values() if problem]
        return DiagnosticStatus(
            level=DiagnosticStatus.WARN if told else DiagnosticStatus.OK,
            name=f"{name}: displays",
            message="; ".join(told) or "all there is can be seen",
            hardware_id=hardware_id,
            values=key_values({"unfamiliar_places": self._why_no_places} | problems),
        )

    def _view(self) -> MonitorView:
        worker = self._unfamiliarity
        return MonitorView(
            status=self._status(),
            history=self._history,
            policy=None if self._bundle is None else self._bundle.policy,
            verdict=self._verdict,
            decision=self._decision,
            chosen=self._advice.chosen,
            trusted=self._advice.trusted,
            unfamiliarity=None if worker is None else worker.latest(time.monotonic()),
        )
