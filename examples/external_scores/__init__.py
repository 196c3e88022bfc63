# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Scores from outside: what another model says of a decision, or of a whole rollout."""
