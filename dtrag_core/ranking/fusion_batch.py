"""Fusing many queries' legs in one call, each as `fusion` fuses one by the weighted sum."""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.ranking.fusion import first_of_few, union_of_few_with_scores, weighted
from dtrag_core.types import CandidateBatch, FloatArray, IdArray, Starts


class Union(NamedTuple):
    """The candidates of n queries, one query after the other, and what is known of each.

    ids: int32[m]. starts: int64[n + 1]. bm25, cosine: float32[m], 0 where a leg gave none.
    no_bm25, no_cosine: int64, the places that lack it, and `..._starts` those of each query.
    """

    ids: IdArray
    starts: Starts
    bm25: FloatArray
    cosine: FloatArray
    no_bm25: NDArray[np.int64]
    no_bm25_starts: Starts
    no_cosine: NDArray[np.int64]
    no_cosine_starts: Starts


class Fused(NamedTuple):
    """The best of n queries: places int64[m] in the union, scores, and starts int64[n + 1]."""

    places: NDArray[np.int64]
    scores: FloatArray
    starts: Starts


def union_batch(bm25: CandidateBatch, vector: CandidateBatch, caps: NDArray[np.int64]) -> Union:
    """Return each query's candidates as `union_by_rank` and `known_scores` do; `caps` int64[n]."""
    found = _union(
        bm25.ids, bm25.scores, bm25.starts, vector.ids, vector.scores, vector.starts, caps
    )
    return Union(*found)


def fuse_batch(
    union: Union, bm25_weights: FloatArray, cosine_min: float, topks: NDArray[np.int64]
) -> Fused:
    """Return each query's best as `weighted_sum` and `order_by_score` do.

    `bm25_weights` float32[n], `topks` int64[n]; every candidate has both scores.
    """
    found = _fuse(
        union.ids,
        union.starts,
        union.bm25,
        union.cosine,
        bm25_weights,
        np.float32(cosine_min),
        topks,
    )
    return Fused(*found)


def warm_up() -> None:
    """Run every kernel once, so that no search pays for loading one."""
    one = CandidateBatch(np.zeros(1, np.int32), np.ones(1, np.float32), np.array([0, 1]))
    union = union_batch(one, one, np.ones(1, np.int64))
    fuse_batch(union, np.ones(1, np.float32), 0.0, np.ones(1, np.int64))


@numba.njit(cache=True, nogil=True)
def _union(
    bm25_ids: IdArray,
    bm25_scores: FloatArray,
    bm25_starts: Starts,
    vector_ids: IdArray,
    vector_scores: FloatArray,
    vector_starts: Starts,
    caps: NDArray[np.int64],
) -> tuple[
    IdArray,
    Starts,
    FloatArray,
    FloatArray,
    NDArray[np.int64],
    Starts,
    NDArray[np.int64],
    Starts,
]:
    room = len(bm25_ids) + len(vector_ids)
    ids = np.empty(room, np.int32)
    bm25, cosine = np.empty(room, np.float32), np.empty(room, np.float32)
    no_bm25, no_cosine = np.empty(room, np.int64), np.empty(room, np.int64)
    starts = np.zeros((3, len(caps) + 1), np.int64)
    for query in range(len(caps)):
        worded = slice(bm25_starts[query], bm25_starts[query + 1])
        near = slice(vector_starts[query], vector_starts[query + 1])
        union, scores, lacks_bm25, lacks_cosine = union_of_few_with_scores(
            bm25_ids[worded], bm25_scores[worded], vector_ids[near], vector_scores[near],
            caps[query],
        )  # fmt: skip
        begin, first, second = starts[0, query], starts[1, query], starts[2, query]
        here = slice(begin, begin + len(union))
        ids[here], bm25[here], cosine[here] = union, scores[0], scores[1]
        no_bm25[first : first + len(lacks_bm25)] = begin + lacks_bm25
        no_cosine[second : second + len(lacks_cosine)] = begin + lacks_cosine
        starts[0, query + 1] = begin + len(union)
        starts[1, query + 1] = first + len(lacks_bm25)
        starts[2, query + 1] = second + len(lacks_cosine)
    end, first, second = starts[0, -1], starts[1, -1], starts[2, -1]
    return (
        ids[:end],
        starts[0].copy(),
        bm25[:end],
        cosine[:end],
        no_bm25[:first],
        starts[1].copy(),
        no_cosine[:second],
        starts[2].copy(),
    )


@numba.njit(cache=True, nogil=True)
def _fuse(
    ids: IdArray,
    starts: Starts,
    bm25: FloatArray,
    cosine: FloatArray,
    bm25_weights: FloatArray,
    cosine_min: np.float32,
    topks: NDArray[np.int64],
) -> tuple[NDArray[np.int64], FloatArray, Starts]:
    places, scores = np.empty(len(ids), np.int64), np.empty(len(ids), np.float32)
    ends = np.zeros(len(starts), np.int64)
    end = np.int64(0)
    for query in range(len(topks)):
        here = slice(starts[query], starts[query + 1])
        fused = weighted(bm25[here], cosine[here], bm25_weights[query], cosine_min)
        count = min(topks[query], len(fused))
        best = first_of_few(ids[here], fused, cosine[here], count)
        for place in best:
            places[end] = starts[query] + place
            scores[end] = fused[place]
            end += 1
        ends[query + 1] = end
    return places[:end], scores[:end], ends
