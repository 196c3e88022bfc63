# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras' messages become RGB images of the size asked for, or errors that say what is wrong."""

from __future__ import annotations

import array
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failure_monitor.messages.camera_image import (
    ENCODINGS,
    CameraImageError,
    image_size,
    read_camera_image,
)

HEIGHT, WIDTH = 12, 16
SCENE = np.empty((HEIGHT, WIDTH, 3), np.uint8)
SCENE[:, :, 0] = np.linspace(40, 240, WIDTH)
SCENE[:, :, 1] = np.linspace(200, 20, HEIGHT)[:, np.newaxis]
SCENE[:, :, 2] = 90
"""RGB: redder to the right, greener to the top."""


def laid_out(encoding: str) -> np.ndarray:
    """The scene as a driver lays it out, (height, width, channels), made without OpenCV."""
    red, green, blue = (SCENE[:, :, channel] for channel in range(3))
    if encoding in ("rgb8", "bgr8", "rgba8", "bgra8"):
        planes = {"r": red, "g": green, "b": blue, "a": np.full_like(red, 255)}
        return np.stack([planes[letter] for letter in encoding[:-1]], axis=2)
    if encoding.startswith("bayer"):
        planes = {"r": red, "g": green, "b": blue}
        mosaic = np.empty((HEIGHT, WIDTH, 1), np.uint8)
        for index, letter in enumerate(encoding[6:10]):
            at = (slice(index // 2, None, 2), slice(index % 2, None, 2))
            mosaic[(*at, 0)] = planes[letter][at]
        return mosaic
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    if encoding == "mono8":
        return luma.round().astype(np.uint8)[:, :, np.newaxis]
    # BT.601 of limited range; a pair of pixels shares U and V.
    y = 16 + luma * 219 / 255
    u = 128 + (blue - luma) * 0.564 * 224 / 255
    v = 128 + (red - luma) * 0.713 * 224 / 255
    chroma = np.where(np.arange(WIDTH) % 2 == 0, u, v)
    pair = (y, chroma) if encoding in ("yuyv", "yuv422_yuy2") else (chroma, y)
    return np.stack(pair, axis=2).round().astype(np.uint8)


def image(
    encoding: str, pixels: np.ndarray, padding: int = 0, **changes: object
) -> SimpleNamespace:
    """A sensor_msgs/Image as rclpy gives it."""
    height, width, channels = pixels.shape
    rows = np.full((height, width * channels + padding), 7, np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, width * channels)
    content = {
        "encoding": encoding,
        "height": height,
        "width": width,
        "step": width * channels + padding,
        "is_bigendian": 0,
        "data": array.array("B", rows.tobytes()),
    }
    return SimpleNamespace(**(content | changes))


def compressed(data: bytes, kind: str = "jpeg") -> SimpleNamespace:
    """A sensor_msgs/CompressedImage as rclpy gives it."""
    return SimpleNamespace(format=kind, data=array.array("B", data))


def encode(extension: str, pixels: np.ndarray = SCENE[:, :, ::-1], *options: int) -> bytes:
    done, data = cv2.imencode(extension, pixels, options)
    assert done
    return data.tobytes()


JPEG = encode(".jpg", SCENE[:, :, ::-1], cv2.IMWRITE_JPEG_QUALITY, 100)
PNG = encode(".png")


# What is read


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_scene(encoding: str, padding: int):
    rgb = read_camera_image(image(encoding, laid_out(encoding), padding), HEIGHT, WIDTH)
    assert (rgb.shape, rgb.dtype) == (SCENE.shape, np.uint8)
    expected = np.repeat(laid_out(encoding), 3, axis=2) if encoding == "mono8" else SCENE
    # A mosaic or shared colours know a pixel's colours from its neighbours; at borders less so.
    exact = encoding in ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
    inner = slice(None) if exact else slice(2, -2)
    difference = np.abs(rgb[inner, inner].astype(int) - expected[inner, inner])
    assert difference.max() <= (0 if exact else 16)


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "bgra8", "mono8"])
def test_scaling_gives_the_same_in_whatever_order_the_channels_are(encoding: str):
    pixels = laid_out(encoding)
    grey = np.repeat(pixels, 3, axis=2) if encoding == "mono8" else SCENE
    expected = read_camera_image(image("rgb8", grey), 5, 7)
    np.testing.assert_array_equal(read_camera_image(image(encoding, pixels), 5, 7), expected)


def test_an_image_shrinks_to_the_mean_of_its_areas():
    rgb = read_camera_image(image("rgb8", SCENE), HEIGHT // 4, WIDTH // 4)
    means = SCENE.reshape(HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(1, 3))
    assert np.abs(rgb - means).max() <= 0.5


def test_an_image_grows_smoothly():
    rgb = read_camera_image(image("rgb8", SCENE), 3 * HEIGHT, 2 * WIDTH).astype(int)
    assert rgb.shape == (3 * HEIGHT, 2 * WIDTH, 3)
    assert (np.diff(rgb[:, :, 0], axis=1) >= 0).all()
    assert np.abs(np.diff(rgb[:, :, 0], axis=1)).max() <= 8


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 9),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_one_colour_stays_that_colour_at_any_size(height, width, padding, new_height, new_width):
    pixels = np.full((height, width, 3), (10, 20, 30), np.uint8)
    rgb = read_camera_image(image("bgr8", pixels, padding), new_height, new_width)
    assert rgb.shape == (new_height, new_width, 3)
    assert (rgb == (30, 20, 10)).all()


@given(st.sampled_from(ENCODINGS), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_every_encoding_is_read_at_every_size(encoding, height, width, new_size):
    channels = laid_out(encoding).shape[2]
    message = image(encoding, np.zeros((height, 2 * width, channels), np.uint8))
    rgb = read_camera_image(message, new_size, new_size)
    assert (rgb.shape, rgb.dtype) == ((new_size, new_size, 3), np.uint8)


def test_an_rgb_image_of_the_right_size_is_not_copied():
    message = image("rgb8", SCENE, padding=3)
    rgb = read_camera_image(message, HEIGHT, WIDTH)
    message.data[0] = 123
    assert rgb[0, 0, 0] == 123


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, "u1")]
)
def test_the_data_may_be_what_a_bag_reader_gives(kind):
    message = image("rgb8", SCENE, data=kind(SCENE.tobytes()))
    np.testing.assert_array_equal(read_camera_image(message, HEIGHT, WIDTH), SCENE)
    message = SimpleNamespace(format="png", data=kind(PNG))
    np.testing.assert_array_equal(read_camera_image(message, HEIGHT, WIDTH), SCENE)


def test_a_png_gives_the_scene():
    rgb = read_camera_image(compressed(PNG, "rgb8; png compressed bgr8"), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rgb, SCENE)


def test_a_jpeg_gives_the_scene_roughly():
    rgb = read_camera_image(compressed(JPEG, "bgr8; jpeg compressed bgr8"), HEIGHT, WIDTH)
    assert np.abs(rgb.astype(int) - SCENE).max() <= 12


def test_a_grey_picture_gives_grey():
    grey = laid_out("mono8")
    rgb = read_camera_image(compressed(encode(".png", grey), "mono8; png"), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rgb, np.repeat(grey, 3, axis=2))


def test_a_picture_with_transparency_gives_its_colours():
    pixels = np.dstack([SCENE[:, :, ::-1], np.full((HEIGHT, WIDTH), 99, np.uint8)])
    rgb = read_camera_image(compressed(encode(".png", pixels), "png"), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rgb, SCENE)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_a_large_picture_of_one_grey_is_read(extension: str):
    pixels = np.full((2000, 3000), 77, np.uint8)
    rgb = read_camera_image(compressed(encode(extension, pixels)), 2, 3)
    assert (rgb == 77).all()


@pytest.mark.parametrize(
    "behind",
    [bytes(100_000), b"\0\0\xff\xff", b"END OF FRAME\n", JPEG],
    ids=lambda behind: len(behind),
)
def test_a_picture_may_be_followed_by_the_rest_of_its_buffer(behind: bytes):
    for data in (JPEG, PNG):
        rgb = read_camera_image(compressed(data + behind), HEIGHT, WIDTH)
        np.testing.assert_array_equal(rgb, read_camera_image(compressed(data), HEIGHT, WIDTH))


def test_a_jpeg_filled_up_before_its_end_is_read():
    for filling in (b"\xff\xff", b"\0", bytes(4), b"\0\0\xff"):
        data = JPEG[:-2] + filling + JPEG[-2:]
        rgb = read_camera_image(compressed(data), HEIGHT, WIDTH)
        np.testing.assert_array_equal(rgb, read_camera_image(compressed(JPEG), HEIGHT, WIDTH))


def segment(marker: int) -> bytes:
    """A part of the JPEG, from its marker on."""
    at = JPEG.index(bytes([0xFF, marker]))
    return JPEG[at : at + 2 + int.from_bytes(JPEG[at + 2 : at + 4], "big")]


def test_a_jpeg_whose_tables_come_before_its_size_is_read():
    tables = segment(0xC4)
    data = JPEG.replace(tables, b"").replace(segment(0xC0), tables + segment(0xC0))
    assert data != JPEG
    assert image_size(compressed(data)) == (HEIGHT, WIDTH)
    rgb = read_camera_image(compressed(data), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rgb, read_camera_image(compressed(JPEG), HEIGHT, WIDTH))


def test_a_jpeg_with_filling_before_its_markers_is_read():
    data = JPEG.replace(segment(0xC0), b"\xff\xff\xff" + segment(0xC0))
    rgb = read_camera_image(compressed(data), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rgb, read_camera_image(compressed(JPEG), HEIGHT, WIDTH))


def test_a_pictures_note_on_how_to_turn_it_is_ignored():
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + bytes(4)
    exif = b"Exif\0\0" + tiff
    data = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + JPEG[2:]
    turned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert turned.shape == (WIDTH, HEIGHT, 3)
    rgb = read_camera_image(compressed(data), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rgb, read_camera_image(compressed(JPEG), HEIGHT, WIDTH))


# What is refused


@pytest.mark.parametrize("encoding", ["", "16UC1", "mono16", "32FC1", "8UC3", "rgb16", "nv21"])
def test_an_encoding_that_is_not_read_is_named_with_those_that_are(encoding: str):
    with pytest.raises(
        CameraImageError, match=f"encoding is '{encoding}', expected one of rgb8, "
    ):
        read_camera_image(image(encoding, SCENE), HEIGHT, WIDTH)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (0, 0, 3)])
def test_an_image_of_no_size_is_refused(shape: tuple[int, int, int]):
    with pytest.raises(CameraImageError, match=f"{shape[1]}×{shape[0]} in rgb8: it is empty"):
        read_camera_image(image("rgb8", np.empty(shape, np.uint8)), 4, 4)


def test_a_step_that_is_too_small_is_refused():
    with pytest.raises(CameraImageError, match="needs 48 bytes per row, its step is 47"):
        read_camera_image(image("rgb8", SCENE, step=47), HEIGHT, WIDTH)


@pytest.mark.parametrize("count", [0, 575, 577])
def test_data_of_another_length_are_refused(count: int):
    message = image("rgb8", SCENE, data=array.array("B", bytes(count)))
    with pytest.raises(CameraImageError, match=f"should have 576 bytes, got {count}"):
        read_camera_image(message, HEIGHT, WIDTH)


def test_an_odd_width_of_shared_colours_is_refused():
    with pytest.raises(CameraImageError, match=r"is 3×2 in yuyv, .* must be even"):
        read_camera_image(image("yuyv", np.zeros((2, 3, 2), np.uint8)), 2, 2)


@pytest.mark.parametrize(
    "data", [b"\0", b"no picture", b"GIF89a" + bytes(99), b"RIFF\0\0\0\0WEBP"]
)
def test_a_picture_of_another_kind_is_refused(data: bytes):
    with pytest.raises(CameraImageError, match=f"of {len(data)} bytes .* neither JPEG nor PNG"):
        read_camera_image(compressed(data), HEIGHT, WIDTH)


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from([JPEG, PNG]), st.data())
def test_a_picture_that_is_cut_off_is_refused(data, choose):
    cut = choose.draw(st.integers(0, len(data) - 1))
    with pytest.raises(CameraImageError, match=r"truncated|neither JPEG nor PNG|is empty"):
        read_camera_image(compressed(data[:cut]), HEIGHT, WIDTH)


def test_a_picture_whose_middle_is_cut_out_is_refused():
    for data in (JPEG, PNG):
        with pytest.raises(CameraImageError, match=r"is damaged|is truncated"):
            read_camera_image(compressed(data[:30] + data[-12:]), HEIGHT, WIDTH)


SAMPLING = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
KINDS = {
    "baseline": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "optimised": (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "restart intervals": (cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "4:4:4": (SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "4:2:2": (SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    "grey": (),
}


def camera_jpeg(kind: str) -> bytes:
    """A picture of 160×120 as a camera takes it, with noise on smooth surfaces."""
    rows, columns = np.mgrid[:120, :160]
    smooth = np.stack([rows + columns, 2 * rows, 255 - columns], axis=2)
    noise = np.random.default_rng(0).normal(0, 6, smooth.shape)
    pixels = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    return encode(".jpg", pixels[:, :, 0] if kind == "grey" else pixels, *KINDS[kind])


def middle(data: bytes) -> int:
    """A place in the first scan of a JPEG."""
    begin = data.index(b"\xff\xda")
    return begin + (len(data) - begin) // 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_jpeg_of_any_kind_is_read(kind: str):
    for behind in (b"", b"\0\0", b"more"):
        read_camera_image(compressed(camera_jpeg(kind) + behind), HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["bytes lost", "bytes added", "bytes changed"])
def test_a_jpeg_that_is_damaged_in_its_middle_is_refused(kind: str, damage: str, capfd):
    data = camera_jpeg(kind)
    at = middle(data)
    damaged = {
        "bytes lost": data[:at] + data[at + 600 :],
        "bytes added": data[:at] + b"\x55" * 300 + data[at:],
        "bytes changed": data[:at] + b"\x5a\xc3" * 200 + data[at + 400 :],
    }[damage]
    with pytest.raises(CameraImageError, match=r"format 'jpeg' is damaged \(.+\): check"):
        read_camera_image(compressed(damaged), HEIGHT, WIDTH)
    assert capfd.readouterr().err == ""


def test_many_bytes_that_a_jpeg_does_not_need_are_no_filling():
    for unused in (bytes(200), b"\x55\xaa" * 20):
        with pytest.raises(CameraImageError, match=r"damaged \(\d+ extraneous bytes"):
            read_camera_image(compressed(JPEG[:-2] + unused + JPEG[-2:]), HEIGHT, WIDTH)


def test_a_jpeg_is_refused_where_damage_could_not_be_told(monkeypatch):
    monkeypatch.setattr("failure_monitor.messages.camera_image.damage_is_told", lambda: False)
    with pytest.raises(CameraImageError, match=r"OpenCV .* does not tell when a JPEG is damaged"):
        read_camera_image(compressed(JPEG), HEIGHT, WIDTH)
    read_camera_image(compressed(PNG), HEIGHT, WIDTH)


@settings(deadline=None)
@given(st.sampled_from([JPEG, PNG]), st.integers(0, 2**32 - 1))
def test_a_damaged_picture_is_an_image_or_an_error(data, seed):
    random = np.random.default_rng(seed)
    damaged = np.frombuffer(data, np.uint8).copy()
    at = random.integers(len(data), size=5)
    damaged[at] = random.integers(256, size=5)
    try:
        rgb = read_camera_image(compressed(damaged.tobytes()), HEIGHT, WIDTH)
    except CameraImageError:
        return
    assert rgb.shape == SCENE.shape


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_of(width: int, height: int, depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_of(width: int, height: int) -> bytes:
    at = JPEG.index(b"\xff\xc0")
    return JPEG[: at + 5] + struct.pack(">HH", height, width) + JPEG[at + 9 :]


def with_comment(jpeg: bytes) -> bytes:
    """As long as a picture of that size might be."""
    return jpeg[:2] + b"\xff\xfe\xff\xff" + bytes(0xFFFD) + jpeg[2:]


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png_of(100_000, 100_000), "100000×100000"),
        (png_of(2**31 - 1, 1), "2147483647×1"),
        (png_of(0, 5), "0×5"),
        (jpeg_of(65_000, 65_000), "65000×65000"),
        (jpeg_of(9_000, 7_000), "9000×7000"),
        (with_comment(jpeg_of(9_000, 8_000)), "9000×8000"),
        (jpeg_of(0, 9), "0×9"),
    ],
)
def test_a_picture_that_claims_an_absurd_size_is_refused_before_it_is_decoded(
    data: bytes, size: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(CameraImageError, match=rf"claims to be {size}, expected 1 to \d+ pixels"):
        read_camera_image(compressed(data), HEIGHT, WIDTH)


@pytest.mark.parametrize("place", [b"IHDR", b"IDAT", b"IEND"])
def test_a_part_of_a_png_that_claims_more_than_there_is_is_refused_before_it_is_decoded(
    place: bytes, monkeypatch: pytest.MonkeyPatch
):
    # OpenCV sets memory aside for the part before it looks whether it is there: gigabytes.
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    at = PNG.index(place) - 4
    data = PNG[:at] + struct.pack(">I", 2**31 - 1) + PNG[at + 4 :]
    with pytest.raises(CameraImageError, match="truncated or damaged"):
        read_camera_image(compressed(data), HEIGHT, WIDTH)


def test_a_jpeg_with_two_sizes_is_not_read_by_its_first():
    frame = jpeg_of(4, 4)[JPEG.index(b"\xff\xc0") :][:19]
    data = JPEG[:2] + frame + JPEG[2:]
    with pytest.raises(CameraImageError, match=r"damaged"):
        read_camera_image(compressed(data), HEIGHT, WIDTH)


def test_16_bits_a_channel_are_refused():
    data = encode(".png", np.zeros((4, 4), np.uint16))
    with pytest.raises(CameraImageError, match="has 16 bits per channel, expected 8"):
        read_camera_image(compressed(data, "16UC1; png compressed "), 4, 4)


def test_a_compressed_mosaic_is_refused():
    data = encode(".png", laid_out("bayer_rggb8"))
    with pytest.raises(CameraImageError, match="is a mosaic"):
        read_camera_image(compressed(data, "bayer_rggb8; png compressed "), HEIGHT, WIDTH)


def test_a_jpeg_of_a_depth_image_is_refused():
    with pytest.raises(CameraImageError, match=r"depth image, of whose numbers .* kept 8 bits"):
        read_camera_image(compressed(JPEG, "16UC1; jpeg compressed "), HEIGHT, WIDTH)
    for sound in ("mono16; jpeg compressed mono8", "yuv422_yuy2; jpeg compressed mono8", ""):
        read_camera_image(compressed(JPEG, sound), HEIGHT, WIDTH)


def test_a_message_without_a_picture_is_called_empty():
    with pytest.raises(CameraImageError, match="of 0 bytes and format '' is empty"):
        read_camera_image(compressed(b"", ""), HEIGHT, WIDTH)


def test_compressed_depth_is_refused():
    with pytest.raises(CameraImageError, match="'32FC1; compressedDepth png' is neither JPEG nor"):
        read_camera_image(compressed(bytes(12) + PNG, "32FC1; compressedDepth png"), 4, 4)
