"""A segment's postings, made from its forward index."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.config import BM25Settings
from dtrag_core.index.forward import ForwardIndex
from dtrag_core.index.postings import (
    BLOCK,
    FREQUENT_SHARE,
    NO_EXCEPTIONS,
    PART,
    PARTS,
    RANGE,
    RANKS,
    Bytes,
    Postings,
    block_count,
    frequency_of,
    length_norm,
    saturated,
)
from dtrag_core.types import IdArray

_DENSE_SHARE: Final = 16
_LANES: Final = 64


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
    frequent_terms = np.flatnonzero(frequency * FREQUENT_SHARE > rows).astype(np.int32)
    dense_of = np.full(terms, -1, np.int32)
    dense_of[dense_terms] = np.arange(len(dense_terms), dtype=np.int32)

    ids = np.empty(int(offsets[-1]), np.uint16)
    saturations = np.empty(len(ids), np.uint8)
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
    part_peaks = np.zeros((len(frequent_terms), -(-rows // RANGE) * PARTS), np.uint8)
    range_starts = np.zeros((len(frequent_terms), -(-rows // RANGE)), np.uint16)
    _fill_ranges(
        frequent_terms, offsets, ids, saturations, dense_of, dense, part_peaks, range_starts
    )
    return Postings(
        offsets.astype(np.uint32),
        ids,
        saturations,
        tops,
        dense_terms,
        frequency[dense_terms].astype(np.int32),
        dense,
        frequent_terms,
        part_peaks.reshape(*range_starts.shape, PARTS).max(axis=2),
        part_peaks,
        range_starts,
        places[order],
        tf[order],
        forward.lengths,
        np.array([*constants, error, least]),
    )


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


@numba.njit(cache=True, nogil=True)
def _fill_ranges(
    frequent_terms: NDArray[np.int32],
    offsets: NDArray[np.int64],
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense_of: NDArray[np.int32],
    dense: Bytes,
    part_peaks: Bytes,
    range_starts: NDArray[np.uint16],
) -> None:
    """Set the peak of each part and where each range starts, for each frequent term."""
    blocks = (len(offsets) - 1) // max(1, len(dense_of))
    ranges, in_block = range_starts.shape[1], BLOCK // RANGE
    for which in range(len(frequent_terms)):
        term = np.int64(frequent_terms[which])
        peaks = part_peaks[which]
        if dense_of[term] >= 0:
            values = dense[dense_of[term]]
            for row in range(min(len(values), ranges * RANGE)):
                peaks[row // PART] = max(peaks[row // PART], values[row])
            continue
        for block in range(blocks):
            begin, end = offsets[term * blocks + block], offsets[term * blocks + block + 1]
            place = begin
            for number in range(block * in_block, min((block + 1) * in_block, ranges)):
                range_starts[which, number] = place - begin
                after = (number - block * in_block + 1) * RANGE
                while place < end and np.int64(ids[place]) < after:
                    part = block * (BLOCK // PART) + np.int64(ids[place]) // PART
                    peaks[part] = max(peaks[part], saturations[place])
                    place += 1
