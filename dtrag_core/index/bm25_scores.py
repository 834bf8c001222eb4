"""Exact BM25 scores: of given rows, and of the candidates of a search."""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import uncounted
from dtrag_core.index.bm25_selection import best_of, reached_by, threshold
from dtrag_core.index.bm25_terms import resolve
from dtrag_core.index.bm25_views import Held, Table, of_now, views
from dtrag_core.index.postings import (
    BLOCK,
    PROBE,
    RANGE,
    Bytes,
    Integer,
    block_count,
    frequency_of,
    length_norm,
    lower_bound,
    saturated,
)
from dtrag_core.types import FloatArray, IdArray

_SCORED_AT_ONCE: Final = 512


class _Room(NamedTuple):
    """Working memory for so many rows; what is noted of them stays in the first cache levels.

    built_norms, norms, totals: float64[rows].
    holding: int64[3, rows + 1], of those that hold a term: which, the place of the posting, and q.
        One more is tried at the end.
    """

    built_norms: NDArray[np.float64]
    norms: NDArray[np.float64]
    totals: NDArray[np.float64]
    holding: NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def _room_for(rows: int) -> _Room:
    """Return room for so many rows, at most `_SCORED_AT_ONCE`."""
    rows = min(rows, _SCORED_AT_ONCE)
    numbers = np.empty((3, rows), np.float64)
    return _Room(numbers[0], numbers[1], numbers[2], np.empty((3, rows + 1), np.int64))


@numba.njit(cache=True, nogil=True)
def rescored(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    best: FloatArray,
    rows: IdArray,
    most: FloatArray,
    marks: FloatArray,
) -> tuple[IdArray, FloatArray]:
    """Return the best of the candidates by their exact scores.

    Those k that may score most are scored first; of the others only those that may score more
    than the least of these.

    rows, most: the candidates, rows of the index, and what each can score at most.
    marks: see `_score_rows`. Other arguments as of `bm25_kernel.search`.
    """
    k, average_length = len(best) - 1, of_now(table).average_length
    ids, picked = np.empty(len(rows), np.int32), np.empty(len(rows) + 1, np.int32)
    scores = np.empty(len(rows), np.float32)
    first_cut = reached_by(most, k, threshold(best))
    least = np.float32(np.inf)
    scored, room = 0, _room_for(len(rows))
    for others in range(2):
        cutoff = first_cut
        if others:
            cutoff = max(threshold(best), least if scored >= k else np.float32(0))
        few = 0
        for which in range(len(rows)):
            picked[few] = rows[which]
            few += most[which] >= cutoff and (most[which] < first_cut) == (others == 1)
        for segment in range(len(table)):
            held = views(table, segment)
            before = scored
            for row in picked[:few]:
                if held.first_row <= row < held.first_row + held.rows:
                    ids[scored] = row - held.first_row
                    scored += 1
            for first in range(before, scored, _SCORED_AT_ONCE):
                new = slice(first, min(first + _SCORED_AT_ONCE, scored))
                _score_rows(
                    held, numbers[segment], weights, average_length, ids[new],
                    marks if held.rows <= BLOCK else marks[:0], room, scores[new],
                )  # fmt: skip
            for which in range(before, scored):
                least = min(least, scores[which])
                ids[which] += held.first_row
    return best_of(ids[:scored], scores[:scored], k)


@numba.njit(cache=True, nogil=True)
def score(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    ids: IdArray,
) -> FloatArray:
    """Return the exact score float32[n] of any rows; arguments as of `search`."""
    scores, average_length = np.zeros(len(ids), np.float32), of_now(table).average_length
    rows, places = np.empty(len(ids), np.int32), np.empty(len(ids), np.int64)
    found, no_marks = np.empty(len(ids), np.float32), np.empty(0, np.float32)
    room = _room_for(len(ids))
    for segment in range(len(table)):
        held = views(table, segment)
        count = 0
        for place in range(len(ids)):
            rows[count], places[count] = ids[place] - held.first_row, place
            count += 0 <= rows[count] < held.rows
        for first in range(0, count, _SCORED_AT_ONCE):
            some = slice(first, min(first + _SCORED_AT_ONCE, count))
            _score_rows(
                held, numbers[segment], weights, average_length, rows[some], no_marks, room,
                found[some],
            )  # fmt: skip
        for which in range(count):
            scores[places[which]] = found[which]
    return scores


@numba.njit(cache=True, nogil=True)
def score_words(table: Table, text: bytes, separator: int, count: int, ids: IdArray) -> FloatArray:
    """Return what `score` does for words, given as `resolve` takes them."""
    numbers, weights = resolve(table, text, separator, count)
    return score(table, numbers, weights, ids)


@uncounted
def _score_rows(
    held: Held,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    average_length: float,
    wanted: IdArray,
    marks: FloatArray,
    room: _Room,
    scores: FloatArray,
) -> None:
    """Set `scores` float32[n] to those of these rows of a segment, 0 without a term.

    numbers: int32[3, m], of each query term its number in the segment, among its dense and among
        its frequent terms.
    weights: float64[m], idf * multiplicity.
    average_length: of now; the sum is float64 in the order of the terms, rounded at the end.
    marks: float32[rows or more], 0 before and after; or empty, and rows may be given twice.
    room: for the rows, at most `_SCORED_AT_ONCE`.

    One term after the other for all rows, so that the processor waits for many at once.
    """
    blocks, count = block_count(held.rows), len(wanted)
    k1, b, built_length = held.parameters[0], held.parameters[1], held.parameters[2]
    built_norms, norms, totals, holding = room
    totals[:count] = 0
    for which in range(count):
        length = held.lengths[wanted[which]]
        built_norms[which] = length_norm(k1, b, length, built_length)
        norms[which] = length_norm(k1, b, length, average_length)
        if len(marks) > 0:
            marks[wanted[which]] = which + 1
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
        elif len(marks) > 0 and stop - start < PROBE * count:
            matching = _pass(held.ids, held.saturations, start, stop, marks, holding)
        else:
            matching = _search(held, offsets, int(numbers[2, term]), wanted, holding)
        _add(held, holding[:, :matching], weights[term], built_norms, norms, totals)
    for which in range(count):
        scores[which] = totals[which]
        if len(marks) > 0:
            marks[wanted[which]] = 0


@numba.njit(inline="always")
def _add(
    held: Held,
    holding: NDArray[np.int64],
    weight: float,
    built_norms: NDArray[np.float64],
    norms: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> None:
    """Add a term to the totals of the rows that hold it."""
    exceptions, least = held.exceptions, np.int64(held.parameters[4])
    for at in range(holding.shape[1]):
        which, place, q = holding[0, at], holding[1, at], holding[2, at]
        frequency: Integer = frequency_of(q, built_norms[which])
        if q >= least:
            exception = lower_bound(exceptions, 0, len(exceptions), place)
            if exception < len(exceptions) and exceptions[exception] == place:
                frequency = np.int64(held.exception_frequencies[exception])
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
    held: Held,
    offsets: NDArray[np.uint32],
    frequent: int,
    wanted: IdArray,
    holding: NDArray[np.int64],
) -> int:
    """Do the same by a binary search for each row.

    offsets: of the term in every block. frequent: its number among the frequent terms, or -1.
    """
    count = 0
    for which in range(len(wanted)):
        block, within = divmod(np.int64(wanted[which]), BLOCK)
        low, end = np.int64(offsets[block]), np.int64(offsets[block + 1])
        if frequent >= 0:
            number = np.int64(wanted[which]) // RANGE
            if within + RANGE < BLOCK and (number + 1) * RANGE < held.rows:
                end = low + np.int64(held.range_starts[frequent, number + 1])
            low += np.int64(held.range_starts[frequent, number])
        place = lower_bound(held.ids, low, end, within)
        if place < end and np.int64(held.ids[place]) == within:
            holding[0, count], holding[1, count] = which, place
            holding[2, count] = held.saturations[place]
            count += 1
    return count
