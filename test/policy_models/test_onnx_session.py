# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where a model runs is where it was asked to run, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
from testbed.exported_policy import edited

from failure_monitor.policy_models import onnx_session
from failure_monitor.policy_models.onnx_file import OnnxFile, read_onnx_file
from failure_monitor.policy_models.onnx_session import (
    OnnxSessionError,
    SessionSettings,
    installed_providers,
    open_session,
)

MISSING = next(name for name in ("cuda", "openvino") if name not in installed_providers())


@pytest.fixture
def file(exported: tuple[Path, Path]) -> OnnxFile:
    return read_onnx_file(exported[1])


def test_the_cpu_is_always_there_and_no_fallback(file: OnnxFile):
    assert "cpu" in installed_providers()
    opened = open_session(file, SessionSettings())
    assert (opened.provider, opened.fallback) == ("cpu", "")


def test_a_provider_that_is_not_installed_is_refused_with_what_is(file: OnnxFile):
    with pytest.raises(OnnxSessionError, match=rf"'{MISSING}' is not in the installed onnx.* cpu"):
        open_session(file, SessionSettings(providers=(MISSING,)))


def test_a_fallback_that_was_asked_for_is_reported(file: OnnxFile):
    opened = open_session(file, SessionSettings(providers=(MISSING, "cpu")))
    assert opened.provider == "cpu"
    assert f"'{MISSING}' is not in the installed onnxruntime" in opened.fallback
    assert opened.fallback.endswith("it runs on cpu instead")


def test_a_provider_that_is_installed_but_does_not_start_is_noticed(
    file: OnnxFile, monkeypatch: pytest.MonkeyPatch
):
    # ONNX Runtime itself goes on with the CPU, and tells nobody but its log.
    monkeypatch.setattr(onnx_session, "installed_providers", lambda: ("cpu", "cuda"))
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", cpu_only := CpuOnly(onnxruntime.InferenceSession)
    )
    with pytest.raises(OnnxSessionError, match="'cuda' is installed but did not start"):
        open_session(file, SessionSettings(providers=("cuda",)))
    assert cpu_only.asked == ["CUDAExecutionProvider"]
    opened = open_session(file, SessionSettings(providers=("cuda", "cpu")))
    assert (opened.provider, "did not start" in opened.fallback) == ("cpu", True)


class CpuOnly:
    """Makes sessions as on a machine whose GPU cannot be used."""

    def __init__(self, make: type) -> None:
        self._make = make
        self.asked: list[str] = []

    def __call__(self, model: bytes, options: object, providers: list[str]) -> object:
        self.asked += providers
        return self._make(model, options, providers=["CPUExecutionProvider"])


def test_an_unknown_provider_is_refused_with_the_known_ones():
    with pytest.raises(
        OnnxSessionError, match=r"no execution provider 'gpu': choose one of .*cuda"
    ):
        SessionSettings(providers=("gpu",))


@pytest.mark.parametrize(
    ("settings", "fault"), [({"threads": 0}, "0 threads"), ({"providers": ()}, "no execution")]
)
def test_settings_without_sense_are_refused(settings: dict, fault: str):
    with pytest.raises(OnnxSessionError, match=fault):
        SessionSettings(**settings)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_are_those_asked_for(file: OnnxFile, threads: int):
    options = open_session(file, SessionSettings(threads=threads)).session.get_session_options()
    assert options.intra_op_num_threads == threads


def test_an_opset_that_is_too_new_is_refused(exported: tuple[Path, Path]):
    def from_the_future(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 99

    with pytest.raises(OnnxSessionError, match=r"sampler\.onnx: onnxruntime .*opset.* 99"):
        open_session(edited(exported[1], from_the_future), SessionSettings())


def test_an_operator_that_does_not_exist_is_refused(exported: tuple[Path, Path]):
    def invent(model: onnx.ModelProto) -> None:
        model.graph.node[-1].op_type = "Guess"

    with pytest.raises(OnnxSessionError, match=r"sampler\.onnx: onnxruntime .*Guess"):
        open_session(edited(exported[1], invent), SessionSettings())
