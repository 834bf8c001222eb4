"""The products of a row with several queries at once are those of plain integer arithmetic."""

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from dtrag_core.index.dot import dot


@numba.njit(nogil=True)
def one_at_a_time(codes: NDArray[np.int8], queries: NDArray[np.int16]) -> NDArray[np.int32]:
    rows, size = np.int64(codes.ctypes.data), np.int64(codes.shape[1])
    products = np.empty((len(codes), len(queries)), np.int32)
    for row in range(len(codes)):
        for query in range(len(queries)):
            found = dot(rows + row * size, np.int64(queries.ctypes.data), (query,), size)
            products[row, query] = found[0]
    return products


@numba.njit(nogil=True)
def three_at_a_time(codes: NDArray[np.int8], queries: NDArray[np.int16]) -> NDArray[np.int32]:
    rows, size = np.int64(codes.ctypes.data), np.int64(codes.shape[1])
    products = np.empty((len(codes), 3), np.int32)
    for row in range(len(codes)):
        found = dot(rows + row * size, np.int64(queries.ctypes.data), (2, 0, 1), size)
        for place in range(3):
            products[row, place] = found[place]
    return products


@pytest.mark.parametrize("dimension", [0, 1, 15, 16, 17, 31, 48, 250, 256])
def test_products_are_exact(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    most = min(32_767, (2**31 - 1) // (127 * max(dimension, 1)))
    codes = rng.integers(-127, 128, (9, dimension)).astype(np.int8)
    queries = rng.integers(-most, most + 1, (3, dimension)).astype(np.int16)
    codes[0], queries[0] = 127, most  # the largest sum there may be
    codes[1], queries[1] = -127, most
    exact = codes.astype(np.int64) @ queries.astype(np.int64).T

    assert np.array_equal(one_at_a_time(codes, queries), exact)
    assert np.array_equal(three_at_a_time(codes, queries), exact[:, [2, 0, 1]])
