"""What searches vectors, and exact search over float32, the legacy path.

Vectors are unit length (or zero, for empty texts), so that the inner product is the cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.halves import Codes
from dtrag_core.index.topk import joined, select_top
from dtrag_core.types import CandidateBatch, Candidates, FloatArray, IdArray, Mask, Starts


class VectorIndex(Protocol):
    """Searches vectors by inner product."""

    @property
    def nbytes(self) -> int:
        """Bytes this index needs resident."""
        ...

    def search(self, vector: FloatArray, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` nearest rows that the mask (bool[n], or empty for all) allows."""
        ...

    def search_shard(
        self, vector: FloatArray, depth: int, mask: Mask, shard: int, shards: int
    ) -> Candidates:
        """Return the `depth` nearest in part `shard` of `shards` of what `search` looks at."""
        ...

    def scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the inner product float32[m] with each of these rows."""
        ...

    def search_batch(
        self, vectors: FloatArray, depths: NDArray[np.int64], mask: Mask
    ) -> CandidateBatch:
        """Return what `search` does for each of float32[n, d], to its own depth: int64[n]."""
        ...

    def scores_batch(self, vectors: FloatArray, ids: IdArray, starts: Starts) -> FloatArray:
        """Return what `scores` does for each vector's ids, one vector after the other."""
        ...


_ROWS_AT_ONCE: Final = 16


def padded(rows: int) -> int:
    """Return how many rows a float32 matrix of `rows` vectors is stored with.

    BLAS sums the last few rows of a matrix in another order than the others, so that equal vectors
    would differ in the last bit; rows of padding take those places.
    """
    return -(-rows // _ROWS_AT_ONCE) * _ROWS_AT_ONCE


@dataclass(frozen=True, slots=True)
class SegmentVectors:
    """The int8 vectors of one segment, rows in the order of their lists.

    `codes` as `centroids.encode_rows` makes them, `bounds` int32[lists + 1]; row r has the id
    `first_row` + r; `live` bool[rows] is False for deleted rows, None if there are none.
    """

    codes: Codes
    bounds: NDArray[np.int32]
    first_row: int
    live: Mask | None = None

    @property
    def rows(self) -> int:
        """How many rows there are, deleted ones among them."""
        return len(self.codes.scales)


class Float32Segments:
    """Exact float32 search over segments: a BLAS product for each, then one selection.

    `matrices` float32[padded(rows), d], one a segment, in the order of their rows.
    """

    def __init__(self, segments: Sequence[SegmentVectors], matrices: Sequence[FloatArray]) -> None:
        self._segments = list(segments)
        self._matrices = [np.asarray(each) for each in matrices]
        self._rows = sum(each.rows for each in segments)
        self._live = live_rows(segments)

    @property
    def nbytes(self) -> int:
        """Bytes this index needs resident."""
        return sum(each[:1].nbytes for each in self._matrices[:1]) * self._rows

    def search(self, vector: FloatArray, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` nearest rows that the mask (bool[rows], or empty) allows."""
        return self.search_shard(vector, depth, mask, 0, 1)

    def search_shard(
        self, vector: FloatArray, depth: int, mask: Mask, shard: int, shards: int
    ) -> Candidates:
        """Return the `depth` nearest in part `shard` of `shards` of every segment's rows."""
        if len(self._live):
            mask = mask & self._live if len(mask) else self._live
        whole = shards == 1
        if not whole:
            mask = mask.copy() if len(mask) else np.ones(self._rows, np.bool_)
        products = np.empty(self._rows + _ROWS_AT_ONCE, np.float32)
        for segment, matrix in zip(self._segments, self._matrices, strict=True):
            steps = len(matrix) // _ROWS_AT_ONCE
            low = steps * shard // shards * _ROWS_AT_ONCE
            high = steps * (shard + 1) // shards * _ROWS_AT_ONCE
            # What the padding gives is overwritten by the next segment.
            first, end = segment.first_row, segment.first_row + segment.rows
            np.dot(matrix[low:high], vector, out=products[first + low : first + high])
            if not whole:
                mask[first : first + low] = False
                mask[first + high : end] = False
        depth = min(depth, self._rows)
        return Candidates(*select_top(products[: self._rows], depth, -np.inf, mask))

    def scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the inner product float32[m] with each of these rows."""
        scores = np.empty(len(ids), np.float32)
        for segment, matrix in zip(self._segments, self._matrices, strict=True):
            rows = ids - segment.first_row
            here = np.flatnonzero((rows >= 0) & (rows < segment.rows))
            scores[here] = _float32_products(matrix[rows[here]], vector)
        return scores

    def search_batch(
        self, vectors: FloatArray, depths: NDArray[np.int64], mask: Mask
    ) -> CandidateBatch:
        """Return what `search` does for each of float32[n, d], to its own depth: int64[n].

        One after the other: a product of matrices would add up in another order.
        """
        pairs = zip(vectors, depths.tolist(), strict=True)
        return joined([self.search(vector, depth, mask) for vector, depth in pairs])

    def scores_batch(self, vectors: FloatArray, ids: IdArray, starts: Starts) -> FloatArray:
        """Return what `scores` does for each vector's ids, one vector after the other."""
        parts = np.split(ids, starts[1:-1])
        scores = [self.scores(vector, part) for vector, part in zip(vectors, parts, strict=True)]
        return np.concatenate([np.zeros(0, np.float32), *scores])


def live_rows(segments: Sequence[SegmentVectors]) -> Mask:
    """Return bool[rows] of what is not deleted in any segment; empty if nothing is."""
    if all(each.live is None for each in segments):
        return np.zeros(0, np.bool_)
    live = [np.ones(each.rows, np.bool_) if each.live is None else each.live for each in segments]
    return np.concatenate(live)


# `fastmath` lets the sum be vectorised: it may then be added in any order, nothing more matters.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _float32_products(vectors: FloatArray, vector: FloatArray) -> FloatArray:
    rows, dimension = vectors.shape
    products = np.empty(rows, np.float32)
    for row in range(rows):
        product = np.float32(0)
        for column in range(dimension):
            product += vectors[row, column] * vector[column]
        products[row] = product
    return products
