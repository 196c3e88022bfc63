# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics node: what monitors publish, as text for Prometheus."""
