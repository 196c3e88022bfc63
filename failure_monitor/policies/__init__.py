# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Policies as people run them, watched from within their own process: LeRobot's and openpi's."""
