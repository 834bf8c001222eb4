"""Exact vector search, float32 and int8, against numpy."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.index.vectors import Float32Vectors, Int8Vectors, VectorIndex, padded
from dtrag_core.optimization.memory_optimizer import EmbeddingQuantizer
from dtrag_core.types import FloatArray, Mask

EVERYTHING: Mask = np.zeros(0, np.bool_)
Make = Callable[[FloatArray], tuple[VectorIndex, FloatArray]]


def unit_rows(seed: int, rows: int, dimension: int = 32) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def float32(vectors: FloatArray) -> tuple[VectorIndex, FloatArray]:
    rows, dimension = vectors.shape
    stored = np.zeros((padded(rows), dimension), np.float32)
    stored[:rows] = vectors
    return Float32Vectors(stored, rows), vectors


def int8(vectors: FloatArray) -> tuple[VectorIndex, FloatArray]:
    codes, scales = EmbeddingQuantizer().quantize_batch(vectors)
    return Int8Vectors(codes, scales), codes.astype(np.float32) * scales[:, None]


@pytest.mark.parametrize("make", [float32, int8])
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), k=st.integers(1, 80))
def test_finds_the_nearest(make: Make, seed: int, rows: int, k: int) -> None:
    index, stored = make(unit_rows(seed, rows))
    query = unit_rows(seed + 1, 1)[0]
    found = index.search(query, k, EVERYTHING)
    products = stored.astype(np.float64) @ query
    assert len(found) == min(k, rows)
    np.testing.assert_allclose(found.scores, np.sort(products)[::-1][:k], atol=1e-5)
    np.testing.assert_allclose(found.scores, products[found.ids], atol=1e-5)
    np.testing.assert_allclose(index.scores(query, found.ids), found.scores, atol=1e-5)


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


def test_int8_is_a_quarter_of_float32_and_a_scale() -> None:
    vectors = unit_rows(0, 100, 256)
    assert float32(vectors)[0].nbytes == 100 * 256 * 4
    assert int8(vectors)[0].nbytes == 100 * (256 + 4)
