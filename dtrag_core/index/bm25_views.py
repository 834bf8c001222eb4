"""The postings of all segments as one argument of a kernel: a table of addresses.

Statistics of now are in it too: every argument takes a part of a microsecond.
"""

from typing import Any, Final, NamedTuple

import numba
import numpy as np
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from dtrag_core.index.addresses import pointer
from dtrag_core.index.postings import PARTS, RANKS, TILE, Bytes, Postings
from dtrag_core.index.vocabulary import Vocabulary
from dtrag_core.types import IdArray, Mask

Table = NDArray[np.int64]

_ARRAYS: Final = (
    "offsets",
    "ids",
    "saturations",
    "dense",
    "exceptions",
    "exception_frequencies",
    "lengths",
    "parameters",
    "dense_terms",
    "dense_frequency",
    "tops",
    "frequent_terms",
    "range_peaks",
    "part_peaks",
    "range_starts",
)
_WORDS: Final = ("letters", "ends", "slots")
_REMOVED: Final = len(_ARRAYS) + len(_WORDS)
_SIZES: Final = _REMOVED + 1
_NOW: Final = _SIZES + 13
_FIELDS: Final = _NOW + 5


class Now(NamedTuple):
    """What a search needs to know of all segments together, as they are now.

    error: the largest error of a saturation, but for rounding.
    live: bool[rows of all segments], False for deleted rows; empty if nothing is deleted.
    """

    live_rows: int
    average_length: float
    error: float
    live: Mask


class Held(NamedTuple):
    """One segment within a kernel: arrays of `Postings` and `Vocabulary`, and where its rows lie.

    removed: int32[terms], how many deleted rows hold each term; empty if nothing is deleted.
    """

    offsets: NDArray[np.uint32]
    ids: NDArray[np.uint16]
    saturations: Bytes
    dense: Bytes
    exceptions: NDArray[np.int64]
    exception_frequencies: NDArray[np.uint16]
    lengths: IdArray
    parameters: NDArray[np.float64]
    dense_terms: NDArray[np.int32]
    dense_frequency: NDArray[np.int32]
    letters: Bytes
    word_ends: NDArray[np.int64]
    slots: NDArray[np.int32]
    removed: NDArray[np.int32]
    tops: Bytes
    frequent_terms: NDArray[np.int32]
    range_peaks: Bytes
    part_peaks: Bytes
    range_starts: NDArray[np.uint16]
    rows: int
    first_row: int
    ranges: int


def table_row(
    postings: Postings,
    vocabulary: Vocabulary,
    removed: NDArray[np.int32],
    first_row: int,
    now: Now,
) -> list[int]:
    """Return a segment's row of the table; the arrays must outlive it."""
    bits = np.array([now.average_length, now.error], np.float64).view(np.int64)
    arrays: dict[str, NDArray[Any]] = postings.arrays()
    words: dict[str, NDArray[Any]] = vocabulary.arrays()
    return [
        *(arrays[name].ctypes.data for name in _ARRAYS),
        *(words[name].ctypes.data for name in _WORDS),
        removed.ctypes.data,
        len(postings.offsets),
        len(postings.ids),
        len(postings.dense),
        postings.dense.shape[1],
        len(postings.exceptions),
        postings.rows,
        first_row,
        len(vocabulary.letters),
        len(vocabulary),
        len(vocabulary.slots),
        len(removed),
        len(postings.frequent_terms),
        postings.range_starts.shape[1],
        now.live_rows,
        *bits.tolist(),
        now.live.ctypes.data,
        len(now.live),
    ]


@numba.njit(cache=True, nogil=True)
def of_now(table: Table) -> Now:
    """Return what the table, of at least one segment, says of all: every row says the same."""
    row = table[0]
    length_and_error = row[_NOW + 1 : _NOW + 3].view(np.float64)
    live = carray(pointer(row[_NOW + 3]), row[_NOW + 4], np.bool_)
    return Now(row[_NOW], length_and_error[0], length_and_error[1], live)


@numba.njit(cache=True, nogil=True)
def views(table: Table, segment: int) -> Held:
    """Return a segment's arrays."""
    if table.shape[1] != _FIELDS:  # compiled code outlives an edit of this module
        raise ValueError("compiled kernels are of another version: clear numba's cache")
    row = table[segment]
    offsets, postings, dense = row[_SIZES], row[_SIZES + 1], row[_SIZES + 2]
    width, exceptions, rows = row[_SIZES + 3], row[_SIZES + 4], row[_SIZES + 5]
    letters, terms, slots = row[_SIZES + 7], row[_SIZES + 8], row[_SIZES + 9]
    frequent, ranges = row[_SIZES + 11], row[_SIZES + 12]
    return Held(
        carray(pointer(row[0]), offsets, np.uint32),
        carray(pointer(row[1]), postings, np.uint16),
        carray(pointer(row[2]), postings, np.uint8),
        carray(pointer(row[3]), (dense, width), np.uint8),
        carray(pointer(row[4]), exceptions, np.int64),
        carray(pointer(row[5]), exceptions, np.uint16),
        carray(pointer(row[6]), rows, np.int32),
        carray(pointer(row[7]), 5, np.float64),
        carray(pointer(row[8]), dense, np.int32),
        carray(pointer(row[9]), dense, np.int32),
        carray(pointer(row[15]), letters, np.uint8),
        carray(pointer(row[16]), terms, np.int64),
        carray(pointer(row[17]), slots, np.int32),
        carray(pointer(row[18]), row[_SIZES + 10], np.int32),
        carray(pointer(row[10]), (terms, len(RANKS)), np.uint8),
        carray(pointer(row[11]), frequent, np.int32),
        carray(pointer(row[12]), (frequent, ranges), np.uint8),
        carray(pointer(row[13]), (frequent, ranges * PARTS), np.uint8),
        carray(pointer(row[14]), (frequent, ranges), np.uint16),
        rows,
        row[_SIZES + 6],
        ranges,
    )


@numba.njit(cache=True, nogil=True)
def rows_of(held: Held, passed: int, tiles: tuple[int, int]) -> tuple[int, int]:
    """Return the first row of a segment that is in a shard, and that after the last.

    passed: tiles of the segments before. tiles: the shard's first, and that after the last.
    """
    first = min(max(0, tiles[0] - passed) * TILE, held.rows)
    return first, max(first, min((tiles[1] - passed) * TILE, held.rows))
