# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Incidents: what is kept in memory, when one begins, what is kept on disk."""
