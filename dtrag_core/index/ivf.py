"""Vector search over the segments of an index: int8 codes in lists, or float32 exactly.

One set of centroids serves all segments; in each, the rows of a list lie together. A search ranks
the centroids and scans the nearest lists (inverted file, Sivic and Zisserman 2003). Codes hold what
a row differs from its centroid by, see `centroids`.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.errors import InvalidRequestError
from dtrag_core.index import ivf_batch_kernels as batch_kernels
from dtrag_core.index import ivf_kernels as kernels
from dtrag_core.index import ivf_scanning as scanning
from dtrag_core.index.centroids import (
    assign_lists,
    encode_rows,
    list_bounds,
    list_count,
    train_centroids,
)
from dtrag_core.index.halves import Codes, half_width
from dtrag_core.index.vectors import Float32Segments, SegmentVectors, live_rows
from dtrag_core.optimization.memory_optimizer import CODE_MAX, EmbeddingQuantizer
from dtrag_core.types import CandidateBatch, Candidates, FloatArray, IdArray, Mask, Starts

__all__ = [
    "Float32Segments",
    "IVFVectors",
    "SegmentVectors",
    "assign_lists",
    "encode_rows",
    "list_bounds",
    "list_count",
    "train_centroids",
]

_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)
_NOTHING: Final = Candidates(np.zeros(0, np.int32), np.zeros(0, np.float32))


class IVFVectors:
    """Searches the rows of the `probes` nearest lists; all of them makes it exact over the codes.

    `centroids` float32[lists, d]; segments in the order of their rows. Of these lists it passes
    over those that lack more than `reach` times the size of their rows' residuals to the candidates
    of the nearest lists. With a filter or deletions further lists are looked at, until they have as
    many allowed rows as without. Raises InvalidRequestError for less than one probe or arrays that
    do not fit each other.
    """

    def __init__(
        self,
        centroids: FloatArray,
        segments: Sequence[SegmentVectors],
        probes: int,
        reach: float = math.inf,
    ) -> None:
        if probes < 1 or not reach >= 0:
            raise InvalidRequestError(
                f"probes must be positive and reach at least 0, got {probes} and {reach}"
            )
        self.probes = min(probes, len(centroids))
        self.reach = float(reach)
        codes, scales = EmbeddingQuantizer().quantize_batch(centroids)
        self._segments = [_checked(each, codes.shape) for each in segments]
        self._rows = sum(each.rows for each in segments)
        self._table = np.array([_table_row(each) for each in self._segments], np.int64).reshape(
            -1, scanning.FIELDS
        )
        sizes = np.zeros(len(codes), np.int32)
        residuals = np.zeros(len(codes), np.float64)
        for each in self._segments:
            sizes += np.diff(each.bounds)
            residuals += _residuals(each)
        self._centroids = (codes, scales, (residuals / np.maximum(sizes, 1)).astype(np.float32))
        every = [each.codes.lengths for each in self._segments]
        self._lengths = np.max([np.zeros(2, np.float32), *every], axis=0)
        self._live = live_rows(segments)
        self._counts = np.stack((sizes, sizes))
        if len(self._live):
            kernels.count_allowed(self._table, self._live, self._counts[1])

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return len(self._centroids[0])

    @property
    def rows(self) -> int:
        """How many rows there are, deleted ones among them."""
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes this index needs resident: codes, scales and bounds, and what each list has."""
        held: list[NDArray[Any]] = [*self._centroids, self._counts]
        for each in self._segments:
            held += [*each.codes, each.bounds]
        return sum(array.nbytes for array in held)

    def tuned(self, probes: int, reach: float) -> "IVFVectors":
        """Return the same index with other limits."""
        other = copy.copy(self)
        other.probes, other.reach = min(probes, self.lists), reach
        return other

    def exact(self) -> "IVFVectors":
        """Return the same index with every list searched: exact over the codes."""
        return self.tuned(self.lists, math.inf)

    def search(self, vector: FloatArray, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` nearest rows that the mask (bool[rows], or empty) allows."""
        return self.search_shard(vector, depth, mask, 0, 1)

    def search_shard(
        self, vector: FloatArray, depth: int, mask: Mask, shard: int, shards: int
    ) -> Candidates:
        """Return the `depth` nearest rows in part `shard` of `shards` of what is to be searched.

        The best of all parts together are what `search` returns.
        """
        ids, scores, _ = self._search(vector, depth, mask, (shard, shards))
        return Candidates(ids, scores)

    def scanned(self, vector: FloatArray, depth: int) -> int:
        """Return how many rows an unfiltered search scans."""
        return self._search(vector, depth, _EVERYTHING, (0, 1))[2]

    def search_batch(
        self, vectors: FloatArray, depths: NDArray[np.int64], mask: Mask
    ) -> CandidateBatch:
        """Return what `search` does for each of float32[n, d], to its own depth: int64[n]."""
        counts, allowed = self._allowed(mask)
        limits = self.probes, self.reach
        depths = np.minimum(depths, self._rows)
        vectors = np.ascontiguousarray(vectors)
        ids, scores, starts = batch_kernels.search_batch(
            self._table, self._centroids, self._lengths, counts, allowed, vectors, depths, limits
        )
        return CandidateBatch(ids, scores, starts)

    def scores_batch(self, vectors: FloatArray, ids: IdArray, starts: Starts) -> FloatArray:
        """Return what `scores` does for each vector's ids, one vector after the other."""
        vectors = np.ascontiguousarray(vectors)
        scores: FloatArray = batch_kernels.score_batch(
            self._table, self._centroids, vectors, ids, starts
        )
        return scores

    def scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the inner product float32[m] with each of these rows, as `search` gives it."""
        if not self._rows:
            return _NOTHING.scores
        vector = np.ascontiguousarray(vector)
        scores: FloatArray = kernels.score_rows(self._table, self._centroids, vector, ids)
        return scores

    def _search(
        self, vector: FloatArray, depth: int, mask: Mask, part: tuple[int, int]
    ) -> tuple[IdArray, FloatArray, int]:
        depth = min(depth, self._rows)
        if depth < 1:
            return _NOTHING.ids, _NOTHING.scores, 0
        counts, allowed = self._allowed(mask)
        limits = self.probes, self.reach
        vector = np.ascontiguousarray(vector)
        found: tuple[IdArray, FloatArray, int] = kernels.search_lists(
            self._table,
            self._centroids,
            self._lengths,
            counts,
            allowed,
            vector,
            depth,
            limits,
            part,
        )
        return found

    def _allowed(self, mask: Mask) -> tuple[NDArray[np.int32], Mask]:
        """Return int32[2, lists] of rows and allowed rows in each list, and which are allowed."""
        if not len(mask):
            return self._counts, self._live
        if len(mask) != self._rows:
            raise InvalidRequestError(f"the mask has {len(mask)} places for {self._rows} rows")
        allowed = mask & self._live if len(self._live) else mask
        counts = self._counts.copy()
        kernels.count_allowed(self._table, allowed, counts[1])
        return counts, allowed


def _checked(segment: SegmentVectors, shape: tuple[int, ...]) -> SegmentVectors:
    """Return the segment with arrays as kernels need them, which read what addresses say."""
    lists, dimension = shape
    given = (*(each.shape for each in segment.codes), segment.bounds.shape)
    wanted = (2, segment.rows, half_width(dimension)), (segment.rows,), (2,), (lists + 1,)
    bounds = np.ascontiguousarray(segment.bounds, np.int32)
    fits = given == wanted and bounds[0] == 0 and bounds[-1] == segment.rows
    if not fits or np.any(bounds[1:] < bounds[:-1]):
        raise InvalidRequestError(
            f"halves, scales, lengths and bounds of shapes {given} do not fit, expected {wanted} "
            f"and bounds ascending from 0 to {segment.rows}; build the index again"
        )
    halves, scales, lengths = segment.codes
    codes = Codes(
        np.ascontiguousarray(halves, np.uint8),
        np.ascontiguousarray(scales, np.float32),
        np.asarray(lengths, np.float32),
    )
    return replace(segment, codes=codes, bounds=bounds)


def _table_row(segment: SegmentVectors) -> tuple[int, ...]:
    arrays = *segment.codes.halves, segment.codes.scales, segment.bounds
    return (*(array.ctypes.data for array in arrays), segment.first_row, segment.rows)


def _residuals(segment: SegmentVectors) -> NDArray[np.float64]:
    """Return float64[lists]: the sum, over a list's rows, of the residual's largest component."""
    largest = segment.codes.scales * np.float32(CODE_MAX)
    sums = np.concatenate(([0.0], np.cumsum(largest, dtype=np.float64)))
    residuals: NDArray[np.float64] = np.diff(sums[segment.bounds])
    return residuals
