# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The camera's compression: what the policy trains on is what it gets to see."""

import cv2
import numpy as np
import numpy.typing as npt

from failure_monitor.errors import FailureMonitorError

QUALITY = 80
"""JPEG quality of the camera, 0 to 100."""


def encode(image: npt.NDArray[np.uint8]) -> bytes:
    """Compress an RGB image (height, width, 3)."""
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return data.tobytes()


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Decompress to an RGB image (height, width, 3)."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FailureMonitorError(
            f"the camera's image of {len(data)} bytes is no JPEG: "
            "expected sensor_msgs/CompressedImage with format 'jpeg'."
        )
    return image
