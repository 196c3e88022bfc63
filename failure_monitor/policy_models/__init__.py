# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's exported ONNX models: contract, loading, inference and export."""
