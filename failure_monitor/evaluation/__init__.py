# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Offline: from a bundle and labelled rollouts to figures."""
