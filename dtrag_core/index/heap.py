"""The best entries seen so far, for numba kernels: a heap in two arrays, ties by id.

Unfilled places hold the id -1 and a score that every entry beats.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import uncounted
from dtrag_core.types import FloatArray, IdArray


@numba.njit(cache=True, nogil=True)
def empty_heaps(sizes: NDArray[np.int64]) -> tuple[NDArray[np.int32], FloatArray]:
    """Return ids int32[n, m] and scores float32[n, m] of heaps, each in its row's first places.

    `m` is the largest of `sizes`.
    """
    shape = len(sizes), max(sizes.max(), 0) if len(sizes) else 0
    return np.full(shape, np.int32(-1)), np.full(shape, np.float32(-np.inf))


@uncounted
def replace_worst(ids: IdArray, scores: FloatArray, entry: int, score: np.float32) -> None:
    """Put an entry in the place of the worst one, the root: lowest score, then highest id."""
    ids[0] = entry
    scores[0] = score
    _sift_down(ids, scores, len(ids))


@numba.njit(cache=True, nogil=True)
def sort_heap(ids: IdArray, scores: FloatArray) -> tuple[IdArray, FloatArray]:
    """Sort in place, best first, ties by id; return the filled places."""
    for size in range(len(ids) - 1, 0, -1):
        ids[0], ids[size] = ids[size], ids[0]
        scores[0], scores[size] = scores[size], scores[0]
        _sift_down(ids, scores, size)
    filled = 0
    while filled < len(ids) and ids[filled] >= 0:
        filled += 1
    return ids[:filled], scores[:filled]


@uncounted
def _sift_down(ids: IdArray, scores: FloatArray, size: int) -> None:
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            return
        right = child + 1
        if right < size and (
            scores[right] < scores[child]
            or (scores[right] == scores[child] and ids[right] > ids[child])
        ):
            child = right
        if scores[parent] < scores[child] or (
            scores[parent] == scores[child] and ids[parent] > ids[child]
        ):
            return
        ids[parent], ids[child] = ids[child], ids[parent]
        scores[parent], scores[child] = scores[child], scores[parent]
        parent = child
