# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m failure_monitor.demo` runs the demo."""

from failure_monitor.demo.director import main

main()
