# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the camera's picture with what the monitor thinks of it, while somebody looks.

All work is done on a thread of its own: neither the decoding of pictures nor the loading of
OpenCV may keep the heartbeat waiting. Without a subscriber there is no thread and no picture.
"""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from failure_monitor.errors import FailureMonitorError
from failure_monitor.missing_package import MissingPackageError
from failure_monitor.monitoring.score_history import levels
from failure_monitor.monitoring.view import MonitorView
from failure_monitor.parameters.displays import OverlayParameters
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.topic_name import COMPRESSED

OVERLAY_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Reliable, as most large pictures are lost otherwise; who subscribes may ask for less."""

PICTURES_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Any camera offers this, and the newest picture is enough."""

JPEG_QUALITY = 80

OLD = 2.0
"""Seconds after which a picture is none any more."""

PATIENCE = 1.0
"""Seconds that the thread may take to end."""


@dataclass(frozen=True, eq=False)
class _Frame:
    data: bytes
    received: float


@dataclass(frozen=True, eq=False)
class _Job:
    view: MonitorView
    frame: _Frame | None
    why_no_picture: str
    header: Header
    is_raw_wanted: bool
    is_compressed_wanted: bool


class OverlayPublisher:
    """`~/overlay` and `~/overlay/compressed`."""

    def __init__(self, node: Node, view: Callable[[], MonitorView]) -> None:
        """Declare the parameters, and publish from now on.

        Args:
            node: publishes.
            view: what there is to see, asked at every publication.

        Raises:
            UsageError: the node is given a value of another type, out of bounds, or no topic.
        """
        self._node = node
        self._view = view
        settings = load_parameters(node, OverlayParameters, prefix="overlay.")
        self._topic_wanted = settings.image_topic
        self._topic = self._topic_wanted
        self._subscription: Subscription | None = None
        self._frame: _Frame | None = None
        self._job: _Job | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ends = False
        self._fault = self._missing = ""
        self._raw = node.create_publisher(Image, "~/overlay", OVERLAY_QOS)
        self._compressed = node.create_publisher(
            CompressedImage, f"~/overlay{COMPRESSED}", OVERLAY_QOS
        )
        if settings.rate > 0 and self._load():
            # Steady: what is seen must not freeze with a clock that is simulated or stepped.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            node.create_timer(1 / settings.rate, self._on_tick, clock=steady)

    def _load(self) -> bool:
        """Load OpenCV now: later, while commands are permitted, it could take a permit's time."""
        try:
            import failure_monitor.display.overlay  # noqa: F401
        except ImportError as error:
            missing = MissingPackageError(error.name or str(error))
            self._missing = f"there is no ~/overlay: {missing}"
            return False
        return True

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks."""
        return any(one.get_subscription_count() > 0 for one in (self._raw, self._compressed))

    def watch(self, image_topic: str) -> None:
        """Draw upon this camera, unless the parameter names another; empty for none."""
        self._topic = self._topic_wanted or image_topic
        self._unsubscribe()

    def problem(self) -> str:
        """Why somebody who looks sees no picture; empty if there is one, or nobody looks."""
        return self._missing or (self._why_no_picture() if self.is_watched else "")

    def stop(self) -> None:
        """End the thread."""
        self._unsubscribe()
        with self._changed:
            self._ends = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def _on_tick(self) -> None:
        raw, compressed = (
            publisher.get_subscription_count() > 0 for publisher in (self._raw, self._compressed)
        )
        if not raw and not compressed:
            self._unsubscribe()
            return
        if self._subscription is None and self._topic:
            self._subscribe()
        job = _Job(
            view=self._view(),
            frame=self._frame,
            why_no_picture=self._why_no_picture(),
            header=Header(stamp=self._node.get_clock().now().to_msg()),
            is_raw_wanted=raw,
            is_compressed_wanted=compressed,
        )
        with self._changed:
            # The newest wins: a slow machine draws fewer, not later.
            self._job = job
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="overlay", daemon=True)
            self._thread.start()

    def _subscribe(self) -> None:
        kind = CompressedImage if self._topic.endswith(COMPRESSED) else Image
        # Bytes: of thirty pictures a second but a few are read.
        self._subscription = self._node.create_subscription(
            kind, self._topic, self._on_picture, PICTURES_QOS, raw=True
        )

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._frame = None
        self._fault = ""

    def _on_picture(self, data: bytes) -> None:
        self._frame = _Frame(data, time.monotonic())

    def _why_no_picture(self) -> str:
        if not self._topic:
            return "no camera is named: set 'overlay.image_topic' to see a picture here"
        if self._frame is None:
            return f"no picture has come on '{self._topic}'"
        age = time.monotonic() - self._frame.received
        return f"no picture on '{self._topic}' for {age:.0f} s" if age > OLD else self._fault

    # What follows runs on the thread.

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                self._draw(job)
            except Exception as error:
                # A picture is not worth the monitor.
                self._fault = f"the overlay cannot be drawn: {type(error).__name__}: {error}"

    def _next_job(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._job is not None or self._ends)
            job, self._job = self._job, None
            return None if self._ends else job

    def _draw(self, job: _Job) -> None:
        from failure_monitor.display.overlay import draw_overlay

        picture, why = self._picture(job)
        verdict = job.view.verdict
        overlay = draw_overlay(
            picture,
            job.view.status,
            {} if verdict is None else levels(verdict),
            why_no_picture=why,
            unfamiliarity=job.view.unfamiliarity,
        )
        if job.is_raw_wanted:
            self._raw.publish(_image(overlay, job.header))
        if job.is_compressed_wanted:
            self._compressed.publish(_compressed(overlay, job.header))

    def _picture(self, job: _Job) -> tuple[NDArray[np.uint8] | None, str]:
        """What the camera sees, or why it sees nothing."""
        if job.frame is None or time.monotonic() - job.frame.received > OLD:
            return None, job.why_no_picture
        from failure_monitor.messages.camera_image import image_size, read_camera_image

        kind = CompressedImage if self._topic.endswith(COMPRESSED) else Image
        try:
            message = deserialize_message(job.frame.data, kind)
            picture = read_camera_image(message, *image_size(message))
        except FailureMonitorError as error:
            self._fault = f"'{self._topic}': {error}"
            return None, self._fault
        except Exception:
            # rclpy raises whatever the middleware's plug-in does
            self._fault = f"a message on '{self._topic}' cannot be read"
            return None, self._fault
        self._fault = ""
        return picture, ""


def _image(picture: NDArray[np.uint8], header: Header) -> Image:
    height, width = picture.shape[:2]
    # array.array is taken as it is; rclpy would check bytes or a list value by value.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(picture).data.cast("B"))
    return Image(
        header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data
    )


def _compressed(picture: NDArray[np.uint8], header: Header) -> CompressedImage:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], quality)
    return CompressedImage(
        header=header, format="rgb8; jpeg compressed bgr8", data=array.array("B", encoded.tobytes())
    )
