"""A hybrid search that proves its top k to be that of the full corpus.

The usual search fuses what legs of a fixed depth bring, and a chunk that neither brings may still
belong to the best. Here both legs are deepened, twice as deep each round, until none can: the
threshold algorithm (Fagin, Lotem and Naor 2003) for the weighted sum, bounds from both sides (their
NRA) for reciprocal ranks. The legs must be exact: BM25 is; vectors are as float32, or over the int8
codes, and what is certified is the ranking by those cosines.

*The ranking of the full corpus* is what `fuse` and `order_by_score` make of every chunk that the
filters allow, not of the legs' candidates only. So BM25 is divided by the query's maximum, the
first score of its leg; cosines are mapped to 0..1 from the least one of the corpus (or the fixed
`cosine_min`, if that is lower) to the greatest; reciprocal ranks are those in whole legs. The least
cosine does not show among the nearest: it is found by searching for the opposite vector, and that
chunk joins the candidates, who then have the corpus' own minima and maxima. (Fixing the minimum at
`cosine_min`, a mean over queries, would need no such search, but its ranking would be another than
today's when all chunks are candidates.)

*Unseen chunks* are represented by one more candidate, which has the last score of each leg (0 if
BM25 has no further chunk) and the first id that could follow there. It is fused with the others, in
the same float32 arithmetic, each step of which keeps order: no unseen chunk comes before it, ties
by cosine and id among them. Once it is behind the k-th, so are all.

A float32 product is added up in another order for a whole matrix than for chosen rows, so there the
last score of the leg is raised by the most that two such sums can differ (Higham 2002, section
3.1); the codes' integer sums are equal.

A reciprocal rank is known of chunks that score at least as much as the leg's last. Of others it
lies between the number of better candidates and the corpus' size, and the order is settled once
each of the k best at its worst is before all that follow at their best. `Ranked.fused` then has the
lower ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.engines.base import Session
from dtrag_core.optimization.legs import LegParams, LegsOutcome, embedded, legs_in_turn, timed
from dtrag_core.ranking.fusion import BM25_MINIMUM, weighted_sum
from dtrag_core.search.ranked import Ranked
from dtrag_core.search.request import SearchRequest
from dtrag_core.types import FloatArray, Fusion, IdArray, Mask, SearchResult, Span

_UNIT_ROUNDOFF: Final = 2.0**-24
_NONE: Final[IdArray] = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What it took to certify a ranking.

    `vectors`: by which the ranking holds. `rounds`: how often the legs were searched; `bm25_depth`
    and `vector_depth`: how deep at last; `scored`: chunks whose fused score was computed then.
    """

    vectors: str
    rounds: int
    bm25_depth: int
    vector_depth: int
    scored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedResult(SearchResult):
    """A result whose hits are the top k of the full corpus; of RRF, `score` is a lower bound."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class _Pool:
    """The candidates of a round; the last of them stands for all others if any are unseen."""

    ids: IdArray
    bm25: FloatArray
    cosine: FloatArray
    unseen: bool

    @property
    def seen(self) -> int:
        return len(self.ids) - self.unseen


def certified_ranking(
    session: Session, request: SearchRequest, embed: Callable[[], FloatArray], *, codes: bool
) -> tuple[Ranked, Certificate, tuple[Span, ...]]:
    """Return the `topk` best of the full corpus, fewer if the legs find no more; and the spans.

    `session` must have exact legs, over int8 `codes` or float32. A chunk that neither leg finds at
    any depth is not in the ranking, as in any search. Raises LegFailedError if a leg fails.
    """
    params, chunks = request.params, session.info.chunks
    mask = session.compile_filters(params.filters)
    vector, spans = embedded(embed)
    # Twice: both sums may be wrong, in opposite directions; 1.01: lengths are rounded, too.
    error = 0.0 if codes else 2.02 * _UNIT_ROUNDOFF * len(vector) * float(np.linalg.norm(vector))
    furthest = _NONE
    if request.fusion.method == "weighted":
        furthest, span = timed("furthest", _furthest, session, vector, mask, error)
        spans = (*spans, span)
    depths, rounds = (params.bm25_topk, params.vector_topk), 1
    while True:
        wanted = LegParams(*depths, mask)
        legs = legs_in_turn(session, request.query, vector, wanted, spans)
        pool, pool_span = timed("pool", _pool, session, request, wanted, legs, furthest, error)
        ranked, fuse_span = timed("fuse", _settled, pool, request, session)
        spans = (*legs.spans, pool_span, fuse_span)
        if ranked is not None:
            vectors = "int8 codes" if codes else "float32"
            return ranked, Certificate(vectors, rounds, *depths, pool.seen), spans
        depths, rounds = (min(2 * depths[0], chunks), min(2 * depths[1], chunks)), rounds + 1


def _furthest(session: Session, vector: FloatArray, mask: Mask | None, error: float) -> IdArray:
    """Return the chunks that may have the least cosine of all."""
    depth = 1
    while True:
        found = session.vector_leg(-vector, depth, mask)
        if not error or len(found) < depth or found.scores[-1] < found.scores[0] - 2 * error:
            return found.ids
        depth *= 2


def _pool(
    session: Session,
    request: SearchRequest,
    wanted: LegParams,
    legs: LegsOutcome,
    furthest: IdArray,
    error: float,
) -> _Pool:
    found, near, chunks = legs.bm25, legs.vector, session.info.chunks
    ids = np.unique(np.concatenate((found.ids, near.ids, furthest)))
    bm25 = session.bm25_scores(request.query, ids)
    cosine = session.cosine_scores(legs.embedding, ids)
    more_found = len(found) == wanted.bm25_topk < chunks
    more_near = len(near) == wanted.vector_topk < chunks
    # The vector leg finds every chunk sooner or later, or none at all for a vector of zeros.
    if not (more_near if len(near) else more_found):
        return _Pool(ids, bm25, cosine, False)
    following = near.ids[-1] + 1 if len(near) and not error else -1
    return _Pool(
        np.append(ids, np.int32(following)),
        np.append(bm25, found.scores[-1] if more_found else np.float32(BM25_MINIMUM)),
        np.append(cosine, np.float32(near.scores[-1] + error) if len(near) else np.float32(0)),
        True,
    )


def _settled(pool: _Pool, request: SearchRequest, session: Session) -> Ranked | None:
    """Return the best of the corpus, or None if the pool does not settle them."""
    info, fusion, topk = session.info, request.fusion, request.params.topk
    if pool.unseen and (pool.seen < topk or pool.cosine[-1] > pool.cosine[:-1].max()):
        return None
    if fusion.method == "rrf":
        lower, upper = _reciprocal_ranks(pool, fusion, info.chunks)
    else:
        upper = weighted_sum(pool.bm25, pool.cosine, fusion.bm25_weight, info.cosine_min)
        lower = upper.copy()
    lower[pool.seen :] = -np.inf
    order = np.lexsort((pool.ids, -pool.cosine, -lower))
    if not _is_settled(pool, lower, upper, order, topk):
        return None
    best = order[:topk]
    return Ranked(pool.ids[best], lower[best], pool.bm25[best], pool.cosine[best])


def _reciprocal_ranks(pool: _Pool, fusion: Fusion, chunks: int) -> tuple[FloatArray, FloatArray]:
    """Return the least and the most that `fusion.reciprocal_ranks` of all chunks can give each."""
    lower, upper = np.zeros(len(pool.ids)), np.zeros(len(pool.ids))
    for scores, ranked in ((pool.bm25, pool.bm25 > BM25_MINIMUM), (pool.cosine, True)):
        better = pool.seen - np.searchsorted(np.sort(scores[: pool.seen]), scores, side="right")
        most = np.where(ranked, 1.0 / (fusion.rrf_k + better + 1), 0.0)
        known = (scores >= scores[-1]) if pool.unseen else np.ones(len(scores), np.bool_)
        upper += most
        lower += np.where(known, most, np.where(ranked, 1.0 / (fusion.rrf_k + chunks), 0.0))
    return lower.astype(np.float32), upper.astype(np.float32)


def _is_settled(
    pool: _Pool, lower: FloatArray, upper: FloatArray, order: NDArray[np.intp], topk: int
) -> bool:
    """Return whether each of the best, at its worst, is before all behind it at their best."""
    size = len(order)
    ids, cosine = np.tile(pool.ids, 2), np.tile(pool.cosine, 2)
    both = np.lexsort((ids, -cosine, -np.concatenate((lower, upper))))
    places = np.empty(2 * size, np.intp)
    places[both] = np.arange(2 * size)
    worst, best = places[:size][order], places[size:][order]
    behind = np.minimum.accumulate(best[::-1])[::-1]
    return bool((worst[:topk][: size - 1] < behind[1 : topk + 1]).all())
