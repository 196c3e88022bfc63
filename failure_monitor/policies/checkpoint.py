# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint a policy was loaded from: one number for its configuration and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from failure_monitor.errors import FailureMonitorError

CONFIGURATION = "config.json"

WEIGHTS = "*.safetensors"
"""The weights, and what the processors have learned."""

PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")

OF_PROCESSORS = ("policy_preprocessor", "policy_postprocessor")
"""What the names of the files begin with that processors have learned."""

ADAPTER = "adapter_config.json"


class CheckpointError(FailureMonitorError):
    """A folder that is no checkpoint of a LeRobot policy, or one that cannot be loaded."""


def checkpoint_hash(folder: Path | str) -> str:
    """Return the SHA-256 of a checkpoint, as hexadecimal.

    It is of the names and contents of the configuration, the weights and the processors. Where
    the folder lies, when it was copied and what else lies in it does not matter.

    Raises:
        CheckpointError: the folder is no checkpoint.
    """
    folder = checkpoint_folder(folder)
    whole = hashlib.sha256()
    for path in _files(folder):
        try:
            with path.open("rb") as file:
                content = _digest(file)
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read ({error.strerror}): copy the checkpoint again"
            ) from error
        whole.update(f"{path.name} {content}\n".encode())
    return whole.hexdigest()


def checkpoint_folder(folder: Path | str) -> Path:
    """Return the folder of a checkpoint: itself, or the `pretrained_model` in it.

    Raises:
        CheckpointError: it is none.
    """
    folder = Path(folder)
    if not (folder / CONFIGURATION).exists() and (folder / "pretrained_model").is_dir():
        folder = folder / "pretrained_model"
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is no folder: name that of a checkpoint, with {CONFIGURATION} and "
            "model.safetensors, such as outputs/train/NAME/checkpoints/last/pretrained_model"
        )
    kind_of(folder)
    if not any(_is_of_network(path) for path in folder.glob(WEIGHTS)):
        raise CheckpointError(
            f"{folder} has no weights (model.safetensors): name the folder that LeRobot saved, or "
            "copy the checkpoint again"
        )
    return folder


def kind_of(folder: Path) -> str:
    """Return the type of the policy of a checkpoint, such as `act`.

    Raises:
        CheckpointError: the folder holds none.
    """
    kind = _configuration(folder).get("type")
    if not isinstance(kind, str):
        raise CheckpointError(
            f"{folder / CONFIGURATION} does not state the type of the policy: it is not that "
            "of a LeRobot policy; name the folder that LeRobot saved"
        )
    return kind


def checkpoint_of(policy: Any) -> str:
    """Return the folder or the name on the hub that a policy was loaded from, if it states it."""
    return str(getattr(policy.config, "pretrained_path", None) or "")


def folder_of(where: Path | str) -> Path | None:
    """Return the folder of a checkpoint, for a name on the hub that in the cache; None without."""
    if not where:
        return None
    if Path(where).is_dir():
        return Path(where)
    try:
        hub = import_module("huggingface_hub")
        found = hub.try_to_load_from_cache(str(where), CONFIGURATION)
    except Exception:  # no name of the hub, or no huggingface_hub
        return None
    return Path(found).parent if isinstance(found, str) else None


def _configuration(folder: Path) -> dict[str, Any]:
    path = folder / CONFIGURATION
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): name the folder of a checkpoint, such as "
            "outputs/train/NAME/checkpoints/last/pretrained_model"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON ({error}): copy the checkpoint again") from error
    return content if isinstance(content, dict) else {}


def _is_of_network(path: Path) -> bool:
    return not path.name.startswith(OF_PROCESSORS)


def _files(folder: Path) -> Iterator[Path]:
    wanted = {CONFIGURATION, ADAPTER, *PROCESSORS}
    paths = {path for path in folder.iterdir() if path.name in wanted} | set(folder.glob(WEIGHTS))
    for path in sorted(paths, key=lambda path: path.name):
        # Left out, it would give checkpoints with other weights the same number.
        if not path.is_file() or path.stat().st_size == 0:
            raise CheckpointError(
                f"{path} is empty, or a link to nothing: copy the checkpoint again"
            )
        yield path


def _digest(file: BinaryIO) -> str:
    """Return the SHA-256 of a file that may be larger than the memory."""
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()
