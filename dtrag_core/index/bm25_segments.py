"""BM25 over the segments of an index, exact and with the statistics of now.

The score of a row is the sum over query terms t, with multiplicity, of
    idf(t) * tf / (tf + k1 * (1 - b + b * length / average length)),
    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))
(Robertson and Zaragoza 2009; idf as in Lucene, whose constant factor k1 + 1 is dropped too). N, df
and the average length are those of all segments without their deleted rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtrag_core.config import BM25Settings
from dtrag_core.errors import InvalidRequestError
from dtrag_core.index.bm25_batch import resolve_batch, score_batch, search_batch
from dtrag_core.index.bm25_kernel import search, search_words
from dtrag_core.index.bm25_memory import Scratch
from dtrag_core.index.bm25_scores import score, score_words
from dtrag_core.index.bm25_selection import best_of
from dtrag_core.index.bm25_terms import joined_words, resolve, resolve_part
from dtrag_core.index.bm25_views import Now, table_row
from dtrag_core.index.lanes import LANES
from dtrag_core.index.postings import TILE, Postings
from dtrag_core.index.topk import joined
from dtrag_core.index.vocabulary import Vocabulary
from dtrag_core.types import CandidateBatch, Candidates, FloatArray, IdArray, Mask, Starts

_ALL: Mask = np.zeros(0, np.bool_)
_NOTHING_REMOVED: NDArray[np.int32] = np.zeros(0, np.int32)
_ID, _SCORE = np.dtype(np.int32), np.dtype(np.float32)  # made once: each search makes arrays
_FEW = 100  # the allowed rows drive the search if they are fewer than one in so many


@dataclass(frozen=True, slots=True)
class SegmentPostings:
    """One opened segment, whose rows have the ids `first_row` and following.

    removed: int32[terms], how many deleted rows hold each term; None if nothing is deleted.
    live: bool[rows], False for deleted rows; None if nothing is deleted.
    live_rows, live_length: rows and tokens without the deleted rows.
    """

    vocabulary: Vocabulary
    postings: Postings
    first_row: int
    removed: NDArray[np.int32] | None
    live: Mask | None
    live_rows: int
    live_length: int


class QueryTerms(NamedTuple):
    """A query against one index: its m distinct known terms.

    numbers: int32[segments, 3, m], of each term its number in the segment, among the segment's
        dense terms and among its frequent terms; -1 where there is none.
    weights: float64[m], idf times multiplicity.
    """

    numbers: NDArray[np.int32]
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """The terms of n queries, as those of one, one query after the other: `starts` int64[n + 1]."""

    numbers: NDArray[np.int32]
    weights: NDArray[np.float64]
    starts: Starts

    def one(self, query: int) -> QueryTerms:
        """Return the terms of one query."""
        here = slice(self.starts[query], self.starts[query + 1])
        return QueryTerms(np.ascontiguousarray(self.numbers[:, :, here]), self.weights[here])


def check_settings(settings: BM25Settings) -> None:
    """Raise InvalidRequestError unless k1 >= 0 and b is in 0..1."""
    if not (0 <= settings.k1 < math.inf and 0 <= settings.b <= 1):
        raise InvalidRequestError(
            f"BM25 needs k1 >= 0 and b in 0..1, got k1 {settings.k1} and b {settings.b}"
        )


class BM25Index:
    """Searches all segments of an index; safe to share between threads."""

    def __init__(self, segments: Sequence[SegmentPostings], settings: BM25Settings) -> None:
        check_settings(settings)
        self._segments = list(segments)
        self._removed = [
            _NOTHING_REMOVED if each.removed is None else each.removed for each in segments
        ]
        self._rows = sum(segment.postings.rows for segment in segments)
        self._live = _live_rows(segments)
        now = _now(segments, self._live)
        self._tiles = sum(map(_tiles, segments))
        ranges = [each.postings.range_starts.shape[1] for each in segments]
        self._scratch = Scratch(sum(-(-each // LANES) * LANES for each in ranges))
        table = [
            table_row(each.postings, each.vocabulary, removed, each.first_row, now)
            for each, removed in zip(segments, self._removed, strict=True)
        ]
        self._table = np.array(table, np.int64).reshape(len(segments), -1)

    @property
    def nbytes(self) -> int:
        """Bytes of the postings of all segments."""
        return sum(segment.postings.nbytes for segment in self._segments)

    @property
    def postings_count(self) -> int:
        """How many postings there are, those of deleted rows among them."""
        return sum(segment.postings.count for segment in self._segments)

    @property
    def vocabulary_bytes(self) -> int:
        """Bytes of the terms and of the tables that find their numbers."""
        return sum(segment.vocabulary.nbytes for segment in self._segments)

    def query_terms(self, tokens: Sequence[str]) -> QueryTerms:
        """Return the known terms of an analysed query; unknown tokens match nothing."""
        return QueryTerms(*resolve(self._table, *joined_words(tokens)))

    def weighted_terms(self, weights: Mapping[str, float]) -> QueryTerms:
        """Return the known terms with these weights instead of their idf; all above 0."""
        text, separator, count = joined_words(list(weights))
        numbers, _, known, _ = resolve_part(self._table, text, separator, 0, count)
        return QueryTerms(numbers, np.array(list(weights.values()), np.float64)[known])

    def search(self, query: QueryTerms, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` best rows that hold a query term and that the mask allows.

        `mask` is bool[rows of all segments], or empty for all.
        """
        return self.search_shard(query, depth, mask, 0, 1)

    def search_words(self, tokens: Sequence[str], depth: int, mask: Mask) -> Candidates:
        """Return what `search` finds for an analysed query.

        All in one call of a kernel: with two, a search of few rows takes a quarter longer.
        """
        depth = min(depth, self._rows)
        if len(mask) or not tokens or depth < 1:
            return self.search(self.query_terms(tokens), depth, mask)
        text, separator, count = joined_words(tokens)
        ids, scores = np.empty(depth, _ID), np.empty(depth, _SCORE)
        found = search_words(self._table, text, separator, count, self._scratch.buffer, ids, scores)
        return (
            Candidates(ids, scores) if found == depth else Candidates(ids[:found], scores[:found])
        )

    def search_shard(
        self, query: QueryTerms, depth: int, mask: Mask, shard: int, shards: int
    ) -> Candidates:
        """Return those of them in one of `shards` parts of the rows; `merge` joins the parts.

        A part may leave out what another part's best rows outdo.
        """
        if len(mask) not in (0, self._rows):
            raise InvalidRequestError(
                f"the mask has {len(mask):,} rows, the index {self._rows:,}; make it from the "
                "filters of the same session"
            )
        depth = min(depth, self._rows)
        if not len(query.weights) or depth < 1:
            return Candidates(np.zeros(0, np.int32), np.zeros(0, np.float32))
        first, last = self._tiles * shard // shards, self._tiles * (shard + 1) // shards
        if len(mask) and np.count_nonzero(mask) * _FEW < len(mask):
            return self._best_of_few(query, depth, mask, first, last)
        found = search(
            self._table,
            query.numbers,
            query.weights,
            depth,
            mask,
            first,
            last,
            self._scratch.buffer,
        )
        return Candidates(*found)

    def query_batch(self, queries: Sequence[Sequence[str]]) -> QueryBatch:
        """Return the known terms of analysed queries."""
        text, separator, _ = joined_words([word for tokens in queries for word in tokens])
        numbers, weights, starts = resolve_batch(
            self._table,
            text,
            separator,
            np.fromiter(accumulate(map(len, queries), initial=0), np.int64, len(queries) + 1),
        )
        return QueryBatch(numbers, weights, starts)

    def search_batch(
        self, batch: QueryBatch, depths: NDArray[np.int64], mask: Mask
    ) -> CandidateBatch:
        """Return what `search` does for each query, to its own depth: int64[n]."""
        if len(mask) and (len(mask) != self._rows or np.count_nonzero(mask) * _FEW < len(mask)):
            found = [self.search(batch.one(n), int(k), mask) for n, k in enumerate(depths)]
            return joined(found)
        found_ids, scores, starts = search_batch(
            self._table,
            batch.numbers,
            batch.weights,
            batch.starts,
            np.minimum(depths, self._rows),
            mask,
            self._scratch.buffer,
        )
        return CandidateBatch(found_ids, scores, starts)

    def scores_batch(self, batch: QueryBatch, ids: IdArray, starts: Starts) -> FloatArray:
        """Return what `scores` does for each query's ids, one query after the other."""
        scores: FloatArray = score_batch(
            self._table,
            batch.numbers,
            batch.weights,
            batch.starts,
            ids,
            starts,
        )
        return scores

    def scores(self, query: QueryTerms, ids: IdArray) -> FloatArray:
        """Return the exact score float32[n] of any rows, 0 where no term occurs."""
        scores: FloatArray = score(self._table, query.numbers, query.weights, ids)
        return scores

    def word_scores(self, tokens: Sequence[str], ids: IdArray) -> FloatArray:
        """Return what `scores` does for an analysed query, in one call of a kernel."""
        scores: FloatArray = score_words(self._table, *joined_words(tokens), ids)
        return scores

    def _best_of_few(
        self, query: QueryTerms, depth: int, mask: Mask, first: int, last: int
    ) -> Candidates:
        """Return the best of the allowed rows in some tiles by scoring them all."""
        allowed = np.flatnonzero(mask & self._live if len(self._live) else mask).astype(np.int32)
        if (first, last) != (0, self._tiles):
            starts = np.array([each.first_row for each in self._segments])
            passed = np.cumsum([0, *map(_tiles, self._segments)])
            segment = np.searchsorted(starts, allowed, side="right") - 1
            tiles = passed[segment] + (allowed - starts[segment]) // TILE
            allowed = allowed[(tiles >= first) & (tiles < last)]
        return _best(allowed, self.scores(query, allowed), depth)


def _tiles(segment: SegmentPostings) -> int:
    return -(-segment.postings.rows // TILE)


def _now(segments: Sequence[SegmentPostings], live: Mask) -> Now:
    """Return what a search needs to know of all segments together."""
    live_rows = sum(segment.live_rows for segment in segments)
    length = sum(segment.live_length for segment in segments)
    average_length = length / live_rows if length else 1.0
    error = max((_error(each, average_length) for each in segments), default=0)
    return Now(live_rows, average_length, error, live)


def _error(segment: SegmentPostings, average_length: float) -> float:
    """Return the largest error of a saturation, quantised and drifted."""
    _, _, built_length, quantisation, _ = segment.postings.parameters.tolist()
    return float(quantisation + abs(math.log(average_length / built_length)) / 4)


def _live_rows(segments: Sequence[SegmentPostings]) -> Mask:
    """Return bool[rows] of what is not deleted; empty if nothing is."""
    if all(each.live is None for each in segments):
        return _ALL
    return np.concatenate(
        [
            np.ones(each.postings.rows, np.bool_) if each.live is None else each.live
            for each in segments
        ]
    )


def _best(ids: IdArray, scores: FloatArray, depth: int) -> Candidates:
    return Candidates(*best_of(ids, scores, depth))
