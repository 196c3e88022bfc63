# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The state of the global random numbers, to draw the same ones again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class RandomState:
    """The state of the random numbers that a policy draws from, when this was made."""

    def __init__(self, policy: Any) -> None:
        devices = {parameter.device for parameter in policy.parameters()}
        self._states = _states(devices)
        self._devices = devices

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw the same random numbers again; afterwards all is as before."""
        now = _states(self._devices)
        _set(self._states)
        try:
            yield
        finally:
            _set(now)


def _states(devices: set[Any]) -> dict[Any, Any]:
    states: dict[Any, Any] = {None: torch.get_rng_state()}
    for device in devices:
        if device.type != "cpu":
            states[device] = _of(device).get_rng_state(device)
    return states


def _set(states: dict[Any, Any]) -> None:
    for device, state in states.items():
        if device is None:
            torch.set_rng_state(state)
        else:
            _of(device).set_rng_state(state, device)


def _of(device: Any) -> Any:
    return getattr(torch, device.type)
