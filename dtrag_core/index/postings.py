"""How a segment's postings lie in memory.

A posting says that a row holds a term, and how strongly. What is kept of the strength is BM25's
saturation s = tf / (tf + K), K = k1 (1 - b + b length / average length), in one byte:
q = round(255 s), at least 1. It leaves out the idf, so the statistics of the corpus may change
without touching postings; and tf, which exact scores need, follows from q and the row's length,
except where q is so near 255 that several tf share it. Those few are listed as exceptions.

- Sparse terms: row numbers as uint16 within blocks of 65,536 rows, and q: 3 bytes a posting.
- Dense terms, held by more than one row in 16: a row of q for every row of the segment, 0 where
  the term is absent. Adding one is a vector operation, and any row's q is found at once.
- Frequent terms, held by more than one row in 256: besides, for every range of 256 rows, the
  largest q and where its postings begin, and the largest q of each of its parts, 32 rows. A search
  of many rows passes over ranges and parts where all its terms stay below its threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.types import IdArray

BLOCK: Final = 1 << 16
RANGE: Final = 1 << 8
PART: Final = 1 << 5
PARTS: Final = RANGE // PART  # of a range, as many as there are `lanes.LANES`
TILE: Final = 1 << 13  # rows are sharded by tiles
FREQUENT_SHARE: Final = RANGE  # terms held by more than one row in so many: one in each range
NO_EXCEPTIONS: Final = 256
RANKS: Final = (16, 64, 256, 1024)
PROBE: Final = 12  # so many postings are passed over in the time of one binary search

Bytes: TypeAlias = NDArray[np.uint8]
Integer: TypeAlias = int | np.int64  # in kernels: numpy's other integers widen to float64 there


@dataclass(frozen=True, slots=True)
class Postings:
    """The postings of one segment.

    Given impacts (of imported sparse vectors) take the place of saturations where k1 is below 0:
    a "frequency" is then the impact itself, 1 to 255, and q the same.

    Sparse term t in block i: rows `BLOCK * i + ids[p]` with saturations `saturations[p]`, p from
    `offsets[t * blocks + i]` up to the next offset, rows ascending.

    offsets: uint32[terms * blocks + 1].
    ids: uint16[sparse postings].
    saturations: uint8[sparse postings], q.
    tops: uint8[terms, len(RANKS)], the q of that rank among all of the term's postings, 0 if it has
        fewer: so many rows score at least so much.
    dense_terms: int32[dense], ascending; `dense_frequency` int32[dense], the rows that hold each.
    dense: uint8[dense, rows rounded up to 64], q, 0 where the term is absent.
    frequent_terms: int32[frequent], ascending, dense ones among them.
    range_peaks: uint8[frequent, ranges], the largest q of the term in each `RANGE` rows.
    part_peaks: uint8[frequent, ranges * PARTS], that in each `PART` rows.
    range_starts: uint16[frequent, ranges], the first posting of each range among those of its
        block; 0 for a dense term.
    exceptions: int64[n], ascending: places whose tf does not follow from q. A sparse posting's
        place is p, a dense one's is sparse postings + number in `dense_terms` * rows + row.
    exception_frequencies: uint16[n], their tf.
    lengths: int32[rows], tokens of each row.
    parameters: float64[5]: k1, b, average length and the largest |s - q / 255| of the build, and
        the least q with an exception (256 if there is none).
    """

    offsets: NDArray[np.uint32]
    ids: NDArray[np.uint16]
    saturations: Bytes
    tops: Bytes
    dense_terms: NDArray[np.int32]
    dense_frequency: NDArray[np.int32]
    dense: Bytes
    frequent_terms: NDArray[np.int32]
    range_peaks: Bytes
    part_peaks: Bytes
    range_starts: NDArray[np.uint16]
    exceptions: NDArray[np.int64]
    exception_frequencies: NDArray[np.uint16]
    lengths: IdArray
    parameters: NDArray[np.float64]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Postings":
        """Return the postings that `arrays` gave; raises TypeError unless the names agree."""
        return cls(**arrays)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def rows(self) -> int:
        """How many rows the segment has."""
        return len(self.lengths)

    @property
    def blocks(self) -> int:
        """How many blocks the rows are cut into."""
        return block_count(self.rows)

    @property
    def terms(self) -> int:
        """How many terms there are."""
        return (len(self.offsets) - 1) // self.blocks

    @property
    def count(self) -> int:
        """How many postings there are."""
        return len(self.ids) + int(self.dense_frequency.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())


@numba.njit(cache=True, nogil=True)
def block_count(rows: int) -> int:
    """Return how many blocks hold this many rows; at least one."""
    return max(1, -(-rows // BLOCK))


@numba.njit(cache=True, nogil=True)
def length_norm(k1: float, b: float, length: Integer, average_length: float) -> float:
    """Return K, the tf at which the saturation is one half; -1 for given impacts (k1 below 0)."""
    if k1 < 0.0:
        return -1.0
    return k1 * (1.0 - b + b * length / average_length)


@numba.njit(cache=True, nogil=True)
def saturated(frequency: Integer, norm: float) -> float:
    """Return s, where K is `norm`; a given impact, 1 to 255, is taken as it is."""
    if norm < 0.0:
        return frequency / 255.0
    return frequency / (frequency + norm)


@numba.njit(cache=True, nogil=True)
def frequency_of(saturation: Integer, norm: float) -> int:
    """Return the tf >= 1 that the saturation q most likely stands for, where K is `norm`."""
    if norm < 0.0:
        return int(saturation)
    if saturation >= 255:
        return 1
    return max(1, int(norm * saturation / (255.0 - saturation) + 0.5))


@numba.njit(cache=True, nogil=True)
def lower_bound(ids: NDArray[Any], low: Integer, high: Integer, wanted: Integer) -> Integer:
    """Return the first place in `ids[low:high]`, ascending, that is not below `wanted`."""
    while low < high:
        middle = (low + high) >> 1
        if np.int64(ids[middle]) < wanted:
            low = middle + 1
        else:
            high = middle
    return low
