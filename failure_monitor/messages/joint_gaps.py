# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Why what the joints did up to a decision is not known, as sentences for the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.joint_motion import JointMotion, is_of_kind
from failure_monitor.messages.joint_intervals import JointIntervals, JointTopic

MAX_NAMED = 6
"""Number of quantities that a reason names."""


def missing(needed: Sequence[str], topics: Mapping[str, JointTopic]) -> str:
    """Return which quantities no message has ever stated; empty if each was.

    Args:
        needed: the quantities that calibration had.
        topics: what came of each topic, by its full name.
    """
    stated = {quantity for topic in topics.values() for quantity in topic.quantities}
    lacking = [quantity for quantity in needed if quantity not in stated]
    if not lacking:
        return ""
    faults = [topic.fault for topic in topics.values() if topic.fault]
    others = sorted({name for topic in topics.values() for name in topic.joints} - _joints(needed))
    return (
        f"no message on {' or '.join(topics)} states the {_listed(lacking)}, which calibration "
        f"had{f'; other joints are {_cut(others)}' if others else ''}"
        f"{''.join(f'; {fault}' for fault in faults)}: publish the same joints with the same "
        "values, name their topics (joint_states_topic, more_joint_states_topics), or calibrate "
        "again"
    )


def broken(motion: JointMotion, intervals: JointIntervals) -> str:
    """Return which quantities of a decision are NaN or infinite; empty if none is."""
    is_broken = np.isnan(motion.means) & (intervals.counts > 0) & intervals.had_before
    is_broken |= np.isnan(motion.states) & intervals.are_known
    if not is_broken.any():
        return ""
    return f"the {_named(motion, is_broken)} is NaN or infinite: check the robot's driver"


def gaps(motion: JointMotion, intervals: JointIntervals) -> str:
    """Return of which quantities no value came for a decision; empty if all did."""
    if (np.isnan(motion.states)).any():
        return (
            f"no {_named(motion, np.isnan(motion.states))} has come with a stamp up to the "
            "decision's: stamp joint states by the clock of the observations"
        )
    if not intervals.had_before:
        return ""
    if (intervals.counts == 0).any():
        return (
            f"no {_named(motion, intervals.counts == 0)} has come with a stamp between those of "
            "the decision before and this one: joints are stated less often than the policy "
            "decides, late, no more, or by another clock"
        )
    efforts = np.array([is_of_kind(name, "effort") for name in motion.names], bool)
    if efforts.any() and not (motion.means[efforts].any() or motion.states[efforts].any()):
        return "all efforts are 0, as of a robot that measures none: check the robot's driver"
    return ""


def _joints(quantities: Sequence[str]) -> set[str]:
    return {quantity.rsplit("/", 1)[0] for quantity in quantities}


def _named(motion: JointMotion, which: NDArray[np.bool_]) -> str:
    return _listed([motion.names[index] for index in np.flatnonzero(which)])


def _listed(quantities: Sequence[str]) -> str:
    """Return quantities in words, those of one kind together."""
    kinds: dict[str, list[str]] = {}
    for quantity in quantities:
        joint, kind = quantity.rsplit("/", 1)
        kinds.setdefault(kind, []).append(joint)
    return " and the ".join(f"{kind} of {_cut(joints)}" for kind, joints in kinds.items())


def _cut(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
