# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle made again on newer rollouts, with its lineage and what that changes."""
