# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of every rollout that a monitor has watched, one line each."""
