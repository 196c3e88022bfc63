# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Declares the compiled operators of torchvision where its wheel was built for another torch.

LeRobot imports torchvision, which fails without them; the tests use none.
"""

from __future__ import annotations

import os
from importlib.metadata import version

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, "
    "int pooled_width, int sampling_ratio, bool aligned) -> Tensor",
)

os.environ.setdefault("HF_HUB_OFFLINE", "1")

if "+cpu" in version("torch"):
    LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        LIBRARY.define(schema)
