"""The working memory of a BM25 search: one buffer a thread, cut into arrays within the kernel.

A search's own memory would be new pages each time, and every array an argument. Arrays lie on cache
lines: vector instructions that cross them take up to twice as long.
"""

import threading
from typing import Final, NamedTuple

import numba
import numpy as np

from dtrag_core.index.addresses import CACHE_LINE
from dtrag_core.index.bm25_ranges import AT_ONCE
from dtrag_core.index.postings import BLOCK, PARTS, RANGE
from dtrag_core.types import FloatArray, IdArray

_LANES: Final = CACHE_LINE // 4
_PARTS: Final = (AT_ONCE + 1) * PARTS
_NOTED: Final = 2 * BLOCK  # what a step may find, and as much of the steps before
_SIZE: Final = BLOCK + RANGE + _PARTS + 2 * _NOTED


class Memory(NamedTuple):
    """Arrays of one search at a time.

    marks: float32[BLOCK], sums: float32[RANGE], 0 before and after each use.
    bounds: float32[(AT_ONCE + 1) * PARTS].
    rows, most: int32, float32[2 * BLOCK], the first candidates' room.
    """

    marks: FloatArray
    sums: FloatArray
    bounds: FloatArray
    rows: IdArray
    most: FloatArray


class Scratch(threading.local):
    """Each thread's buffer."""

    def __init__(self) -> None:
        whole = np.zeros(_SIZE + _LANES, np.float32)
        start = -(whole.ctypes.data // 4) % _LANES
        self.buffer: FloatArray = whole[start : start + _SIZE]


@numba.njit(cache=True, nogil=True)
def cut(buffer: FloatArray) -> Memory:
    """Return the arrays of a buffer."""
    few = buffer[BLOCK : len(buffer) - 2 * _NOTED]
    noted = buffer[len(buffer) - 2 * _NOTED :]
    return Memory(
        buffer[:BLOCK],
        few[:RANGE],
        few[RANGE:],
        noted[:_NOTED].view(np.int32),
        noted[_NOTED:],
    )
