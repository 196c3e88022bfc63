# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""By whom the outcomes of rollouts are known."""

from dataclasses import replace

import numpy as np
from testbed.synthetic import synthetic_rollout

from failure_monitor.outcome.known_outcomes import KnownOutcomes

ROLLOUT = synthetic_rollout(0)


def known(name: str, success: bool | None, by: str = "", claim: bool | None = None, **more):
    return replace(ROLLOUT, name=name, success=success, outcome_by=by, claim=claim, **more)


def test_who_says_so_is_counted_and_wrong_claims_are_named():
    human = np.ones(len(ROLLOUT), dtype=bool)
    outcomes = KnownOutcomes.of(
        [
            known("a", True, "claim", True),
            known("b", False, "operator", True),
            known("c", True, "labels", False),
            known("d", True, "labels", True),
            known("e", True),
            known("f", None),
            known("g", False, "claim", True, interventions=human),
        ]
    )
    assert outcomes.text == (
        "outcomes are known: 2 by labels, 1 by the operator, 1 as claimed, 1 by a human who "
        "intervened, 1 as their source states, 1 not at all, success was falsely claimed of 1 "
        "(b), failure was falsely claimed of 1 (c)"
    )
    assert outcomes.to_json()["rollouts"]["labels"] == 2
    assert outcomes.to_json()["false_successes"] == ["b"]
