# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the stop menu: the actions that stop the policy, beyond the permit."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import NO_NAMES, check_choice, parameter, repeated

STOP_ACTION_KINDS = {
    "set_bool": "a std_srvs/SetBool service that stops",
    "trigger": "a std_srvs/Trigger service that stops",
    "lifecycle": "a lifecycle node to deactivate",
    "cancel_goals": "an action to cancel all goals of",
    "lock": "a std_msgs/Bool topic that locks, as twist_mux has them: true without a permit",
}


@dataclass(frozen=True)
class StopActionParameters:
    """One entry of the stop menu; `name` is that of the group."""

    name: str = ""
    kind: str = parameter("", "What the target is; it must be given.", choices=STOP_ACTION_KINDS)
    target: str = parameter("", "Name of the service, node, action or topic; it must be given.")
    timeout: float = parameter(
        1.0,
        "Seconds to wait for an answer before the next entry is tried.",
        bounds=(0.01, 60.0),
    )
    value: bool = parameter(
        True, "For set_bool: the value that stops. The opposite value resumes."
    )
    resume: str = parameter("", "For trigger: name of the Trigger service that resumes, if any.")

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by their names in the group."""
        of_kind = {"value": "set_bool", "resume": "trigger"}
        return {
            name: f"it is for 'kind' {kind}, not {self.kind}"
            for name, kind in of_kind.items()
            if self.kind != kind
        }

    def check(self) -> None:
        """Reject an entry of no known kind or without a target.

        Raises:
            UsageError: names the parameter.
        """
        check_choice(f"halt.{self.name}.kind", self.kind, STOP_ACTION_KINDS)
        if not self.target:
            raise UsageError(
                f"the parameter 'halt.{self.name}.target' is empty: name "
                f"{STOP_ACTION_KINDS[self.kind]}"
            )


@dataclass(frozen=True)
class StopMenuParameters:
    """The stop menu, in order."""

    halt_menu: tuple[str, ...] = parameter(
        NO_NAMES,
        "Names that you choose for the actions that stop the policy itself, in order; each has "
        "its own parameters under halt.<name>, as in config/halting.yaml. "
        '[""] stands for none.',
        is_optional=True,
    )
    actions: tuple[StopActionParameters, ...] = repeated(
        StopActionParameters, names="halt_menu", prefix="halt."
    )

    @property
    def idle(self) -> dict[str, str]:
        """Why parameters have no effect beside the others, by their full names."""
        return {
            f"halt.{one.name}.{name}": reason
            for one in self.actions
            for name, reason in one.idle.items()
        }
