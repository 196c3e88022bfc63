# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where work over many rollouts runs: in this process, in several, or on a cluster."""
