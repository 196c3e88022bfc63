# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings and action chunks survive the wire, and nothing else passes for them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from failure_monitor.messages.point_cloud import (
    PointCloudError,
    read_action_chunks,
    read_embedding,
    read_tokens,
)
from failure_monitor.ros.common.messages import (
    action_chunks_message,
    embedding_message,
    tokens_message,
)

floats = st.floats(width=32, allow_nan=True)


def over_the_wire(message: PointCloud2) -> PointCloud2:
    return deserialize_message(serialize_message(message), PointCloud2)


@given(arrays(np.float32, st.integers(1, 50), elements=floats))
def test_an_embedding_comes_back_as_it_was(embedding):
    message = over_the_wire(embedding_message(embedding, Header()))
    np.testing.assert_array_equal(read_embedding(message), embedding)


@given(arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=floats))
def test_chunks_come_back_as_they_were_with_their_names(chunks):
    names = tuple(f"action_{index}" for index in range(chunks.shape[2]))
    message = over_the_wire(action_chunks_message(chunks, names, Header()))
    read_names, read = read_action_chunks(message)
    assert read_names == names
    np.testing.assert_array_equal(read, chunks)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=floats))
def test_tokens_come_back_as_they_were(tokens):
    message = over_the_wire(tokens_message(tokens, Header()))
    np.testing.assert_array_equal(read_tokens(message), tokens)
    with pytest.raises(PointCloudError, match="an embedding is a 1×1 cloud"):
        read_embedding(message)


def test_what_are_no_tokens_is_refused(embedding, chunks):
    for message in (embedding, chunks):
        with pytest.raises(PointCloudError, match="height 1 with one FLOAT32 field 'token'"):
            read_tokens(message)


def test_chunks_that_are_not_contiguous_in_memory_are_published_rightly():
    chunks = np.arange(24, dtype=np.float32).reshape(4, 3, 2)[::2]
    _, read = read_action_chunks(action_chunks_message(chunks, ["x", "y"], Header()))
    np.testing.assert_array_equal(read, chunks)


@pytest.fixture
def embedding():
    return embedding_message(np.ones(4, np.float32), Header())


@pytest.fixture
def chunks():
    return action_chunks_message(np.ones((2, 3, 2), np.float32), ["x", "y"], Header())


def test_truncated_data_are_refused(embedding, chunks):
    embedding.data = embedding.data[:-1]
    with pytest.raises(PointCloudError, match="truncated, padded or empty"):
        read_embedding(embedding)
    chunks.data = chunks.data[:-4]
    with pytest.raises(PointCloudError, match="2×3 cloud of 2 floats"):
        read_action_chunks(chunks)


def test_the_other_byte_order_is_refused(embedding):
    embedding.is_bigendian = True
    with pytest.raises(PointCloudError, match="byte order"):
        read_embedding(embedding)


def test_doubles_are_refused(chunks):
    chunks.fields[1].datatype = PointField.FLOAT64
    with pytest.raises(PointCloudError, match="y type 8 count 1"):
        read_action_chunks(chunks)


def test_fields_with_gaps_are_refused(chunks):
    chunks.fields[1].offset = 8
    with pytest.raises(PointCloudError, match="packed FLOAT32"):
        read_action_chunks(chunks)


def test_one_is_not_taken_for_the_other(embedding, chunks):
    with pytest.raises(PointCloudError, match="one FLOAT32 field 'embedding', got 2×3"):
        read_embedding(chunks)
    with pytest.raises(PointCloudError, match="embedding type 7 count 4"):
        read_action_chunks(embedding)


def test_an_empty_cloud_is_refused():
    with pytest.raises(PointCloudError, match="fields none"):
        read_action_chunks(PointCloud2())
    with pytest.raises(PointCloudError, match="fields none"):
        read_embedding(PointCloud2())


@given(
    height=st.integers(0, 2**32 - 1),
    width=st.integers(0, 2**32 - 1),
    point_step=st.integers(0, 2**32 - 1),
    row_step=st.integers(0, 2**32 - 1),
)
def test_no_header_makes_it_read_what_is_not_there(height, width, point_step, row_step):
    message = action_chunks_message(np.ones((2, 3, 2), np.float32), ["x", "y"], Header())
    message.height, message.width = height, width
    message.point_step, message.row_step = point_step, row_step
    try:
        _, read = read_action_chunks(message)
    except PointCloudError:
        return
    assert read.size == 12
