# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Runtime failure prediction for learned robot policies."""

__version__ = "0.1.0"
