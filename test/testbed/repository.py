# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where this repository lies."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
