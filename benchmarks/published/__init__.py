# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of published_benchmark.py: methods, figures, tables, and shipped rollouts."""
