"""int8 codes in two halves of four bits, so that a scan reads only the upper ones.

A row's upper half says what its score can be at most; only rows that may then be among the best are
read and scored whole. (The idea of approximations that exclude rows before they are read: Weber,
Schek and Blott 1998, the VA-file.) The halves of place j and of place j + h, h being half the
dimension rounded up, share a byte: with c + 128 = 16 * upper + lower,

    halves[0, row, j] = upper[j] + 16 * upper[j + h]        halves[1, row, j] likewise of lower

A code is restored as its upper half and the middle of what the lower may be, c' = 16 * upper -
120.5. Then, q being the query and q' what it is in int8, by the inequality of Cauchy and Schwarz

    |c * q - c' * q'| <= |c - c'| * |q| + |c'| * |q - q'|

where the largest |c - c'| and |c'| of all rows are known from building. Lower halves are as good as
random, though, and their product with a query, of so many terms, as good as normal: beyond six of
its standard deviations, |c - c'| * |q| / sqrt(d) each, once in a thousand million rows. The
inequality is gone by where no list is passed over, and where some row's lower halves are larger
together than random ones are, as those of codes among which many are zero.
"""

import math
from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import Address, uint8_of, uncounted
from dtrag_core.types import FloatArray

_OFFSET: Final = 128
MIDDLE: Final = 7.5
"""What a lower half is taken for."""
_SURE: Final = 6.0
# The mean square of a random lower half, and by how much squares deviate.
_SQUARE, _DEVIATION = 21.25, 19.2


class Codes(NamedTuple):
    """The int8 codes of vectors.

    halves: uint8[2, n, h], upper and lower halves of n rows. scales: float32[n], the size of a step
    of each row; 0 where all codes are. lengths: float32[2], the largest length of a row's upper
    half as it is restored, and of what its lower half adds to that; in steps.
    """

    halves: NDArray[np.uint8]
    scales: FloatArray
    lengths: FloatArray


@numba.njit(cache=True, nogil=True)
def half_width(dimension: int) -> int:
    """Return how many bytes half a row takes."""
    return (dimension + 1) // 2


def in_halves(codes: NDArray[np.int8]) -> tuple[NDArray[np.uint8], FloatArray]:
    """Return the halves uint8[2, n, h] of int8[n, d], and their `lengths`: float32[2].

    Rows of zeros do not count: nothing is left of them by their scale.
    """
    rows, dimension = codes.shape
    width = half_width(dimension)
    shifted = np.zeros((rows, 2 * width), np.uint8)
    shifted[:, :dimension] = codes.view(np.uint8) ^ np.uint8(_OFFSET)
    first, second = shifted[:, :width], shifted[:, width:]
    halves = np.stack(((first >> 4) | (second & 0xF0), (first & 0x0F) | (second << 4)))
    used = np.any(codes, axis=1)
    left = (shifted[used, :dimension] & 0x0F).astype(np.float32) - np.float32(MIDDLE)
    restored = codes[used].astype(np.float32) - left
    lengths = [np.linalg.norm(each, axis=1).max(initial=0) for each in (restored, left)]
    return halves, np.array(lengths, np.float32)


@numba.njit(cache=True, nogil=True)
def most_left(length: float, dimension: int, surely: bool) -> float:
    """Return how much rows' lower halves may add to the product with a query of length 1.

    `length`: the largest of these lower halves; `surely`: whether they may never add more.
    """
    root = math.sqrt(dimension)
    if surely or length * length > dimension * _SQUARE + _SURE * root * _DEVIATION:
        return length
    return min(length, _SURE * length / root)


@uncounted
def restore(upper: Address, lower: Address, row: NDArray[np.int8]) -> None:
    """Set int8[2 * h] to the codes of the row with these addresses of its halves."""
    width = len(row) // 2
    for place in range(width):
        up, low = uint8_of(upper, place), uint8_of(lower, place)
        row[place] = np.int8(np.uint8((np.uint8(up << 4) | (low & 15)) ^ _OFFSET))
        row[place + width] = np.int8(np.uint8(((up & 0xF0) | (low >> 4)) ^ _OFFSET))
