"""Sums of rows of a table: NumPy takes ten times as long where each sum is of a few rows."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.types import FloatArray

# A half's exponent is biased by 15, a single's by 127.
_BIAS: Final = np.float32(2.0**112)


@numba.njit(cache=True, nogil=True)
def add_singles(table: FloatArray, rows: NDArray[np.int64], ends: NDArray[np.int64]) -> FloatArray:
    """Return float32[len(ends), d]: each the sum of rows of float32[n, d], from the end before."""
    sums = np.zeros((len(ends), table.shape[1]), np.float32)
    start = 0
    for which in range(len(ends)):
        for place in range(start, ends[which]):
            for column in range(table.shape[1]):
                sums[which, column] += table[rows[place], column]
        start = ends[which]
    return sums


@numba.njit(cache=True, nogil=True)
def add_halves(
    table: NDArray[np.uint16], rows: NDArray[np.int64], ends: NDArray[np.int64]
) -> FloatArray:
    """Return the same of a table of finite float16 numbers, given as their bits: uint16[n, d].

    Shifted to a single's places, a half's bits are its value but for the exponent's bias.
    """
    sums = np.zeros((len(ends), table.shape[1]), np.float32)
    bits = np.empty(table.shape[1], np.uint32)
    values = bits.view(np.float32)
    start = 0
    for which in range(len(ends)):
        for place in range(start, ends[which]):
            for column in range(table.shape[1]):
                half = np.uint32(table[rows[place], column])
                sign = (half & np.uint32(0x8000)) << np.uint32(16)
                bits[column] = sign | ((half & np.uint32(0x7FFF)) << np.uint32(13))
            for column in range(table.shape[1]):
                sums[which, column] += values[column] * _BIAS
        start = ends[which]
    return sums
