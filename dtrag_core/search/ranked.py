"""From what the legs found to the hits: ranking, and reading the texts of the best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from dtrag_core.engines.base import Session
from dtrag_core.errors import MemoryBudgetError
from dtrag_core.optimization.legs import LegsOutcome
from dtrag_core.ranking.fusion import fuse_best, union_with_scores
from dtrag_core.search.request import SearchRequest
from dtrag_core.types import Candidates, Chunk, FloatArray, Hit, IdArray

STREAM_ABOVE_BYTES: Final = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best chunks of one search before their texts are read: arrays of one length."""

    ids: IdArray
    fused: FloatArray
    bm25: FloatArray
    cosine: FloatArray


def rank(session: Session, request: SearchRequest, legs: LegsOutcome) -> Ranked:
    """Return the best of both legs' candidates, every one of them with both exact scores."""
    params = request.params
    ids, scores, no_bm25, no_cosine = union_with_scores(
        legs.bm25, legs.vector, params.rerank_candidates
    )
    bm25, cosine = scores
    if len(no_bm25):
        bm25[no_bm25] = session.bm25_scores(request.query, ids[no_bm25])
    if len(no_cosine):
        cosine[no_cosine] = session.cosine_scores(legs.embedding, ids[no_cosine])
    return _best(session, request, ids, scores)


def rank_by_one_leg(
    session: Session,
    request: SearchRequest,
    bm25: Candidates | Exception,
    vector: Candidates | Exception,
) -> Ranked:
    """Return the best of the leg that did not fail; the other's scores are NaN, as unknown."""
    found = vector if isinstance(bm25, Exception) else bm25
    if isinstance(found, Exception):
        raise found
    nothing, unknown = np.zeros(len(found), np.float32), np.float32(np.nan)
    by_bm25 = found is bm25
    scores = np.stack((found.scores, nothing) if by_bm25 else (nothing, found.scores))
    ranked = _best(session, request, found.ids, scores)
    missing = np.full(len(ranked.ids), unknown)
    if by_bm25:
        return Ranked(ranked.ids, ranked.fused, ranked.bm25, missing)
    return Ranked(ranked.ids, ranked.fused, missing, ranked.cosine)


def _best(session: Session, request: SearchRequest, ids: IdArray, scores: FloatArray) -> Ranked:
    best, of = fuse_best(ids, scores, request.fusion, session.info.cosine_min, request.params.topk)
    return Ranked(best, *of)


def check_budget(session: Session, ranked: Ranked, budget: int) -> int:
    """Return at most how many bytes the texts have.

    Raises MemoryBudgetError if they exceed the budget.
    """
    size = len(ranked.ids) * session.longest_text
    if size > STREAM_ABOVE_BYTES:
        size = sum(session.text_bytes(ranked.ids))
    if size > budget:
        raise MemoryBudgetError(size, budget, "lower topk, or read the hits by stream_search")
    return size


def with_scores(
    ranked: Ranked, shown: Sequence[T], first: int = 0
) -> Iterator[tuple[int, float, float, float, T]]:
    """Yield rank, fused score, BM25, cosine and what is shown, from place `first` on."""
    part = slice(first, first + len(shown))
    return zip(
        range(part.start + 1, part.stop + 1),
        ranked.fused[part].tolist(),
        ranked.bm25[part].tolist(),
        ranked.cosine[part].tolist(),
        shown,
        strict=True,
    )


def hits_of(ranked: Ranked, chunks: Sequence[Chunk], first: int = 0) -> tuple[Hit, ...]:
    """Return the hits whose chunks these are, the first at place `first` of the ranking."""
    return tuple(
        Hit(rank, chunk.id, fused, bm25, cosine, chunk)
        for rank, fused, bm25, cosine, chunk in with_scores(ranked, chunks, first)
    )
