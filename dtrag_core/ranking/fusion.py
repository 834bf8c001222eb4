"""Fusing two legs: pure functions on arrays.

Sources: reciprocal rank fusion, Cormack, Clarke and Buettcher 2009; convex combination with a
fixed minimum, Bruch, Gai and Ingber 2023.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.errors import InvalidRequestError
from dtrag_core.types import FloatArray, Fusion, IdArray

BM25_MINIMUM: Final = 0.0


_FEW: Final = 512


def union_by_rank(first: IdArray, second: IdArray, cap: int) -> IdArray:
    """Return at most `cap` distinct ids int32[m] of two rankings, taking turns from their heads."""
    if len(first) + len(second) <= _FEW:
        few: IdArray = union_of_few(first, second, cap)
        return few
    longest = max(len(first), len(second))
    turns = np.full((longest, 2), -1, np.int32)
    turns[: len(first), 0], turns[: len(second), 1] = first, second
    taken = turns.ravel()
    taken = taken[taken >= 0]
    _, places = np.unique(taken, return_index=True)
    union: IdArray = taken[np.sort(places)[:cap]]
    return union


@numba.njit(cache=True, nogil=True)
def union_of_few(first: IdArray, second: IdArray, cap: int) -> IdArray:
    """Return the same by comparing each with all: the quickest way for a few hundred."""
    most = min(cap, len(first) + len(second))
    union = np.empty(most, np.int32)
    found = 0
    for rank in range(max(len(first), len(second))):
        for ranking in (first, second):
            if rank >= len(ranking) or found == most:
                continue
            candidate = ranking[rank]
            known = False
            for position in range(found):
                if union[position] == candidate:
                    known = True
                    break
            if not known:
                union[found] = candidate
                found += 1
    return union[:found]


def check_fusion(fusion: Fusion) -> None:
    """Raise InvalidRequestError unless the fusion's parameters are in their domains."""
    if fusion.method not in ("weighted", "rrf"):
        raise InvalidRequestError(f"unknown fusion {fusion.method!r}; known: rrf, weighted")
    if not 0 <= fusion.bm25_weight <= 1:
        raise InvalidRequestError(f"bm25_weight must be in 0..1, got {fusion.bm25_weight}")
    if fusion.rrf_k < 1:
        raise InvalidRequestError(f"rrf_k must be at least 1, got {fusion.rrf_k}")


def fuse(bm25: FloatArray, cosine: FloatArray, fusion: Fusion, cosine_min: float) -> FloatArray:
    """Return the fused score float32[n] of n candidates from both exact scores float32[n]."""
    if fusion.method == "rrf":
        return reciprocal_ranks(bm25, cosine, fusion.rrf_k)
    return weighted_sum(bm25, cosine, fusion.bm25_weight, cosine_min)


def weighted_sum(
    bm25: FloatArray, cosine: FloatArray, bm25_weight: float, cosine_min: float
) -> FloatArray:
    """Return w * normalised BM25 + (1 - w) * normalised cosine, float32[n].

    Normalisation maps the fixed minimum (0 for BM25, `cosine_min`, or the least cosine here where
    that is lower) to 0 and the query's maximum to 1; a leg whose maximum does not exceed its
    minimum says nothing and contributes 0.
    """
    cosine_min = min(cosine_min, float(cosine.min(initial=cosine_min)))
    fused = bm25_weight * _normalized(bm25, BM25_MINIMUM)
    fused += (1.0 - bm25_weight) * _normalized(cosine, cosine_min)
    return fused.astype(np.float32, copy=False)


def reciprocal_ranks(bm25: FloatArray, cosine: FloatArray, rrf_k: int) -> FloatArray:
    """Return the sum over legs of 1 / (rrf_k + rank), float32[n]; ranks are among the candidates.

    A candidate without any query term (BM25 0) is not ranked by BM25. Ties share the better rank,
    so that the order of candidates does not matter.
    """
    by_bm25 = np.where(bm25 > BM25_MINIMUM, 1.0 / (rrf_k + _ranks(bm25)), 0.0)
    return (by_bm25 + 1.0 / (rrf_k + _ranks(cosine))).astype(np.float32)


def order_by_score(ids: IdArray, scores: FloatArray, topk: int) -> NDArray[np.intp]:
    """Return the positions of the `topk` best: descending score, ties by id."""
    return np.lexsort((ids, -scores))[:topk]


def _normalized(scores: FloatArray, minimum: float) -> FloatArray:
    largest = float(scores.max(initial=minimum))
    if largest <= minimum:
        return np.zeros_like(scores)
    return (scores - np.float32(minimum)) / np.float32(largest - minimum)


def _ranks(scores: FloatArray) -> NDArray[np.intp]:
    ascending = np.sort(scores)
    return len(scores) - np.searchsorted(ascending, scores, side="right") + 1
