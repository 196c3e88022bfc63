# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime sessions: a model on an execution provider, with a number of threads.

An execution provider is ONNX Runtime's name for the hardware or library that computes, such as
`cpu`, `cuda`, `tensorrt` or `openvino`, depending on the installed package. Providers are named in
order of preference, and one of them must be available: `("cuda",)` is rejected without CUDA,
`("cuda", "cpu")` falls back to the CPU and reports why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnxruntime

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policy_models.onnx_file import OnnxFile

_PROVIDERS: dict[str, str] = {
    provider.removesuffix("ExecutionProvider").lower(): provider
    for provider in sorted(onnxruntime.get_all_providers())
}
"""ONNX Runtime's names of execution providers, by the names that users type."""

_PLACE = re.compile(r"\S*/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\) |\d+ : [A-Z_]+ : ")
"""A place in ONNX Runtime's source, or a code, as its messages hold them."""

_PACKAGES = {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu"}
"""The package of a provider, where it is not named onnxruntime-<provider>."""


class OnnxSessionError(FailureMonitorError):
    """A model that ONNX Runtime cannot load on any of the named execution providers."""


@dataclass(frozen=True)
class SessionSettings:
    """The settings of sessions.

    Attributes:
        providers: the names of execution providers in order of preference; a model must run on
            one of them.
        threads: the number of threads that compute one operator of a model on the CPU.
    """

    providers: tuple[str, ...] = ("cpu",)
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise OnnxSessionError(f"a model cannot run on {self.threads} threads: give 1 or more")
        if not self.providers:
            raise OnnxSessionError("no execution provider is named: give one, such as 'cpu'")
        for provider in self.providers:
            if provider not in _PROVIDERS:
                raise OnnxSessionError(
                    f"there is no execution provider '{provider}': choose one of "
                    f"{', '.join(_PROVIDERS)}"
                )


ON_THE_CPU = SessionSettings()
"""One thread on the CPU: best for single decisions of small models, and sparing of the robot's."""


@dataclass(frozen=True, eq=False)
class OnnxSession:
    """A model that is ready to run.

    Attributes:
        session: the session of ONNX Runtime.
        provider: the execution provider that it runs on.
        fallback: why this is not the preferred provider; empty if it is.
    """

    session: onnxruntime.InferenceSession
    provider: str
    fallback: str = ""


def installed_providers() -> tuple[str, ...]:
    """Return the names, as users type them, of the installed onnxruntime's execution providers."""
    available = onnxruntime.get_available_providers()
    return tuple(name for name, provider in _PROVIDERS.items() if provider in available)


def open_session(file: OnnxFile, settings: SessionSettings) -> OnnxSession:
    """Open a session on the first of the providers that is available.

    Raises:
        OnnxSessionError: ONNX Runtime cannot load the model, or no provider is available.
    """
    reasons: list[str] = []
    for provider in settings.providers:
        if provider not in installed_providers():
            reasons.append(_not_installed(provider))
            continue
        session = _load(file, provider, settings.threads)
        if session.get_providers()[0] == _PROVIDERS[provider]:
            fallback = f"{'; '.join(reasons)}: it runs on {provider} instead" if reasons else ""
            return OnnxSession(session, provider, f"{file.name}: {fallback}" if fallback else "")
        reasons.append(
            f"execution provider '{provider}' is installed but did not start (its libraries or "
            "its device are missing; ONNX Runtime's log names them)"
        )
    raise OnnxSessionError(
        f"{file.name}: {'; '.join(reasons)}: correct this, or name another provider, such as 'cpu'"
    )


def _load(file: OnnxFile, provider: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait for the next decision would occupy the robot's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        if file.weights:
            names, contents = list(file.weights), list(file.weights.values())
            options.add_external_initializers_from_files_in_memory(
                names, contents, [len(content) for content in contents]
            )
        return onnxruntime.InferenceSession(file.model, options, providers=[_PROVIDERS[provider]])
    except Exception as error:
        raise OnnxSessionError(
            f"{file.name}: onnxruntime {onnxruntime.__version__} cannot load this model "
            f"({reason_of(error)}): export it again, or install another version of onnxruntime"
        ) from None


def _not_installed(provider: str) -> str:
    package = _PACKAGES.get(provider, f"onnxruntime-{provider}")
    return (
        f"execution provider '{provider}' is not in the installed onnxruntime "
        f"{onnxruntime.__version__}, which has {', '.join(installed_providers())} "
        f"(the package {package} has it)"
    )


def reason_of(error: Exception) -> str:
    """Return ONNX Runtime's message without codes and places in its source."""
    text = _PLACE.sub("", " ".join(str(error).split()))
    return text.removeprefix("[ONNXRuntimeError] : ").rstrip(".") or type(error).__name__
