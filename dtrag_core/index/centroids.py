"""The lists of an inverted file: how many, their centroids, which rows belong to which.

Vectors are unit length (or zero), so k-means is spherical (Dhillon and Modha 2001): a row belongs
to the centroid of largest inner product, and a centroid is the direction of its rows' sum. Codes
hold what a row differs from its centroid by (Jegou, Douze and Schmid 2011, section IV): smaller
numbers, hence finer steps at the same eight bits.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.errors import EmbeddingError, InvalidRequestError
from dtrag_core.index.halves import Codes, half_width, in_halves
from dtrag_core.optimization.memory_optimizer import EmbeddingQuantizer
from dtrag_core.types import FloatArray

_EXACT_BELOW: Final = 4_000
_ROUNDS: Final = 8
_ROWS_AT_ONCE: Final = 4_096
_POWERS: Final = 5


def list_count(rows: int) -> int:
    """Return how many lists a corpus of this many rows gets; 1 where exact search is cheaper."""
    if rows < _EXACT_BELOW:
        return 1
    return min(rows // 100, int(3.2 * rows**0.5), 4_096)


def outgrown(lists: int, rows: int) -> bool:
    """Return whether a quarter of the rows would get more lists: the corpus has grown fourfold."""
    return list_count(rows // 4) > lists


def train_centroids(sample: FloatArray, lists: int, seed: int = 0) -> FloatArray:
    """Return float32[lists, d] centroids of float32[n, d], each of length 1.

    Those near each other have numbers near each other, so that rows of like topics lie together,
    and BM25 passes over more of the others. Where the sample has fewer rows than there are lists,
    its rows are the first centroids and the others are zero. Raises InvalidRequestError for less
    than one list.
    """
    if lists < 1:
        raise InvalidRequestError(f"lists must be positive, got {lists}")
    random = np.random.default_rng(seed)
    sample = np.asarray(sample, np.float32)
    rows, dimension = sample.shape
    centroids = np.zeros((lists, dimension), np.float32)
    filled = min(lists, rows)
    centroids[:filled] = _directions(sample[random.choice(rows, filled, replace=False)])
    if filled < lists or rows == 0:
        return centroids
    for _ in range(_ROUNDS):
        assigned = assign_lists(sample, centroids)
        sizes = np.bincount(assigned, minlength=lists)
        used = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[used]
        order = np.argsort(assigned, kind="stable")
        centroids[used] = _directions(np.add.reduceat(sample[order], starts, axis=0))
        empty = np.flatnonzero(sizes == 0)
        centroids[empty] = _directions(sample[random.choice(rows, len(empty), replace=False)])
    return centroids[_neighbours_together(centroids, np.arange(lists))]


def _neighbours_together(vectors: FloatArray, some: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return some rows' numbers in another order: halved along where they differ most, and again.

    That direction is found by power iteration.
    """
    if len(some) < 3:
        return some
    apart = vectors[some] - vectors[some].mean(axis=0)
    lengths = np.einsum("ij,ij->i", apart, apart)
    direction = apart[np.argmax(lengths)]
    for _ in range(_POWERS):
        direction = _directions((apart @ direction) @ apart)
    order = some[np.argsort(apart @ direction, kind="stable")]
    halves = np.array_split(order, 2)
    return np.concatenate([_neighbours_together(vectors, half) for half in halves])


def assign_lists(vectors: FloatArray, centroids: FloatArray) -> NDArray[np.int32]:
    """Return int32[n]: the centroid of largest inner product with each row of float32[n, d].

    Raises EmbeddingError if the dimensions differ.
    """
    if vectors.shape[1:] != centroids.shape[1:]:
        raise EmbeddingError(
            f"vectors of shape {vectors.shape} do not fit centroids of shape {centroids.shape}; "
            "both must come from one embedder"
        )
    assigned = np.empty(len(vectors), np.int32)
    for here in _blocks(len(vectors)):
        assigned[here] = np.argmax(vectors[here] @ centroids.T, axis=1)
    return assigned


def list_bounds(lists_sorted: NDArray[np.int32], lists: int) -> NDArray[np.int32]:
    """Return int32[lists + 1]: the rows of list l are [bounds[l], bounds[l + 1]).

    `lists_sorted` int32[n] is the list of every row, ascending.
    """
    return np.searchsorted(lists_sorted, np.arange(lists + 1)).astype(np.int32)


def encode_rows(vectors: FloatArray, lists: NDArray[np.int32], centroids: FloatArray) -> Codes:
    """Return the codes of what rows of float32[n, d] differ from their centroids by.

    A row is restored as the centroid of its list, itself restored from int8 codes, plus code *
    scale. Raises EmbeddingError for NaN or infinity.
    """
    quantizer = EmbeddingQuantizer()
    coarse, coarse_scales = quantizer.quantize_batch(centroids)
    halves = np.empty((2, len(vectors), half_width(vectors.shape[1])), np.uint8)
    scales = np.empty(len(vectors), np.float32)
    lengths = np.zeros(2, np.float32)
    for here in _blocks(len(vectors)):
        of = lists[here]
        restored = coarse[of].astype(np.float32) * coarse_scales[of, np.newaxis]
        codes, steps = quantizer.quantize_batch(vectors[here] - restored)
        scales[here] = np.where(np.any(codes, axis=1), steps, 0)
        halves[:, here], largest = in_halves(codes)
        lengths = np.maximum(lengths, largest)
    return Codes(halves, scales, lengths)


def _directions(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, rows))
