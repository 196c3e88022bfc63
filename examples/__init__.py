# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Examples that run from a checkout: `python -m examples.NAME`."""
