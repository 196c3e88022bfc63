# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bags are decompressed with any of the packages that a version of rosbags brings."""

from __future__ import annotations

from pathlib import Path

import pytest
from testbed.bags import write_bag

from failure_monitor.missing_package import MissingPackageError
from failure_monitor.sources import zstd
from failure_monitor.sources.rollouts import read_rollouts


@pytest.fixture(params=["the package of Python or its backport", "zstandard"])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zstandard":
        zstandard = pytest.importorskip("zstandard")
        monkeypatch.setattr(zstd, "zstd", None)
        monkeypatch.setattr(zstd, "zstandard", zstandard)


FRAMES = bytes.fromhex("28b52ffd2003190000616263") + bytes.fromhex("28b52ffd2003190000646566")
"""abc and def, compressed one after the other."""


@pytest.mark.usefixtures("package")
def test_every_frame_is_decompressed_and_a_cut_one_is_an_error(tmp_path: Path) -> None:
    assert zstd.decompress(FRAMES) == b"abcdef"
    (tmp_path / "file").write_bytes(FRAMES)
    with zstd.open_compressed(tmp_path / "file") as stream:
        assert stream.read() == b"abcdef"
    with pytest.raises(Exception):  # noqa: B017, PT011 - each package has its own
        zstd.decompress(FRAMES[:-2])


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("mode", ["file", "message"])
def test_a_compressed_bag_is_read(tmp_path: Path, mode: str) -> None:
    plain = read_rollouts([write_bag(tmp_path / "plain" / "bag", 11)])
    packed = read_rollouts([write_bag(tmp_path / "packed" / "bag", 11, storage=f"mcap {mode}")])
    assert packed.rollouts[0].sha256 == plain.rollouts[0].sha256


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zstd, "zstd", None)
    monkeypatch.setattr(zstd, "zstandard", None)
    with pytest.raises(MissingPackageError, match=r"pip install backports\.zstd"):
        zstd.decompress(FRAMES)
