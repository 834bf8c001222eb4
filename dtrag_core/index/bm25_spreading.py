"""Spreading the postings of all terms of a query out over a tile: a sum for each of its rows.

Dense terms are added by vector instructions, and one vector pass finds the groups of rows whose
largest sum reaches the threshold. Terms that could be looked up for few rows instead are added too:
finding out which rows those are takes as long (measured; adding them is up to 1.4 times as fast).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_following import take_down
from dtrag_core.index.bm25_lists import Lists, enter
from dtrag_core.index.bm25_selection import TILE, fold, gather, raise_bound, reaching, threshold
from dtrag_core.index.postings import BLOCK, Bytes
from dtrag_core.types import FloatArray, IdArray, Mask


@numba.njit(cache=True, nogil=True)
def spread(
    ids: NDArray[np.uint16],
    saturations: Bytes,
    dense: Bytes,
    lists: Lists,
    terms: int,
    start: int,
    size: int,
    mask: Mask,
    live: Mask,
    margin: np.float32,
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
    maxima: float32[GROUPS].
    """
    base = start % BLOCK
    for term in range(terms):
        if lists.in_dense[term] < 0:
            enter(ids, lists.starts, lists.stops, lists.ends, term, base, base + size)
            _add_sparse(sums, ids, saturations, lists, term, base)
    _add_dense(sums, dense, lists, terms, start, size)
    _keep(sums, mask)
    _keep(sums, live)
    fold(sums, maxima)
    raise_bound(maxima, margin, best)
    cutoff = threshold(best) - margin
    if reaching(maxima, cutoff) > 0:
        count = gather(sums, maxima, cutoff, touched)
        found = take_down(sums, touched, count, start, margin, best, rows, most, found)
    sums[:TILE] = 0
    return found


@numba.njit(inline="always")
def _add_sparse(
    sums: FloatArray,
    ids: NDArray[np.uint16],
    saturations: Bytes,
    lists: Lists,
    term: int,
    base: int,
) -> None:
    weight = lists.weights[term]
    for place in range(lists.starts[term], lists.stops[term]):
        sums[np.int64(ids[place]) - base] += weight * np.float32(saturations[place])


@numba.njit(inline="always")
def _add_dense(
    sums: FloatArray, dense: Bytes, lists: Lists, terms: int, start: int, size: int
) -> None:
    """Add the dense terms, two at a time: half the traffic to the sums."""
    in_dense, weights, _, _, _, _ = lists
    waiting = -1
    for term in range(terms):
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


@numba.njit(inline="always")
def _add_one(sums: FloatArray, saturations: Bytes, weight: np.float32) -> None:
    for row in range(len(saturations)):
        sums[row] += weight * np.float32(saturations[row])


@numba.njit(inline="always")
def _add_two(
    sums: FloatArray,
    first: Bytes,
    first_weight: np.float32,
    second: Bytes,
    second_weight: np.float32,
) -> None:
    for row in range(len(first)):
        sums[row] += first_weight * np.float32(first[row]) + second_weight * np.float32(second[row])


@numba.njit(inline="always")
def _keep(sums: FloatArray, allowed: Mask) -> None:
    """Clear the sums of rows that are not allowed; an empty mask allows all."""
    for row in range(len(allowed)):
        sums[row] = sums[row] if allowed[row] else np.float32(0)
