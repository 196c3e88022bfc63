# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m failure_monitor.cli`."""

from failure_monitor.cli import main

main()
