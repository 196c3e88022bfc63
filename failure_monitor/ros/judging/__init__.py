# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The node that asks a model how rollouts ended: a process of its own, which may hang or die."""
