"""The k best of a score array, or of several searches, ties by id: shared by both legs."""

from collections.abc import Sequence

import numba
import numpy as np

from dtrag_core.index.heap import replace_worst, sort_heap
from dtrag_core.types import CandidateBatch, Candidates, FloatArray, IdArray, Mask


@numba.njit(cache=True, nogil=True)
def select_top(scores: FloatArray, k: int, above: float, mask: Mask) -> tuple[IdArray, FloatArray]:
    """Return the ids int32[m] and scores float32[m] of the `k` best scores greater than `above`.

    Descending, ties by id; m <= k. `mask` is bool[n] of allowed rows, or empty for all.
    """
    masked = len(mask) > 0
    heap_ids = np.full(k, -1, np.int32)
    heap_scores = np.full(k, np.float32(above), np.float32)
    # An unfilled place carries the threshold itself and the id -1, which loses to nothing: only a
    # strictly greater score enters, and rows come in id order, so ties stay with the lower id.
    threshold = np.float32(above)
    for row in range(len(scores)):
        score = scores[row]
        if score > threshold and (not masked or mask[row]):
            replace_worst(heap_ids, heap_scores, row, score)
            threshold = heap_scores[0]
    return sort_heap(heap_ids, heap_scores)


def merge(parts: Sequence[Candidates], depth: int) -> Candidates:
    """Return the `depth` best of several searches over different rows, by BM25 or by vector.

    Scores of any sign are kept: what no leg should return, its parts have not returned.
    """
    ids = np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)])
    scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
    best = np.lexsort((ids, -scores))[:depth]
    return Candidates(ids[best], scores[best])


def joined(found: Sequence[Candidates]) -> CandidateBatch:
    """Return the candidates of several queries as a batch."""
    return CandidateBatch(
        np.concatenate([np.zeros(0, np.int32), *(each.ids for each in found)]),
        np.concatenate([np.zeros(0, np.float32), *(each.scores for each in found)]),
        np.cumsum([0, *map(len, found)]),
    )
