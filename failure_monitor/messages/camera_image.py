# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Camera messages to RGB images of the size that a model takes.

The reader accepts any object with the attributes of sensor_msgs/Image or CompressedImage, from
rclpy or from a bag reader. It imports no ROS.

An image is scaled first and brought into RGB order then: this costs less, and the result is the
same, as channels do not mix. An RGB image of the right size is not copied.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.jpeg import (
    JPEG_BEGIN,
    damage_is_told,
    decode_jpeg,
    decode_picture,
    jpeg_extent,
)

MAX_PIXELS = 64_000_000
"""Largest number of pixels of a compressed image, checked before memory is allocated for it."""

MAX_PIXELS_PER_BYTE = 1100
"""Largest number of pixels per byte of a compressed image: more than in a PNG of a single grey."""


class CameraImageError(FailureMonitorError):
    """A message without a readable image."""


@dataclass(frozen=True)
class _Encoding:
    """The layout of pixels in a sensor_msgs/Image.

    Attributes:
        channels: the number of bytes per pixel.
        to_rgb: the code of OpenCV's conversion; None for RGB.
        mixed: whether a pixel's colour depends on its neighbours' bytes, so that the image must be
            converted before it is scaled.
    """

    channels: int
    to_rgb: int | None
    mixed: bool = False


_ENCODINGS = {
    "rgb8": _Encoding(3, None),
    "bgr8": _Encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": _Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": _Encoding(1, cv2.COLOR_GRAY2RGB),
    # ROS names a mosaic after its first row, OpenCV after the second pixel of the second row.
    "bayer_rggb8": _Encoding(1, cv2.COLOR_BayerBG2RGB, mixed=True),
    "bayer_bggr8": _Encoding(1, cv2.COLOR_BayerRG2RGB, mixed=True),
    "bayer_gbrg8": _Encoding(1, cv2.COLOR_BayerGR2RGB, mixed=True),
    "bayer_grbg8": _Encoding(1, cv2.COLOR_BayerGB2RGB, mixed=True),
    "yuv422": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, mixed=True),
    "uyvy": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, mixed=True),
    "yuv422_yuy2": _Encoding(2, cv2.COLOR_YUV2RGB_YUY2, mixed=True),
    "yuyv": _Encoding(2, cv2.COLOR_YUV2RGB_YUY2, mixed=True),
}

ENCODINGS = tuple(_ENCODINGS)
"""Supported encodings of sensor_msgs/Image."""

_BGR = _Encoding(3, cv2.COLOR_BGR2RGB)

_DEPTH = re.compile(r"(16|32|64)[USF]C\d")
"""How the format of a compressed image begins whose pixels were numbers, and no colours."""

_PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = struct.Struct(">I4sIIB")
_PNG_CHUNK = struct.Struct(">I4s")
_PNG_CHECKSUM = 4


def read_camera_image(message: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return the image in a camera's message, RGB, uint8 (height, width, 3).

    An image of another size is scaled to this one, even if that changes its proportions: by the
    mean over an area if it shrinks, otherwise by interpolation. The result may be a view on the
    message's data. An orientation in the picture's EXIF data is ignored.

    Raises:
        CameraImageError: the image is empty, truncated, damaged, too large, or of an encoding that
            is not supported.
    """
    if hasattr(message, "encoding"):
        encoding, pixels = _view(message)
    else:
        encoding, pixels = _BGR, _decompress(message)
    if encoding.mixed:
        return _scale(_convert(pixels, encoding), height, width)
    return _convert(_scale(pixels, height, width), encoding)


def image_size(message: Any) -> tuple[int, int]:
    """Return the height and width that a camera's message states.

    Raises:
        CameraImageError: a compressed image is neither JPEG nor PNG, or is truncated.
    """
    if hasattr(message, "encoding"):
        return message.height, message.width
    data = memoryview(message.data).tobytes()
    height, width, _ = _extent(data, f"the compressed image of {len(data)} bytes")
    return height, width


def _view(message: Any) -> tuple[_Encoding, NDArray[np.uint8]]:
    """Return the bytes of a sensor_msgs/Image, (height, width, channels), without row padding."""
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise CameraImageError(
            f"the image's encoding is '{message.encoding}', expected one of "
            f"{', '.join(ENCODINGS)}: have the driver publish one of these, or convert the image"
        )
    height, width, step = message.height, message.width, message.step
    row = width * encoding.channels
    what = f"the image is {width}×{height} in {message.encoding}"
    if height == 0 or width == 0:
        raise CameraImageError(f"{what}: it is empty; check the camera's driver")
    if encoding.channels == 2 and width % 2:
        raise CameraImageError(
            f"{what}, in which two pixels share their colours, so its width must be even: check "
            "the camera's driver"
        )
    if step < row:
        raise CameraImageError(
            f"{what} and needs {row} bytes per row, its step is {step}: check the camera's driver"
        )
    if len(message.data) != step * height:
        raise CameraImageError(
            f"{what} with a step of {step} and should have {step * height} bytes, got "
            f"{len(message.data)}: it is truncated or padded; check the camera's driver"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)
    return encoding, rows[:, :row].reshape(height, width, encoding.channels)


def _decompress(message: Any) -> NDArray[np.uint8]:
    """Return the pixels of a sensor_msgs/CompressedImage, BGR, (height, width, 3)."""
    data = memoryview(message.data).tobytes()
    what = f"the compressed image of {len(data)} bytes and format '{message.format}'"
    if message.format.startswith("bayer_"):
        raise CameraImageError(
            f"{what} is a mosaic, whose colours are lost by compression: compress the image after "
            "debayering"
        )
    height, width, end = _extent(data, what)
    if _DEPTH.match(message.format):
        raise CameraImageError(
            f"{what} is made of a depth image, of whose numbers the compression kept 8 bits: name "
            "the topic of a colour camera"
        )
    largest = min(MAX_PIXELS, MAX_PIXELS_PER_BYTE * len(data))
    if not 0 < height * width <= largest:
        raise CameraImageError(
            f"{what} claims to be {width}×{height}, expected 1 to {largest} pixels: check the "
            "camera's driver"
        )
    if data.startswith(JPEG_BEGIN):
        if not damage_is_told():
            raise CameraImageError(
                f"{what} cannot be checked: OpenCV {cv2.__version__} does not tell when a JPEG is "
                "damaged; install another OpenCV, or have the driver publish PNG or raw images"
            )
        pixels, damage = decode_jpeg(data[:end])
    else:
        pixels, damage = decode_picture(data), ""
    if pixels is None or pixels.shape[:2] != (height, width):
        raise CameraImageError(
            f"{what} is damaged{damage and f' ({damage})'}: check the camera's driver, its cable "
            "and the network"
        )
    return pixels


def _extent(data: bytes, what: str) -> tuple[int, int, int]:
    """Return the height and width that a JPEG or PNG states, and where it ends.

    A decoder would fill missing pixels with grey, and allocate memory for any stated size.
    """
    if not data:
        raise CameraImageError(f"{what} is empty: check the camera's driver")
    if data.startswith(_PNG_BEGIN):
        found = _png_extent(data, what)
    elif data.startswith(JPEG_BEGIN):
        extent = jpeg_extent(data)
        found = None if extent is None else (extent.height, extent.width, extent.end)
    else:
        raise CameraImageError(
            f"{what} is neither JPEG nor PNG: have the driver publish one of these"
        )
    if found is None:
        raise CameraImageError(
            f"{what} is truncated or damaged: check the camera's driver, its cable and the network"
        )
    return found


def _png_extent(data: bytes, what: str) -> tuple[int, int, int] | None:
    if len(data) < len(_PNG_BEGIN) + _PNG_HEADER.size:
        return None
    _, _, width, height, depth = _PNG_HEADER.unpack_from(data, len(_PNG_BEGIN))
    if depth > 8:
        raise CameraImageError(
            f"{what} has {depth} bits per channel, expected 8: have the driver publish 8 bits"
        )
    at = len(_PNG_BEGIN)
    while at + _PNG_CHUNK.size + _PNG_CHECKSUM <= len(data):
        length, kind = _PNG_CHUNK.unpack_from(data, at)
        at += _PNG_CHUNK.size + length + _PNG_CHECKSUM
        if kind == b"IEND" and at <= len(data):
            return height, width, at
    return None


def _scale(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled: NDArray[np.uint8] = cv2.resize(pixels, (width, height), interpolation=method)
    return scaled


def _convert(pixels: NDArray[np.uint8], encoding: _Encoding) -> NDArray[np.uint8]:
    if encoding.to_rgb is None:
        return pixels
    rgb: NDArray[np.uint8] = cv2.cvtColor(pixels, encoding.to_rgb)
    return rgb
