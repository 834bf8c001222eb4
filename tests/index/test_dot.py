"""The products of a row with several queries at once are those of plain integer arithmetic."""

import os
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from dtrag_core.index.dot import dot, half_dot
from dtrag_core.index.halves import MIDDLE, in_halves, restore

Codes = NDArray[Any]


@numba.njit(nogil=True)
def one_at_a_time(codes: Codes, queries: Codes) -> NDArray[np.int32]:
    rows, size = np.int64(codes.ctypes.data), np.int64(codes.shape[1])
    products = np.empty((len(codes), len(queries)), np.int32)
    for row in range(len(codes)):
        for query in range(len(queries)):
            found = dot(rows + row * size, np.int64(queries.ctypes.data), (query,), size)
            products[row, query] = found[0]
    return products


@numba.njit(nogil=True)
def three_at_a_time(codes: Codes, queries: Codes) -> NDArray[np.int32]:
    rows, size = np.int64(codes.ctypes.data), np.int64(codes.shape[1])
    products = np.empty((len(codes), 3), np.int32)
    for row in range(len(codes)):
        found = dot(rows + row * size, np.int64(queries.ctypes.data), (2, 0, 1), size)
        for place in range(3):
            products[row, place] = found[place]
    return products


@numba.njit(nogil=True)
def halves_at_a_time(codes: Codes, queries: Codes) -> NDArray[np.int32]:
    rows, size = np.int64(codes.ctypes.data), np.int64(codes.shape[1])
    products = np.empty((len(codes), 4), np.int32)
    for row in range(len(codes)):
        address = rows + row * size
        found = half_dot(address, np.int64(queries.ctypes.data), (2, 0, 1), size)
        for place in range(3):
            products[row, place] = found[place]
        products[row, 3] = half_dot(address, np.int64(queries.ctypes.data), (1,), size)[0]
    return products


@numba.njit(nogil=True)
def restored(halves: Codes, codes: Codes) -> None:
    upper, lower = np.int64(halves[0].ctypes.data), np.int64(halves[1].ctypes.data)
    for row in range(len(codes)):
        at = row * halves.shape[2]
        restore(upper + at, lower + at, codes[row])


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


@pytest.mark.parametrize("width", [0, 1, 16, 31, 32, 33, 64, 100, 384])
def test_products_of_halves_are_exact(width: int) -> None:
    rng = np.random.default_rng(width)
    numbers = rng.integers(0, 16, (9, 2 * width)).astype(np.uint8)
    queries = rng.integers(-127, 128, (3, 2 * width)).astype(np.int8)
    numbers[0], queries[0], queries[1] = 15, 127, -127  # the largest sums there may be
    packed = numbers[:, :width] | (numbers[:, width:] << 4)
    exact = numbers.astype(np.int64) @ queries.astype(np.int64).T

    assert np.array_equal(halves_at_a_time(packed, queries), exact[:, [2, 0, 1, 1]])


def test_products_of_halves_are_exact_on_other_processors() -> None:
    plain = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    name = f"{__file__}::{test_products_of_halves_are_exact.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", name]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout


@pytest.mark.parametrize("dimension", [1, 2, 31, 32, 257])
def test_halves_restore_the_codes(dimension: int) -> None:
    codes = np.random.default_rng(dimension).integers(-127, 128, (40, dimension)).astype(np.int8)
    codes[0], codes[1] = 127, -127
    halves, lengths = in_halves(codes)
    assert halves.nbytes == 40 * ((dimension + 1) // 2) * 2
    rows = np.zeros((40, 2 * halves.shape[2]), np.int8)
    restored(halves, rows)
    assert np.array_equal(rows[:, :dimension], codes)

    left = (codes.view(np.uint8) & 15) - MIDDLE
    both = codes - left, left
    wanted = [np.linalg.norm(each, axis=1).max() for each in both]
    np.testing.assert_allclose(lengths, wanted, rtol=1e-5)
