# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The reaction to an alarm: the stop sequence, and steering before an alarm."""
