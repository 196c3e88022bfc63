# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Outside judges of a finished rollout: what their numbers mean, and what they support."""
