# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A node for a program that has none."""

import pytest

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.node_in_thread import NodeInThread


@pytest.mark.parametrize("namespace", ["bad name", "roböt", "a//b", "1st"])
def test_what_is_no_namespace_is_refused_in_a_sentence(namespace):
    with pytest.raises(UsageError, match=rf"'{namespace}' is no namespace of a node \(Invalid"):
        NodeInThread("policy", namespace)
