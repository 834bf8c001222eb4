"""The BM25 kernels for many queries in one call: what one costs in Python, all cost together.

Queries lie one after the other: those of query i are [starts[i], starts[i + 1]) of what is there
for each term, each candidate or each id.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_kernel import ALL_TILES, search
from dtrag_core.index.bm25_scores import score
from dtrag_core.index.bm25_terms import resolve_part
from dtrag_core.index.bm25_views import Table
from dtrag_core.types import FloatArray, IdArray, Mask, Starts


@numba.njit(cache=True, nogil=True)
def resolve_batch(
    table: Table, text: bytes, separator: int, starts: Starts
) -> tuple[NDArray[np.int32], NDArray[np.float64], Starts]:
    """Return what `resolve` does for each of n queries: numbers, weights and starts of its terms.

    text: the words of all queries; starts: int64[n + 1], of words.
    """
    numbers = np.empty((len(table), 3, starts[-1]), np.int32)
    weights = np.empty(starts[-1], np.float64)
    ends = np.zeros(len(starts), np.int64)
    letter, known = 0, 0
    for query in range(len(starts) - 1):
        count = starts[query + 1] - starts[query]
        found, idf, _, letter = resolve_part(table, text, separator, letter, count)
        numbers[:, :, known : known + len(idf)] = found
        weights[known : known + len(idf)] = idf
        known += len(idf)
        ends[query + 1] = known
    return numbers[:, :, :known].copy(), weights[:known].copy(), ends


@numba.njit(cache=True, nogil=True)
def search_batch(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    starts: Starts,
    depths: NDArray[np.int64],
    mask: Mask,
    scratch: FloatArray,
) -> tuple[IdArray, FloatArray, Starts]:
    """Return what `search` does for each query: ids, scores and starts of its candidates.

    depths: int64[n], k of each. Other arguments as of `search`.
    """
    room = depths.sum()
    ids, scores = np.empty(room, np.int32), np.empty(room, np.float32)
    ends = np.zeros(len(starts), np.int64)
    end = np.int64(0)
    for query in range(len(starts) - 1):
        first, last = starts[query], starts[query + 1]
        if first < last and depths[query] > 0:
            found, of = search(
                table,
                numbers[:, :, first:last].copy(),
                weights[first:last],
                depths[query],
                mask,
                0,
                ALL_TILES,
                scratch,
            )
            ids[end : end + len(found)] = found
            scores[end : end + len(found)] = of
            end += len(found)
        ends[query + 1] = end
    return ids[:end], scores[:end], ends


@numba.njit(cache=True, nogil=True)
def score_batch(
    table: Table,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    starts: Starts,
    ids: IdArray,
    ends: Starts,
) -> FloatArray:
    """Return what `score` does for each query's ids, those before ends[i + 1] and after ends[i]."""
    scores = np.zeros(len(ids), np.float32)
    for query in range(len(starts) - 1):
        terms, rows = slice(starts[query], starts[query + 1]), slice(ends[query], ends[query + 1])
        if rows.start < rows.stop:
            scores[rows] = score(table, numbers[:, :, terms].copy(), weights[terms], ids[rows])
    return scores
