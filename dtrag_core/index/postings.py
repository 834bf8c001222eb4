"""How a segment's postings lie in memory, and how they are made from its forward index.

A posting says that a row holds a term, and how strongly. What is kept of the strength is BM25's
saturation s = tf / (tf + K), K = k1 (1 - b + b length / average length), in one byte:
q = round(255 s), at least 1. It leaves out the idf, so the statistics of the corpus may change
without touching postings; and tf, which exact scores need, follows from q and the row's length,
except where q is so near 255 that several tf share it. Those few are listed as exceptions.

- Sparse terms: row numbers as uint16 within blocks of 65,536 rows, and q: 3 bytes a posting.
- Dense terms, held by more than one row in 16: a row of q for every row of the segment, 0 where
  the term is absent. Adding one is a vector operation, and any row's q is found at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.config import BM25Settings
from dtrag_core.index.forward import ForwardIndex
from dtrag_core.types import IdArray

BLOCK: Final = 1 << 16
NO_EXCEPTIONS: Final = 256
RANKS: Final = (16, 64, 256, 1024)
_DENSE_SHARE: Final = 16
_LANES: Final = 64

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
    peaks: uint8[terms * blocks], the largest q of the term in the block.
    tops: uint8[terms, len(RANKS)], the q of that rank among all of the term's postings, 0 if it has
        fewer: so many rows score at least so much.
    dense_terms: int32[dense], ascending; `dense_frequency` int32[dense], the rows that hold each.
    dense: uint8[dense, rows rounded up to 64], q, 0 where the term is absent.
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
    peaks: Bytes
    tops: Bytes
    dense_terms: NDArray[np.int32]
    dense_frequency: NDArray[np.int32]
    dense: Bytes
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


def build_postings(
    forward: ForwardIndex, terms: int, settings: BM25Settings, average_length: float
) -> Postings:
    """Return the postings of a segment of `terms` terms, in time linear in their number.

    `average_length`: tokens a row, as known at build; 0 (nothing but empty rows) counts as 1.
    """
    rows, blocks = len(forward), block_count(len(forward))
    counts = np.zeros(terms * blocks, np.int64)
    _count(forward.offsets, forward.terms, blocks, counts)
    frequency = counts.reshape(terms, blocks).sum(axis=1)
    dense_terms = np.flatnonzero(frequency * _DENSE_SHARE > rows).astype(np.int32)
    counts.reshape(terms, blocks)[dense_terms] = 0
    offsets = np.zeros(terms * blocks + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    dense_of = np.full(terms, -1, np.int32)
    dense_of[dense_terms] = np.arange(len(dense_terms), dtype=np.int32)

    ids = np.empty(int(offsets[-1]), np.uint16)
    saturations = np.empty(len(ids), np.uint8)
    peaks = np.zeros(terms * blocks, np.uint8)
    dense = np.zeros((len(dense_terms), -(-rows // _LANES) * _LANES), np.uint8)
    average_length = average_length or 1.0
    constants = np.array([settings.k1, settings.b, average_length])
    places, tf = np.empty(0, np.int64), np.empty(0, np.uint16)
    while True:  # once more if there are exceptions, now with room for them
        error, least, found = _fill(
            forward.offsets,
            forward.terms,
            forward.frequencies,
            forward.lengths,
            constants,
            dense_of,
            offsets[:-1].copy(),
            ids,
            saturations,
            peaks,
            dense,
            places,
            tf,
        )
        if found == len(places):
            break
        places, tf = np.empty(found, np.int64), np.empty(found, np.uint16)
    order = np.argsort(places, kind="stable")
    tops = np.zeros((terms, len(RANKS)), np.uint8)
    _rank(offsets, blocks, saturations, dense_of, dense, tops)
    return Postings(
        offsets.astype(np.uint32),
        ids,
        saturations,
        peaks,
        tops,
        dense_terms,
        frequency[dense_terms].astype(np.int32),
        dense,
        places[order],
        tf[order],
        forward.lengths,
        np.array([*constants, error, least]),
    )


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
def lower_bound(ids: NDArray[np.uint16], low: Integer, high: Integer, wanted: Integer) -> Integer:
    """Return the first place in `ids[low:high]`, ascending, that is not below `wanted`."""
    while low < high:
        middle = (low + high) >> 1
        if np.int64(ids[middle]) < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def _count(
    row_offsets: NDArray[np.int64],
    terms: NDArray[np.int32],
    blocks: int,
    counts: NDArray[np.int64],
) -> None:
    for row in range(len(row_offsets) - 1):
        block = row // BLOCK
        for place in range(row_offsets[row], row_offsets[row + 1]):
            counts[terms[place] * blocks + block] += 1


@numba.njit(cache=True, nogil=True)
def _fill(
    row_offsets: NDArray[np.int64],
    terms: NDArray[np.int32],
    frequencies: NDArray[np.uint16],
    lengths: IdArray,
    constants: NDArray[np.float64],
    dense_of: NDArray[np.int32],
    cursors: NDArray[np.int64],
    ids: NDArray[np.uint16],
    saturations: Bytes,
    peaks: Bytes,
    dense: Bytes,
    places: NDArray[np.int64],
    exception_frequencies: NDArray[np.uint16],
) -> tuple[float, int, int]:
    """Fill the arrays; return the largest error, the least q with an exception, and their number.

    Exceptions beyond the room in `places` are counted only.
    """
    blocks = len(cursors) // max(1, len(dense_of))
    error, least, found = 0.0, NO_EXCEPTIONS, 0
    for row in range(len(lengths)):
        block = row // BLOCK
        norm = length_norm(constants[0], constants[1], lengths[row], constants[2])
        for place in range(row_offsets[row], row_offsets[row + 1]):
            term, tf = np.int64(terms[place]), np.int64(frequencies[place])
            exact = saturated(tf, norm)
            q = max(1, int(255.0 * exact + 0.5))
            error = max(error, abs(exact - q / 255.0))
            slot = term * blocks + block
            if q > peaks[slot]:
                peaks[slot] = q
            if dense_of[term] >= 0:
                target = len(ids) + dense_of[term] * len(lengths) + row
                dense[dense_of[term], row] = q
            else:
                target = cursors[slot]
                cursors[slot] += 1
                ids[target] = row % BLOCK
                saturations[target] = q
            # Without length norm s is 1 whatever tf is, now and with any other average length.
            if norm > 0.0 and (q == 255 or frequency_of(q, norm) != tf):
                if found < len(places):
                    places[found] = target
                    exception_frequencies[found] = tf
                least = min(least, q)
                found += 1
    return error, least, found


@numba.njit(cache=True, nogil=True)
def _rank(
    offsets: NDArray[np.int64],
    blocks: int,
    saturations: Bytes,
    dense_of: NDArray[np.int32],
    dense: Bytes,
    tops: Bytes,
) -> None:
    """Set the q of each rank in `RANKS` for each term."""
    counts = np.zeros(256, np.int64)
    for term in range(len(dense_of)):
        if dense_of[term] >= 0:
            values = dense[dense_of[term]]
        else:
            values = saturations[offsets[term * blocks] : offsets[(term + 1) * blocks]]
        if len(values) < RANKS[0]:
            continue
        counts[:] = 0
        for q in values:
            counts[q] += 1
        above = np.int64(0)
        place = 0
        for q in range(255, 0, -1):
            above += counts[q]
            while place < len(RANKS) and above >= RANKS[place]:
                tops[term, place] = q
                place += 1
