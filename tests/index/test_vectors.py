"""Exact vector search, float32 and int8, against numpy."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.index.centroids import encode_rows, list_bounds
from dtrag_core.index.ivf import IVFVectors
from dtrag_core.index.topk import merge
from dtrag_core.index.vectors import Float32Segments, SegmentVectors, VectorIndex, padded
from dtrag_core.optimization.memory_optimizer import EmbeddingQuantizer
from dtrag_core.types import FloatArray, Mask

EVERYTHING: Mask = np.zeros(0, np.bool_)
Make = Callable[[FloatArray], tuple[VectorIndex, FloatArray]]


def unit_rows(seed: int, rows: int, dimension: int = 32) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def one_segment(vectors: FloatArray, centroids: FloatArray) -> SegmentVectors:
    lists = np.zeros(len(vectors), np.int32)
    codes = encode_rows(vectors, lists, centroids)
    return SegmentVectors(codes, list_bounds(lists, 1), 0)


def float32(vectors: FloatArray) -> tuple[VectorIndex, FloatArray]:
    rows, dimension = vectors.shape
    stored = np.zeros((padded(rows), dimension), np.float32)
    stored[:rows] = vectors
    centroids = np.zeros((1, dimension), np.float32)
    return Float32Segments([one_segment(vectors, centroids)], [stored]), vectors


def int8(vectors: FloatArray) -> tuple[VectorIndex, FloatArray]:
    codes, scales = EmbeddingQuantizer().quantize_batch(vectors)
    centroids = np.zeros((1, vectors.shape[1]), np.float32)
    index = IVFVectors(centroids, [one_segment(vectors, centroids)], 1).exact()
    return index, codes.astype(np.float32) * scales[:, None]


@pytest.mark.parametrize("make", [float32, int8])
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), k=st.integers(1, 80))
def test_finds_the_nearest(make: Make, seed: int, rows: int, k: int) -> None:
    index, stored = make(unit_rows(seed, rows))
    query = unit_rows(seed + 1, 1)[0]
    found = index.search(query, k, EVERYTHING)
    products = stored.astype(np.float64) @ query
    assert len(found) == min(k, rows)
    # The query is coded as well, in 15 bits.
    np.testing.assert_allclose(found.scores, np.sort(products)[::-1][:k], atol=1e-4)
    np.testing.assert_allclose(found.scores, products[found.ids], atol=1e-4)
    np.testing.assert_allclose(index.scores(query, found.ids), found.scores, atol=1e-5)


@pytest.mark.parametrize("make", [float32, int8])
@pytest.mark.parametrize("masked", [False, True])
def test_shards_together_find_what_the_whole_finds(make: Make, masked: bool) -> None:
    vectors = unit_rows(5, 201)
    index, _ = make(vectors)
    mask = np.arange(201) % 3 > 0 if masked else EVERYTHING
    whole = index.search(vectors[7], 12, mask)
    for shards in (2, 3, 20):
        parts = [index.search_shard(vectors[7], 12, mask, each, shards) for each in range(shards)]
        merged = merge(parts, 12)
        assert merged.ids.tolist() == whole.ids.tolist()
        assert merged.scores.tolist() == whole.scores.tolist()


@pytest.mark.parametrize("make", [float32, int8])
def test_mask_restricts_the_search(make: Make) -> None:
    vectors = unit_rows(3, 50)
    index, stored = make(vectors)
    mask = np.zeros(50, np.bool_)
    mask[[7, 11, 13]] = True
    allowed = sorted([7, 11, 13], key=lambda row: -float(stored[row] @ vectors[11]))
    assert index.search(vectors[11], 2, mask).ids.tolist() == allowed[:2]
    assert index.search(vectors[11], 10, mask).ids.tolist() == allowed


@pytest.mark.parametrize("make", [float32, int8])
@pytest.mark.parametrize("rows", [7, 50, 101])
def test_equal_rows_come_in_order_of_their_ids(make: Make, rows: int) -> None:
    vectors = np.repeat(unit_rows(3, 1, 256), rows, axis=0)
    index, _ = make(vectors)
    found = index.search(vectors[0], 5, EVERYTHING)
    assert found.ids.tolist() == [0, 1, 2, 3, 4]
    everyone = np.arange(rows, dtype=np.int32)
    assert len(set(index.scores(vectors[0], everyone).tolist())) == 1
