# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own ACT and Diffusion policies, trained, recorded, calibrated, perturbed, stopped."""
