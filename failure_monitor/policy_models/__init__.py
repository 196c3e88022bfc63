# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's exported ONNX models: their contract, loading, running and export."""
