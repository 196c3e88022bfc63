# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a bundle's promise still holds, and what it means in a week."""
