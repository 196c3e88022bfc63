# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated robot and a flow-matching policy, to see the monitor at work."""

import ctypes.util
import os

# MuJoCo reads its OpenGL backend from the environment when it is first imported, so it is set
# here.
# OSMesa before EGL: it never touches a graphics card, so frames are equal on every machine.
if "MUJOCO_GL" not in os.environ:
    for _backend, _library in (("osmesa", "OSMesa"), ("egl", "EGL")):
        if ctypes.util.find_library(_library):
            os.environ["MUJOCO_GL"] = _backend
            break
