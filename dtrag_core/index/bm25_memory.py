"""The working memory of a BM25 search: one buffer a thread, cut into arrays within the kernel.

A search's own memory would be new pages each time, and every array an argument. Arrays lie on cache
lines: vector instructions that cross them take up to twice as long.
"""

import threading
from typing import Final, NamedTuple

import numba
import numpy as np

from dtrag_core.index.addresses import CACHE_LINE
from dtrag_core.index.bm25_selection import GROUPS, TILE, Touched
from dtrag_core.index.postings import BLOCK, RANGE
from dtrag_core.types import FloatArray, IdArray

_RANGES: Final = BLOCK // RANGE
_IN_TILE: Final = -(-TILE // RANGE // CACHE_LINE) * CACHE_LINE  # whole cache lines
_SPARE: Final = CACHE_LINE // 4  # one more row is tried than are touched
_NOTED: Final = 2 * BLOCK  # a block's candidates, and as many of the blocks before
_SIZE: Final = 2 * BLOCK + _SPARE + GROUPS + 2 * _RANGES + _IN_TILE + 2 * _NOTED


class Memory(NamedTuple):
    """Arrays of one search at a time.

    sums: float32[BLOCK], 0 before and after each use.
    maxima: float32[GROUPS]. bounds, others: float32[ranges of a block].
    firsts: int32[ranges of a tile or more]. touched: uint32[BLOCK + 1 or more].
    rows, most: int32, float32[2 * BLOCK], the first candidates' room.
    """

    sums: FloatArray
    maxima: FloatArray
    bounds: FloatArray
    others: FloatArray
    firsts: IdArray
    touched: Touched
    rows: IdArray
    most: FloatArray


class Scratch(threading.local):
    """Each thread's buffer."""

    def __init__(self) -> None:
        lanes = CACHE_LINE // 4
        whole = np.zeros(_SIZE + lanes, np.float32)
        start = -(whole.ctypes.data // 4) % lanes
        self.buffer: FloatArray = whole[start : start + _SIZE]


@numba.njit(cache=True, nogil=True)
def cut(buffer: FloatArray) -> Memory:
    """Return the arrays of a buffer."""
    maxima = buffer[BLOCK : BLOCK + GROUPS]
    bounds = buffer[BLOCK + GROUPS : BLOCK + GROUPS + 2 * _RANGES]
    rows = buffer[BLOCK + GROUPS + 2 * _RANGES : len(buffer) - _NOTED].view(np.int32)
    return Memory(
        buffer[:BLOCK],
        maxima,
        bounds[:_RANGES],
        bounds[_RANGES:],
        rows[:_IN_TILE],
        rows[_IN_TILE : len(rows) - _NOTED].view(np.uint32),
        rows[len(rows) - _NOTED :],
        buffer[len(buffer) - _NOTED :],
    )
