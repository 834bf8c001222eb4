"""Queries as kernels of int8 lists need them: coded, and what they have in common with each list.

A query is coded with as many bits (at most 15 and a sign) as let its sum with a row stay within
int32: these sums give the scores. It is coded in 8 bits too, for a first look at the upper halves
of rows (see `halves`).
"""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.dot import dot
from dtrag_core.index.halves import MIDDLE, half_width
from dtrag_core.types import FloatArray

_INT8_MAX: Final = 127
# Far more than sums and products in float32 are off by, relative to the lengths of what they sum.
_ROUNDING: Final = 1e-5

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
def _encode_query(vector: FloatArray) -> tuple[NDArray[np.int16], np.float32]:
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
def encode(vectors: FloatArray, lengths: FloatArray) -> Queries:
    """Return float32[n, d] coded, to search rows with these `lengths` (see `halves`)."""
    count, dimension = vectors.shape
    width = 2 * half_width(dimension)
    codes = np.zeros((count, width), np.int16)
    scales = np.ones(count, np.float32)
    rough = np.zeros((count, width), np.int8)
    limits = np.empty((count, 2), np.float32)
    for which in range(count):
        codes[which, :dimension], scales[which] = _encode_query(vectors[which])
        limits[which] = _make_rough(codes[which], scales[which], lengths, rough[which])
    return Queries(codes, scales, rough, limits)


@numba.njit(cache=True, nogil=True)
def list_bases(centroids: Centroids, queries: Queries) -> FloatArray:
    """Return float32[n, lists]: what all rows of a list share, before the query's scale."""
    lists = len(centroids[0])
    bases = np.empty((len(queries.scales), lists), np.float32)
    for which in range(len(bases)):
        for number in range(lists):
            bases[which, number] = list_base(centroids, number, queries.codes[which])
    return bases


@numba.njit(cache=True, nogil=True)
def list_base(centroids: Centroids, number: int, codes: NDArray[np.int16]) -> np.float32:
    """Return the product of a query's codes with the centroid of a list."""
    base: np.float32 = np.float32(product(centroids[0], number, codes)) * centroids[1][number]
    return base


@numba.njit(cache=True, nogil=True)
def product(codes: Int8Array, row: int, query: NDArray[np.int16]) -> np.int32:
    """Return the sum over the codes of a row with those of the query."""
    address = np.int64(codes.ctypes.data) + row * codes.shape[1]
    dimension = np.int64(codes.shape[1])
    total: np.int32 = dot(address, np.int64(query.ctypes.data), (np.int64(0),), dimension)[0]
    return total


@numba.njit(cache=True, nogil=True)
def _make_rough(
    codes: NDArray[np.int16], scale: np.float32, lengths: FloatArray, rough: Int8Array
) -> tuple[np.float32, np.float32]:
    """Set `rough` and return slope and offset, see `Queries` and `halves`."""
    largest = np.int64(1)
    for column in range(len(codes)):
        largest = max(largest, np.int64(abs(np.int64(codes[column]))))
    step = largest / _INT8_MAX
    squares, error, total = 0.0, 0.0, 0.0
    for column in range(len(codes)):
        code = np.float64(codes[column])
        rounded = np.rint(code / step)
        rough[column] = np.int8(rounded)
        squares += code * code
        error += (code - rounded * step) ** 2
        total += rounded
    length = np.sqrt(squares)
    slack = lengths[0] * np.sqrt(error) + lengths[1] * length
    slack += _ROUNDING * (lengths[0] + lengths[1]) * length
    offset = (MIDDLE - 128) * step * total + slack
    return np.float32(16 * step * scale), np.float32(offset * scale)
