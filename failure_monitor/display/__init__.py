# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How states, scores and chunks are shown in RViz, pictures and terminals."""
