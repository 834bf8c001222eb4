"""The k best of a score array, ties by id: shared by both legs."""

import numba
import numpy as np

from dtrag_core.types import FloatArray, IdArray, Mask


@numba.njit(cache=True, nogil=True)
def _sift_down(ids: IdArray, scores: FloatArray, size: int) -> None:
    """Restore the heap whose root is the worst kept entry: lowest score, then highest id."""
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
            heap_ids[0] = row
            heap_scores[0] = score
            _sift_down(heap_ids, heap_scores, k)
            threshold = heap_scores[0]
    # Heap sort in place: the worst of what is left goes to the end.
    for size in range(k - 1, 0, -1):
        heap_ids[0], heap_ids[size] = heap_ids[size], heap_ids[0]
        heap_scores[0], heap_scores[size] = heap_scores[size], heap_scores[0]
        _sift_down(heap_ids, heap_scores, size)
    filled = 0
    while filled < k and heap_ids[filled] >= 0:
        filled += 1
    return heap_ids[:filled], heap_scores[:filled]
