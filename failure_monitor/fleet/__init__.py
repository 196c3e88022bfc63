# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Many robots on one page: what their monitors kept, and which robot is unlike the others."""
