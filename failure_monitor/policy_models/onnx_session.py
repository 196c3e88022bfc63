# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An ONNX model made ready to run: on which execution provider, on how many threads.

An execution provider is what ONNX Runtime calls the hardware or library that computes: `cpu`,
`cuda`, `tensorrt`, `openvino`, as the installed package has them. Providers are asked for in
order of preference. The last one is no preference but a must: `("cuda",)` refuses to run without
CUDA, `("cuda", "cpu")` runs on the CPU instead and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policy_models.onnx_file import OnnxFile

_PROVIDERS: dict[str, str] = {
    provider.removesuffix("ExecutionProvider").lower(): provider
    for provider in sorted(onnxruntime.get_all_providers())
}
"""What ONNX Runtime calls them, by the names to ask for them."""

_PACKAGES = {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu"}
"""The package that brings a provider, where it is not called onnxruntime-<provider>."""


class OnnxSessionError(FailureMonitorError):
    """A model that ONNX Runtime cannot load, or not on the execution provider asked for."""


@dataclass(frozen=True)
class SessionSettings:
    """How models are run.

    Attributes:
        providers: names of execution providers, the preferred one first; without `cpu` among
            them the model must run on one of the others.
        threads: how many threads compute one operator of a model on the CPU.
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
                    f"there is no execution provider '{provider}': choose of "
                    f"{', '.join(_PROVIDERS)}"
                )


ON_THE_CPU = SessionSettings()
"""One thread, which is best for a decision at a time of small models, and kind to the robot."""


@dataclass(frozen=True, eq=False)
class OnnxSession:
    """A model that is ready to run.

    Attributes:
        session: of ONNX Runtime.
        provider: the execution provider that it runs on.
        fallback: why it is not the preferred one; empty if it is.
    """

    session: onnxruntime.InferenceSession
    provider: str
    fallback: str = ""


def installed_providers() -> tuple[str, ...]:
    """The execution providers of the installed onnxruntime, by the names to ask for them."""
    available = onnxruntime.get_available_providers()
    return tuple(name for name, provider in _PROVIDERS.items() if provider in available)


def open_session(file: OnnxFile, settings: SessionSettings) -> OnnxSession:
    """Make a model ready to run on the first of the providers that can be had.

    Raises:
        OnnxSessionError: ONNX Runtime cannot load the model, or none of the providers is there.
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
            "its device are missing; ONNX Runtime's log says which)"
        )
    raise OnnxSessionError(
        f"{file.name}: {'; '.join(reasons)}: mend this, or name another provider, such as 'cpu'"
    )


def _load(file: OnnxFile, provider: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for the next decision by spinning would take the robot's cores.
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
            f"({_reason(error)}): export it again, or install another version of onnxruntime"
        ) from None


def _not_installed(provider: str) -> str:
    package = _PACKAGES.get(provider, f"onnxruntime-{provider}")
    return (
        f"execution provider '{provider}' is not in the installed onnxruntime "
        f"{onnxruntime.__version__}, which has {', '.join(installed_providers())} "
        f"(the package {package} brings it)"
    )


def _reason(error: Exception) -> str:
    """The last sentences of what ONNX Runtime says, without places in its source code."""
    text = " ".join(str(error).split())
    return text.rpartition("&) ")[2].rstrip(".") or type(error).__name__
