# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the camera's picture with the monitor's state and scores, while there are subscribers.

Pictures are decoded and drawn on a thread of its own, so that they do not delay the markers.
Without a subscriber there is no thread and no picture.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from failure_monitor.bundle.description import BundleDescription
from failure_monitor.bundle.input_types import COMPRESSED, COMPRESSED_IMAGE, image_type
from failure_monitor.display.view import MonitorView
from failure_monitor.errors import FailureMonitorError
from failure_monitor.missing_package import MissingPackageError
from failure_monitor.parameters.displays import OVERLAY, OverlayParameters
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.queue_worker import QueueWorker

OVERLAY_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Reliable, as most large pictures are lost otherwise; subscribers may ask for less."""

CAMERA_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Every camera offers best effort, and the newest picture is enough."""

JPEG_QUALITY = 80

MAX_PICTURE_AGE = 2.0
"""Seconds after which the camera's picture is no longer shown."""


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
    """The publisher of a monitor's overlay, raw and compressed."""

    def __init__(self, node: Node, topic: str, view: Callable[[], MonitorView]) -> None:
        """Declare the parameters, and start to publish.

        Args:
            node: the node that publishes.
            topic: the topic's name, to which `/compressed` is added.
            view: returns what to draw; called for every overlay.

        Raises:
            UsageError: a parameter has another type, is out of bounds, or names no valid topic.
        """
        self._node = node
        self._view = view
        settings = load_parameters(node, OverlayParameters, prefix=OVERLAY)
        self.is_heat_map_wanted = settings.heat_map
        """Whether to show where the picture is unfamiliar."""
        self._given_topic = settings.image_topic
        self._subscription: Subscription | None = None
        self._frame: _Frame | None = None
        self._fault = self._missing = ""
        self.set_camera("", None)
        self._worker = QueueWorker("overlay", self._draw, on_error=self._on_error)
        self._raw = node.create_publisher(Image, topic, OVERLAY_QOS)
        self._compressed = node.create_publisher(
            CompressedImage, f"{topic}{COMPRESSED}", OVERLAY_QOS
        )
        if settings.rate > 0 and self._load():
            # Steady: the overlay must not freeze with a clock that is simulated or stepped.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            node.create_timer(1 / settings.rate, self._on_tick, clock=steady)

    def _load(self) -> bool:
        """Load OpenCV and return whether it is there."""
        try:
            import failure_monitor.display.overlay  # noqa: F401
        except ImportError as error:
            missing = MissingPackageError(error.name or str(error))
            self._missing = f"there is no overlay: {missing}"
            return False
        return True

    @property
    def has_subscriber(self) -> bool:
        """Whether there is a subscriber."""
        return any(one.get_subscription_count() > 0 for one in (self._raw, self._compressed))

    def set_camera(self, image_topic: str, description: BundleDescription | None) -> None:
        """Draw on this camera's pictures unless the parameter names another; empty for none."""
        self._topic = self._given_topic or image_topic
        is_compressed = image_type(self._topic, description) == COMPRESSED_IMAGE
        self._kind = CompressedImage if is_compressed else Image
        self._unsubscribe()

    def problem(self) -> str:
        """Return why a subscriber sees no picture; empty if it does, or there is no subscriber."""
        return self._missing or (self._why_no_picture() if self.has_subscriber else "")

    def stop(self) -> None:
        """End the thread."""
        self._unsubscribe()
        self._worker.stop()

    def _on_tick(self) -> None:
        raw, compressed = (
            publisher.get_subscription_count() > 0 for publisher in (self._raw, self._compressed)
        )
        if not raw and not compressed:
            self._unsubscribe()
            return
        if self._subscription is None and self._topic:
            self._subscribe()
        # The newest wins: a slow machine draws fewer, not later.
        self._worker.submit(
            _Job(
                view=self._view(),
                frame=self._frame,
                why_no_picture=self._why_no_picture(),
                header=Header(stamp=self._node.get_clock().now().to_msg()),
                is_raw_wanted=raw,
                is_compressed_wanted=compressed,
            )
        )

    def _subscribe(self) -> None:
        # As bytes: only a few of thirty pictures a second are read.
        self._subscription = self._node.create_subscription(
            self._kind, self._topic, self._on_picture, CAMERA_QOS, raw=True
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
            return "no camera is known: set 'overlay.image_topic' to see a picture here"
        if self._frame is None:
            return f"no picture was received on '{self._topic}'"
        age = time.monotonic() - self._frame.received
        return (
            f"no picture on '{self._topic}' for {age:.0f} s"
            if age > MAX_PICTURE_AGE
            else self._fault
        )

    # What follows runs on the thread.

    def _on_error(self, error: Exception) -> None:
        # The markers go on without an overlay.
        self._fault = f"the overlay cannot be drawn: {type(error).__name__}: {error}"

    def _draw(self, job: _Job) -> None:
        from failure_monitor.display.overlay import draw_overlay

        picture, why = self._picture(job)
        overlay = draw_overlay(
            picture,
            job.view.text,
            job.view.levels,
            time_of_day=datetime.now().strftime("%H:%M:%S"),
            why_no_picture=why,
            unfamiliarity=job.view.unfamiliarity,
        )
        if job.is_raw_wanted:
            self._raw.publish(_image(overlay, job.header))
        if job.is_compressed_wanted:
            self._compressed.publish(_compressed(overlay, job.header))

    def _picture(self, job: _Job) -> tuple[NDArray[np.uint8] | None, str]:
        """Return the camera's picture, or why there is none."""
        if job.frame is None or time.monotonic() - job.frame.received > MAX_PICTURE_AGE:
            return None, job.why_no_picture
        from failure_monitor.messages.camera_image import image_size, read_camera_image

        try:
            message = deserialize_message(job.frame.data, self._kind)
            picture = read_camera_image(message, *image_size(message))
        except FailureMonitorError as error:
            self._fault = f"'{self._topic}': {error}"
            return None, self._fault
        except Exception:
            # rclpy raises whatever the middleware's plug-in does.
            self._fault = f"a message on '{self._topic}' cannot be read"
            return None, self._fault
        self._fault = ""
        return picture, ""


def _image(picture: NDArray[np.uint8], header: Header) -> Image:
    height, width = picture.shape[:2]
    # rclpy takes array.array as it is; it would check bytes or a list value by value.
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
        header=header,
        format="rgb8; jpeg compressed bgr8",
        data=array.array("B", encoded.tobytes()),
    )
