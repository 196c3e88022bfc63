# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One file per score; numpy, scipy and ONNX Runtime only."""
