# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes commands as fast as it can."""

import time

import rclpy
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

rclpy.init()
node = Node("flood")
publisher = node.create_publisher(Float64MultiArray, "command_in", 1000)
while rclpy.ok():
    publisher.publish(Float64MultiArray(data=[time.time()]))
