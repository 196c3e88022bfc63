# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where sampled chunks lead, if they lead anywhere in space."""

from dataclasses import replace

import numpy as np
import pytest

from failure_monitor.decision import PolicyFormat
from failure_monitor.display.chunk_paths import (
    CartesianAxes,
    axes_among,
    check_axes,
    disagreement,
    paths,
)
from failure_monitor.display.view import SampledChunks
from failure_monitor.errors import UsageError

MOVES = PolicyFormat(4, 2, 3, ("grip", "dx", "dy", "dz"), "delta", ("dx", "dy", "dz"))
PLACES = replace(MOVES, action_kind="position")
AXES = CartesianAxes(("dx", "dy", "dz"), metres=0.5, start=(1.0, 0.0, 0.0))


def sampled(values: object, positions: object = None) -> SampledChunks:
    measured = None if positions is None else np.array(positions, np.float32)
    return SampledChunks(MOVES.action_names, np.array(values, np.float32), measured)


ONE_STEP_ALONG_X_THEN_Z = [[9, 2, 0, 0], [9, 0, 0, 4], [9, 0, 0, 0]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("dx", "dy", "dz", "gripper"), ("dx", "dy", "dz")),
        (("x", "y"), ("x", "y")),
        (("grip", "tcp.z", "tcp.y", "tcp.x"), ("tcp.x", "tcp.y", "tcp.z")),
        (("rx", "ry", "rz", "px", "py", "pz"), ("px", "py", "pz")),
        (("X", "Y", "Z", "rot_x", "rot_y", "rot_z"), ("X", "Y", "Z")),
        (("qx", "qy", "qz", "qw"), ()),
        (("shoulder", "elbow", "wrist"), ()),
        (("x", "z"), ()),
        ((), ()),
    ],
)
def test_axes_are_found_by_their_names(names, expected):
    assert axes_among(names) == expected


def test_deltas_add_up_from_the_start():
    [path] = paths(sampled([ONE_STEP_ALONG_X_THEN_Z]), MOVES, AXES)
    assert path.tolist() == [[1, 0, 0], [2, 0, 0], [2, 0, 2], [2, 0, 2]]


def test_deltas_add_up_from_where_the_robot_was_measured():
    [path] = paths(sampled([ONE_STEP_ALONG_X_THEN_Z], [10, 20, 30]), MOVES, AXES)
    assert path.tolist() == [[5, 10, 15], [6, 10, 15], [6, 10, 17], [6, 10, 17]]


def test_positions_are_taken_as_they_are():
    [path] = paths(sampled([ONE_STEP_ALONG_X_THEN_Z]), PLACES, AXES)
    assert path.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_two_axes_stay_on_the_ground():
    [path] = paths(sampled([ONE_STEP_ALONG_X_THEN_Z]), MOVES, replace(AXES, names=("dx", "dy")))
    assert (path[:, 2] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, 1e4])
def test_path_that_leads_nowhere_is_nan_and_spoils_no_other(bad):
    good = np.zeros((3, 4))
    spoilt = good.copy()
    spoilt[1, 2] = bad
    found = paths(sampled([good, spoilt]), MOVES, AXES)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[0]).all()
    apart = disagreement(found, 0.1)
    assert np.isnan(apart[1]).all()
    assert (apart[0] == 0).all()


def test_disagreement_is_the_distance_from_the_middle():
    chunks = np.zeros((3, 2, 4))
    chunks[0, :, 1] = 1.0
    found = paths(sampled(chunks), MOVES, AXES)
    apart = disagreement(found, 0.25)
    assert apart.tolist() == [[0, 2, 4], [0, 0, 0], [0, 0, 0]]


def test_no_path_at_all_is_no_error():
    found = paths(sampled(np.full((2, 3, 4), np.nan)), MOVES, AXES)
    assert np.isnan(disagreement(found, 0.1)).all()


def test_axes_that_are_no_actions_are_named():
    check_axes(("dx", "dy"), MOVES.action_names)
    with pytest.raises(
        UsageError, match="the axes dx, elbow are not two or three of the policy's"
    ):
        check_axes(("dx", "elbow"), MOVES.action_names)
    with pytest.raises(UsageError, match="not two or three"):
        check_axes(("dx",), MOVES.action_names)
