"""Exact BM25 scores of given rows."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_views import Held
from dtrag_core.index.postings import (
    BLOCK,
    Bytes,
    Integer,
    block_count,
    frequency_of,
    length_norm,
    lower_bound,
    saturated,
)
from dtrag_core.types import FloatArray, IdArray

# Postings that are passed over in the time of one binary search.
_PROBE: Final = 12


@numba.njit(cache=True, nogil=True)
def score_rows(
    held: Held,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    average_length: float,
    wanted: IdArray,
    marks: FloatArray,
    scores: FloatArray,
) -> None:
    """Set `scores` float32[n] to those of these rows of a segment, 0 without a term.

    numbers: int32[2, m], of each query term its number in the segment and among its dense terms.
    weights: float64[m], idf * multiplicity.
    average_length: of now; the sum is float64 in the order of the terms, rounded at the end.
    marks: float32[rows or more], 0 before and after; or empty, and rows may be given twice.

    One term after the other for all rows, so that the processor waits for many at once.
    """
    blocks, count = block_count(held.rows), len(wanted)
    k1, b, built_length = held.parameters[0], held.parameters[1], held.parameters[2]
    least = np.int64(held.parameters[4])
    built_norms, norms = np.empty((2, count), np.float64)
    totals = np.zeros(count, np.float64)
    for which in range(count):
        length = held.lengths[wanted[which]]
        built_norms[which] = length_norm(k1, b, length, built_length)
        norms[which] = length_norm(k1, b, length, average_length)
        if len(marks) > 0:
            marks[wanted[which]] = which + 1
    # Of those that hold a term: which, the place of the posting, q. One more is tried at the end.
    holding = np.empty((3, count + 1), np.int64)
    for term in range(len(weights)):
        number, in_dense = np.int64(numbers[0, term]), np.int64(numbers[1, term])
        if number < 0:
            continue
        offsets = held.offsets[number * blocks : (number + 1) * blocks + 1]
        start: Integer = np.int64(offsets[0])
        stop: Integer = np.int64(offsets[blocks])
        if in_dense >= 0:
            start = len(held.ids) + in_dense * held.rows
            stop = start + held.rows
            matching = _take(held.dense[in_dense], start, wanted, holding)
        elif len(marks) > 0 and stop - start < _PROBE * count:
            matching = _pass(held.ids, held.saturations, start, stop, marks, holding)
        else:
            matching = _search(held.ids, held.saturations, offsets, wanted, holding)
        first = lower_bound(held.exceptions, 0, len(held.exceptions), start)
        last = lower_bound(held.exceptions, first, len(held.exceptions), stop)
        _add(
            holding[:, :matching], weights[term], least, held.exceptions[first:last],
            held.exception_frequencies[first:last], built_norms, norms, totals,
        )  # fmt: skip
    for which in range(count):
        scores[which] = totals[which]
        if len(marks) > 0:
            marks[wanted[which]] = 0


@numba.njit(inline="always")
def _add(
    holding: NDArray[np.int64],
    weight: float,
    least: Integer,
    exceptions: NDArray[np.int64],
    exception_frequencies: NDArray[np.uint16],
    built_norms: NDArray[np.float64],
    norms: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    """Add a term to the totals of the rows that hold it. least: the least q of an exception."""
    for at in range(holding.shape[1]):
        which, place, q = holding[0, at], holding[1, at], holding[2, at]
        frequency: Integer = frequency_of(q, built_norms[which])
        if q >= least and len(exceptions) > 0:
            exception = lower_bound(exceptions, 0, len(exceptions), place)
            if exception < len(exceptions) and exceptions[exception] == place:
                frequency = np.int64(exception_frequencies[exception])
        totals[which] += weight * saturated(frequency, norms[which])


@numba.njit(inline="always")
def _take(saturations: Bytes, start: Integer, wanted: IdArray, holding: NDArray[np.int64]) -> int:
    """Set which of the rows hold a dense term; return how many. `start`: the place of row 0."""
    count = 0
    for which in range(len(wanted)):
        row = np.int64(wanted[which])
        holding[0, count], holding[1, count] = which, start + row
        holding[2, count] = saturations[row]
        count += saturations[row] > 0
    return count


@numba.njit(inline="always")
def _pass(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    start: Integer,
    stop: Integer,
    marks: FloatArray,
    holding: NDArray[np.int64],
) -> int:
    """Do the same for a sparse term, passing over its postings; rows are marked from 1 on."""
    count = 0
    for place in range(int(start), int(stop)):
        mark = np.int64(marks[ids[place]])
        holding[0, count], holding[1, count] = mark - 1, place
        count += int(mark > 0)
    for at in range(count):
        holding[2, at] = saturations[holding[1, at]]
    return count


@numba.njit(inline="always")
def _search(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    offsets: NDArray[np.uint32],
    wanted: IdArray,
    holding: NDArray[np.int64],
) -> int:
    """Do the same by a binary search for each row. offsets: of the term in every block."""
    count = 0
    for which in range(len(wanted)):
        block, within = divmod(np.int64(wanted[which]), BLOCK)
        end = np.int64(offsets[block + 1])
        place = lower_bound(ids, np.int64(offsets[block]), end, within)
        if place < end and np.int64(ids[place]) == within:
            holding[0, count], holding[1, count] = which, place
            holding[2, count] = saturations[place]
            count += 1
    return count
