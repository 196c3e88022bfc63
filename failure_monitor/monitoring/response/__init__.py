# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is done about an alarm: halting in steps, and steering before it comes to that."""
