# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The options of `failure-monitor lerobot`, as one process hands them to the next."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """How the policy is watched, as in `LeRobotTap` and `guard_policy`.

    Attributes:
        samples: the number of chunks per decision; None for the class's own.
        every: control steps between decisions for watching; None for none.
        action_names: the names of the actions; empty to find them.
        dataset: folder of the dataset that names the actions; empty to find the names.
        control_period: seconds from one executed action to the next; None to find it.
        action_kind: the meaning of an action; empty to leave it open.
        rollout_topic: whether to publish `rollout/active`.
        namespace: of the ROS node.
        bundle: the bundle that guards the policy in its own process, without ROS; empty for ROS.
        task: the task for the bundle.
        on_alarm: what a guarded policy does while nothing is permitted.
        unwatched: whether a policy that cannot be watched may act.
    """

    samples: int | None = None
    every: int | None = None
    action_names: tuple[str, ...] = ()
    dataset: str = ""
    control_period: float | None = None
    action_kind: str = ""
    rollout_topic: bool = False
    namespace: str = ""
    bundle: str = ""
    task: str = ""
    on_alarm: str = "hold"
    unwatched: bool = False

    def to_json(self) -> str:
        """Return them as one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WatchOptions:
        """Read what `to_json` has made."""
        content = json.loads(text)
        return cls(**{**content, "action_names": tuple(content["action_names"])})
