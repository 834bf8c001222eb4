"""Queries as kernels of int8 lists need them: coded, and what they have in common with each list.

A query is coded with as many bits (at most 15 and a sign) as let its sum with a row stay within
int32: these sums give the scores. It is coded in 8 bits too, for a first look at the upper halves
of rows (see `halves`).
"""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import Address
from dtrag_core.index.dot import dot
from dtrag_core.index.halves import MIDDLE, half_width, most_left
from dtrag_core.types import FloatArray

_INT8_MAX: Final = 127
# Far more than sums and products in float32 are off by, relative to the lengths of what they sum.
_ROUNDING: Final = 1e-5
# Beyond it sums in float32 may overflow: then nothing is told from upper halves.
_HUGE: Final = 1e30

Int8Array = NDArray[np.int8]
Centroids = tuple[Int8Array, FloatArray, FloatArray]
"""int8[lists, d] codes, float32[lists] scales, float32[lists] the size of a list's residuals."""


class Queries(NamedTuple):
    """n coded queries.

    codes: int16[n, 2 * h]; times `scales` float32[n] they are the queries. rough: int8[n, 2 * h].
    limits: float32[n, 2], slope and offset: for a row whose upper half has the product p with
    `rough`, slope * p + offset is at least its product with the query, in steps of the row.
    """

    codes: NDArray[np.int16]
    scales: FloatArray
    rough: Int8Array
    limits: FloatArray


@numba.njit(cache=True, nogil=True)
def encode_query(vector: FloatArray) -> tuple[NDArray[np.int16], np.float32]:
    """Return int16[d] codes and their scale."""
    codes = np.zeros(len(vector), np.int16)
    largest = np.float32(0)
    for column in range(len(vector)):
        largest = max(largest, abs(vector[column]))
    if largest == 0:
        return codes, np.float32(1)
    most = min(32767, 2147483647 // (_INT8_MAX * len(vector)))
    steps = np.float64(most) / np.float64(largest)
    for column in range(len(vector)):
        codes[column] = np.int16(np.rint(vector[column] * steps))
    return codes, np.float32(1 / steps)


@numba.njit(cache=True, nogil=True)
def encode(vectors: FloatArray, lengths: FloatArray, surely: bool) -> Queries:
    """Return float32[n, d] coded, to search rows with these `lengths`.

    `surely` as `most_left` takes it.
    """
    count, dimension = vectors.shape
    width = 2 * half_width(dimension)
    codes = np.zeros((count, width), np.int16)
    scales = np.ones(count, np.float32)
    rough = np.zeros((count, width), np.int8)
    limits = np.empty((count, 2), np.float32)
    slacks = lengths[0], np.float32(most_left(lengths[1], dimension, surely))
    for which in range(count):
        codes[which, :dimension], scales[which] = encode_query(vectors[which])
        limits[which] = _make_rough(codes[which], scales[which], slacks, rough[which])
    return Queries(codes, scales, rough, limits)


@numba.njit(cache=True, nogil=True)
def list_bases(centroids: Centroids, queries: Queries) -> FloatArray:
    """Return float32[n, lists]: what all rows of a list share, before the query's scale."""
    coarse, coarse_scales, _ = centroids
    first, dimension = np.int64(coarse.ctypes.data), np.int64(coarse.shape[1])
    codes = np.int64(queries.codes.ctypes.data)
    size = queries.codes.itemsize * queries.codes.shape[1]
    bases = np.empty((len(queries.scales), len(coarse)), np.float32)
    for which in range(len(bases)):
        for number in range(len(coarse)):
            total = product(first + number * dimension, codes + which * size, dimension)
            bases[which, number] = np.float32(total) * coarse_scales[number]
    return bases


@numba.njit(cache=True, nogil=True)
def product(row: Address, query: Address, dimension: int | np.int64) -> np.int32:
    """Return the product of int8[d] and int16[d] at two addresses.

    (Numbers, where arrays would be: counting their uses takes longer than a product.)
    """
    total: np.int32 = dot(row, query, (np.int64(0),), dimension)[0]
    return total


@numba.njit(cache=True, nogil=True)
def _make_rough(
    codes: NDArray[np.int16],
    scale: np.float32,
    slacks: tuple[np.float32, np.float32],
    rough: Int8Array,
) -> tuple[np.float32, np.float32]:
    """Set `rough` and return slope and offset, see `Queries` and `halves`."""
    largest = np.int64(1)
    for column in range(len(codes)):
        largest = max(largest, np.int64(abs(np.int64(codes[column]))))
    step = np.float32(largest) / np.float32(_INT8_MAX)
    steps = np.float32(1) / step
    squares, error, total = np.int64(0), np.float32(0), np.int32(0)
    for column in range(len(codes)):
        code = np.float32(codes[column])
        # Rounded: what is above 0 is cut to an integer, and that the compiler does in parallel.
        rounded = np.int32(np.int32(code * steps + np.float32(128.5)) - np.int32(128))
        rough[column] = np.int8(rounded)
        off = code - np.float32(rounded) * step
        squares += np.int64(codes[column]) * np.int64(codes[column])
        error += off * off
        total = np.int32(total + rounded)
    length = np.sqrt(squares)
    slack = slacks[0] * np.sqrt(error) + slacks[1] * length
    slack += _ROUNDING * (slacks[0] + slacks[1]) * length
    offset = ((MIDDLE - 128) * step * total + slack) * scale
    if not abs(offset) < _HUGE:
        return np.float32(0), np.float32(np.inf)
    return np.float32(16 * step * scale), np.float32(offset)
