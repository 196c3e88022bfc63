# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated robot and a flow-matching policy, to see the monitor at work."""
