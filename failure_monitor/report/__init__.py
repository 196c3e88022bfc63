# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Offline: what was promised and what was measured, as one page that needs nothing else."""
