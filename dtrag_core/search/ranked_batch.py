"""Ranking what both legs found for many queries: what `rank` does, in a few calls for all."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dtrag_core.engines.base import BatchSession
from dtrag_core.ranking.fusion_batch import fuse_batch, union_batch
from dtrag_core.search.ranked import Ranked
from dtrag_core.search.request import SearchRequest
from dtrag_core.types import CandidateBatch, FloatArray


def rank_batch(
    session: BatchSession,
    requests: Sequence[SearchRequest],
    queries: Sequence[str],
    vectors: FloatArray,
    bm25: CandidateBatch,
    vector: CandidateBatch,
) -> list[Ranked]:
    """Return the best of each request, whose fusions are weighted sums.

    `queries` and `vectors` float32[n, d] are those the legs searched with.
    """
    params = [request.params for request in requests]
    union = union_batch(bm25, vector, _int64([each.rerank_candidates for each in params]))
    if len(union.no_bm25):
        ids = union.ids[union.no_bm25]
        union.bm25[union.no_bm25] = session.bm25_scores_batch(queries, ids, union.no_bm25_starts)
    if len(union.no_cosine):
        ids = union.ids[union.no_cosine]
        union.cosine[union.no_cosine] = session.cosine_scores_batch(
            vectors, ids, union.no_cosine_starts
        )
    weights = np.array([request.fusion.bm25_weight for request in requests], np.float32)
    topks = _int64([each.topk for each in params])
    best = fuse_batch(union, weights, session.info.cosine_min, topks)
    ids, cosine = union.ids[best.places], union.cosine[best.places]
    bm25_scores = union.bm25[best.places]
    ends = best.starts.tolist()
    return [
        Ranked(ids[a:b], best.scores[a:b], bm25_scores[a:b], cosine[a:b]) for a, b in pairwise(ends)
    ]


def _int64(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)
