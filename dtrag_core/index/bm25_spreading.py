"""Spreading the postings of leading terms out over a tile: a sum for each of its rows.

Dense terms are added by vector instructions, and one vector pass finds the groups of rows whose
largest sum, with all that is left out, reaches the threshold; their rows are settled. Where these
are so many that adding up is quicker, one more term is added first.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_following import settle, touch
from dtrag_core.index.bm25_lists import Lists, enter
from dtrag_core.index.bm25_selection import TILE, fold, gather, raise_bound, reaching, threshold
from dtrag_core.index.postings import BLOCK, Bytes
from dtrag_core.types import FloatArray, IdArray, Mask

# Groups of rows that are settled in the time of adding a term.
_GROUPS_AT_MOST: Final = 24
# Sparse postings are settled by themselves if they are fewer than one in so many rows. What the
# other rows score is then known more closely, as these terms make no error there.
_APART: Final = 32


@numba.njit(cache=True, nogil=True)
def spread(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    lists: Lists,
    leading: int,
    terms: int,
    start: int,
    size: int,
    mask: Mask,
    live: Mask,
    error: np.float32,
    best: FloatArray,
    sums: FloatArray,
    maxima: FloatArray,
    touched: IdArray,
    rows: IdArray,
    most: FloatArray,
    found: int,
) -> int:
    """Take down the rows of a tile that may be among the best; return how many there are now.

    Arguments as of `follow`. The span is a tile, or the `size` rows that a last one has.
    error: of a sum, for each unit of weight. maxima: float32[GROUPS].
    """
    in_dense, _, to_come, starts, stops, ends = lists
    base, added = start % BLOCK, leading
    postings, sparse_margin, rest = _margins(lists, leading, terms, error)
    apart, count = postings < TILE // _APART, 0
    if apart:
        count = touch(ids, saturations, lists, leading, base, sums, touched)
    else:
        rest += sparse_margin
        _add_sparse(sums, ids, saturations, lists, 0, leading, base)
    _add_dense(sums, dense, lists, 0, leading, start, size)
    while True:
        _keep(sums, mask)
        _keep(sums, live)
        fold(sums, maxima)
        if apart:
            raise_bound(maxima, rest + sparse_margin, best)
            found = settle(
                ids, saturations, dense, lists, leading, terms, start, size, mask, live,
                rest + sparse_margin, best, sums, touched, count, False, rows, most, found,
            )  # fmt: skip
            # The terms left out cannot bring back what was settled: they stay below the threshold.
            fold(sums, maxima)
            apart = False
        raise_bound(maxima, rest, best)
        cutoff = threshold(best) - rest - to_come[added]
        groups = reaching(maxima, cutoff)
        if groups <= _GROUPS_AT_MOST or to_come[added] <= 0:
            break
        if in_dense[added] < 0:
            enter(ids, starts, stops, ends, added, base, base + size)
        _add_sparse(sums, ids, saturations, lists, added, added + 1, base)
        _add_dense(sums, dense, lists, added, added + 1, start, size)
        added += 1
    if groups > 0:
        count = gather(sums, maxima, cutoff, touched)
        found = settle(
            ids, saturations, dense, lists, added, terms, start, size, mask, live, rest,
            best, sums, touched, count, True, rows, most, found,
        )  # fmt: skip
    sums[:TILE] = 0
    return found


@numba.njit(cache=True, nogil=True)
def _margins(
    lists: Lists, leading: int, terms: int, error: np.float32
) -> tuple[int, np.float32, np.float32]:
    """Return the postings of the sparse leading terms, the margin they make, and that of the rest.

    A margin is the largest error of a sum.
    """
    postings, sparse, rest = 0, np.float32(0), np.float32(0)
    for term in range(terms):
        if term < leading and lists.in_dense[term] < 0:
            sparse += error * lists.weights[term]
            postings += lists.stops[term] - lists.starts[term]
        else:
            rest += error * lists.weights[term]
    return postings, sparse, rest


@numba.njit(cache=True, nogil=True)
def _add_sparse(
    sums: FloatArray,
    ids: NDArray[np.uint16],
    saturations: Bytes,
    lists: Lists,
    first: int,
    last: int,
    base: int,
) -> None:
    """Add the postings of the sparse ones of some terms."""
    in_dense, weights, _, starts, stops, _ = lists
    for term in range(first, last):
        if in_dense[term] >= 0:
            continue
        weight = weights[term]
        for place in range(starts[term], stops[term]):
            sums[np.int64(ids[place]) - base] += weight * np.float32(saturations[place])


@numba.njit(cache=True, nogil=True)
def _add_dense(
    sums: FloatArray, dense: Bytes, lists: Lists, first: int, last: int, start: int, size: int
) -> None:
    """Add the dense ones of some terms, two at a time: half the traffic to the sums."""
    in_dense, weights, _, _, _, _ = lists
    waiting = -1
    for term in range(first, last):
        if in_dense[term] < 0:
            continue
        values = dense[in_dense[term], start : start + size]
        if waiting < 0:
            waiting = term
        else:
            others = dense[in_dense[waiting], start : start + size]
            _add_two(sums, others, weights[waiting], values, weights[term])
            waiting = -1
    if waiting >= 0:
        values = dense[in_dense[waiting], start : start + size]
        _add_one(sums, values, weights[waiting])


@numba.njit(cache=True, nogil=True)
def _add_one(sums: FloatArray, saturations: Bytes, weight: np.float32) -> None:
    for row in range(len(saturations)):
        sums[row] += weight * np.float32(saturations[row])


@numba.njit(cache=True, nogil=True)
def _add_two(
    sums: FloatArray,
    first: Bytes,
    first_weight: np.float32,
    second: Bytes,
    second_weight: np.float32,
) -> None:
    for row in range(len(first)):
        sums[row] += first_weight * np.float32(first[row]) + second_weight * np.float32(second[row])


@numba.njit(cache=True, nogil=True)
def _keep(sums: FloatArray, allowed: Mask) -> None:
    """Clear the sums of rows that are not allowed; an empty mask allows all."""
    for row in range(len(allowed)):
        sums[row] = sums[row] if allowed[row] else np.float32(0)
