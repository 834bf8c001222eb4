"""The working memory of a BM25 search: one buffer a thread, cut into arrays within the kernel.

Memory of its own would be new pages for each search, which took as long again at a million rows,
and every array an argument. Arrays lie on cache lines: vector instructions that cross them take up
to twice as long.
"""

import threading
from typing import Final, NamedTuple

import numba
import numpy as np

from dtrag_core.index.addresses import CACHE_LINE
from dtrag_core.index.bm25_few import FEW
from dtrag_core.index.bm25_query import MADE_BYTES
from dtrag_core.index.bm25_ranges import AT_ONCE
from dtrag_core.index.bm25_sweeping import NOTED, WINDOW
from dtrag_core.index.lanes import LANES
from dtrag_core.index.postings import BLOCK, PARTS, RANGE, Bytes
from dtrag_core.types import FloatArray, IdArray

_LINE: Final = CACHE_LINE // 4
# One to spare, and whole cache lines.
_BOUNDS: Final = max((AT_ONCE + 2) * PARTS, FEW * RANGE // LANES, NOTED)
_NOTED: Final = 2 * BLOCK  # what a step may find, and as much of the steps before
_FIXED: Final = BLOCK + WINDOW + _BOUNDS + 2 * _NOTED
_MADE: Final = 16
"""Of so many terms that are not frequent, what is made for a query has room here."""
_EIGHT: Final = LANES + 1 + LANES // 4 + LANES * _MADE * MADE_BYTES // 4  # for eight ranges


class Memory(NamedTuple):
    """Arrays of one search at a time.

    marks: float32[BLOCK], sums: float32[WINDOW], 0 before and after each use. Marks are also the
        sums of all rows, where they are few.
    parts: float32[(AT_ONCE + 1) * PARTS, FEW * RANGE / LANES and NOTED, or more]: bounds of parts
        of ranges, the largest sums of some rows each, or what is noted in sweeping.
    rows, most: int32, float32[2 * BLOCK], the first candidates' room.
    ranges: float32[n], bounds of all segments' ranges. maxima: float32[n / LANES].
    peaks: uint8[n]. made: uint8[n * MADE_BYTES * 16].
    """

    marks: FloatArray
    sums: FloatArray
    parts: FloatArray
    rows: IdArray
    most: FloatArray
    ranges: FloatArray
    maxima: FloatArray
    peaks: Bytes
    made: Bytes


class Scratch(threading.local):
    """Each thread's buffer, for an index of so many ranges, each segment's rounded up to LANES."""

    def __init__(self, ranges: int) -> None:
        eights = -(-ranges // (LANES * _LINE)) * _LINE  # all arrays take whole cache lines
        size = _FIXED + eights * _EIGHT
        whole = np.zeros(size + _LINE, np.float32)
        start = -(whole.ctypes.data // 4) % _LINE
        self.buffer: FloatArray = whole[start : start + size]


@numba.njit(cache=True, nogil=True)
def cut(buffer: FloatArray) -> Memory:
    """Return the arrays of a buffer."""
    few, noted = buffer[BLOCK : BLOCK + WINDOW + _BOUNDS], buffer[_FIXED - 2 * _NOTED : _FIXED]
    eights = (len(buffer) - _FIXED) // _EIGHT
    rest = buffer[_FIXED + eights * (LANES + 1) :].view(np.uint8)
    return Memory(
        buffer[:BLOCK],
        few[:WINDOW],
        few[WINDOW:],
        noted[:_NOTED].view(np.int32),
        noted[_NOTED:],
        buffer[_FIXED : _FIXED + eights * LANES],
        buffer[_FIXED + eights * LANES : _FIXED + eights * (LANES + 1)],
        rest[: eights * LANES],
        rest[eights * LANES :],
    )
