# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The bundle: the folder that calibration writes and the monitor loads."""
