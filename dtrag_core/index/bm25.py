"""BM25 over impact postings, exact.

The score of a chunk is the sum over query terms t, with multiplicity, of
    idf(t) * impact(t, chunk),   impact = tf / (tf + k1 * (1 - b + b * length / average length)),
    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))
(Robertson and Zaragoza 2009; idf as in Lucene, whose constant factor k1 + 1 is dropped too). A
term's postings are its chunk ids, ascending, and their impacts. A query adds its terms' postings
into one accumulator a chunk and selects the best: term at a time, exhaustive.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.config import BM25Settings
from dtrag_core.errors import InvalidRequestError
from dtrag_core.index.topk import select_top
from dtrag_core.types import Candidates, FloatArray, IdArray, Mask

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Postings:
    """Term t's postings are `ids[offsets[t]:offsets[t + 1]]` and the `impacts` beside them.

    `offsets` int64[terms + 1]; `ids` int32[postings], ascending within a term; `impacts`
    float32[postings]; `chunks` is the size of the corpus.
    """

    offsets: Offsets
    ids: IdArray
    impacts: FloatArray
    chunks: int

    def idf(self) -> FloatArray:
        """Return float32[terms], the inverse document frequency of each term."""
        frequency = np.diff(self.offsets)
        return np.log1p((self.chunks - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.offsets.nbytes + self.ids.nbytes + self.impacts.nbytes


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """A query against one index: distinct known `terms` int64[m] and `weights` float32[m].

    A weight is the term's multiplicity times its idf. Terms are in ascending order, so that every
    score is summed in the same order wherever it is computed.
    """

    terms: NDArray[np.int64]
    weights: FloatArray


class BM25Index:
    """Postings with their vocabulary (term -> term number)."""

    def __init__(self, vocabulary: dict[str, int], postings: Postings) -> None:
        self._vocabulary = vocabulary
        self.postings = postings
        self._idf = postings.idf()

    @property
    def vocabulary_bytes(self) -> int:
        """Bytes of the terms, of the table that finds their numbers, and of their idf."""
        terms = sum(sys.getsizeof(term) for term in self._vocabulary)
        numbers = sum(sys.getsizeof(number) for number in self._vocabulary.values())
        return terms + numbers + sys.getsizeof(self._vocabulary) + self._idf.nbytes

    def query_terms(self, tokens: Sequence[str]) -> QueryTerms:
        """Return the known terms of an analysed query; unknown tokens match nothing."""
        counts: dict[int, int] = {}
        for token in tokens:
            term = self._vocabulary.get(token)
            if term is not None:
                counts[term] = counts.get(term, 0) + 1
        known = sorted(counts.items())
        terms = np.array([term for term, _ in known], dtype=np.int64)
        multiplicity = np.array([count for _, count in known], dtype=np.float32)
        return QueryTerms(terms, multiplicity * self._idf[terms])

    def search(self, query: QueryTerms, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` best chunks that contain a query term and that the mask allows.

        `mask` is bool[chunks], or empty for all.
        """
        held = self.postings
        ids, scores = _search(
            held.offsets,
            held.ids,
            held.impacts,
            held.chunks,
            query.terms,
            query.weights,
            min(depth, held.chunks),
            mask,
        )
        return Candidates(ids, scores)

    def scores(self, query: QueryTerms, ids: IdArray) -> FloatArray:
        """Return the exact score float32[n] of any chunks, 0 where no term occurs."""
        held = self.postings
        scores: FloatArray = _scores_of(
            held.offsets, held.ids, held.impacts, query.terms, query.weights, ids
        )
        return scores


@numba.njit(cache=True, nogil=True)
def _search(
    offsets: Offsets,
    ids: IdArray,
    impacts: FloatArray,
    chunks: int,
    terms: NDArray[np.int64],
    weights: FloatArray,
    k: int,
    mask: Mask,
) -> tuple[IdArray, FloatArray]:
    accumulator = np.zeros(chunks, np.float32)
    for position in range(len(terms)):
        weight = weights[position]
        start, end = offsets[terms[position]], offsets[terms[position] + 1]
        for posting in range(start, end):
            accumulator[ids[posting]] += weight * impacts[posting]
    return select_top(accumulator, k, 0.0, mask)


@numba.njit(cache=True, nogil=True)
def _scores_of(
    offsets: Offsets,
    ids: IdArray,
    impacts: FloatArray,
    terms: NDArray[np.int64],
    weights: FloatArray,
    wanted: IdArray,
) -> FloatArray:
    scores = np.zeros(len(wanted), np.float32)
    for position in range(len(terms)):
        start, end = offsets[terms[position]], offsets[terms[position] + 1]
        for place in range(len(wanted)):
            low, high = start, end
            while low < high:
                middle = (low + high) // 2
                if ids[middle] < wanted[place]:
                    low = middle + 1
                else:
                    high = middle
            if low < end and ids[low] == wanted[place]:
                scores[place] += weights[position] * impacts[low]
    return scores


def check_settings(settings: BM25Settings) -> None:
    """Raise InvalidRequestError unless k1 >= 0 and b is in 0..1."""
    if not (0 <= settings.k1 < math.inf and 0 <= settings.b <= 1):
        raise InvalidRequestError(
            f"BM25 needs k1 >= 0 and b in 0..1, got k1 {settings.k1} and b {settings.b}"
        )


class PostingsBuilder:
    """Collects analysed chunks in corpus order, then lays out the postings.

    Memory: 12 bytes a posting while collecting, about twice that while laying out.
    """

    def __init__(self) -> None:
        self.vocabulary: dict[str, int] = {}
        self._terms: list[NDArray[np.int32]] = []
        self._ids: list[IdArray] = []
        self._frequencies: list[NDArray[np.int32]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._chunks = 0

    def add(self, batch: Iterable[Sequence[str]]) -> None:
        """Add the tokens of the next chunks, one sequence a chunk."""
        flat, lengths = self._numbered(batch)
        owners = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        keys, counts = np.unique((owners << 32) | flat, return_counts=True)
        self._ids.append(((keys >> 32) + self._chunks).astype(np.int32))
        self._terms.append((keys & 0xFFFFFFFF).astype(np.int32))
        self._frequencies.append(counts.astype(np.int32))
        self._lengths.append(lengths)
        self._chunks += len(lengths)

    def finish(self, settings: BM25Settings) -> Postings:
        """Return the postings of everything added."""
        lengths = np.concatenate([np.zeros(0, np.int64), *self._lengths])
        terms = np.concatenate([np.zeros(0, np.int32), *self._terms])
        ids = np.concatenate([np.zeros(0, np.int32), *self._ids])
        frequencies = np.concatenate([np.zeros(0, np.int32), *self._frequencies]).astype(np.float32)
        average = lengths.mean() if lengths.sum() else 1.0
        saturation = settings.k1 * (1 - settings.b + settings.b * lengths / average)
        impacts = frequencies / (frequencies + saturation.astype(np.float32)[ids])
        by_term = np.argsort(terms, kind="stable")  # chunks are ascending already
        offsets = np.zeros(len(self.vocabulary) + 1, np.int64)
        np.cumsum(np.bincount(terms, minlength=len(self.vocabulary)), out=offsets[1:])
        return Postings(offsets, ids[by_term], impacts[by_term], self._chunks)

    def _numbered(
        self, batch: Iterable[Sequence[str]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        vocabulary = self.vocabulary
        lengths: list[int] = []

        def numbers() -> Iterator[int]:
            for tokens in batch:
                lengths.append(len(tokens))
                for token in tokens:
                    yield vocabulary.setdefault(token, len(vocabulary))

        flat = np.fromiter(numbers(), dtype=np.int64)
        return flat, np.array(lengths, dtype=np.int64)
