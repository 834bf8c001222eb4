"""Exact vector search: float32 for the legacy path, int8 codes for the optimised one.

Vectors are unit length (or zero, for empty texts), so that the inner product is the cosine.
"""

from typing import Final, Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.topk import select_top
from dtrag_core.types import Candidates, FloatArray, IdArray, Mask


class VectorIndex(Protocol):
    """Searches vectors by inner product."""

    @property
    def nbytes(self) -> int:
        """Bytes this index needs resident."""
        ...

    def search(self, vector: FloatArray, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` nearest rows that the mask (bool[n], or empty for all) allows."""
        ...

    def scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the inner product float32[m] with each of these rows."""
        ...


_ROWS_AT_ONCE: Final = 16


def padded(rows: int) -> int:
    """Return how many rows a float32 matrix of `rows` vectors is stored with.

    BLAS sums the last few rows of a matrix in another order than the others, so that equal vectors
    would differ in the last bit; rows of padding take those places.
    """
    return -(-rows // _ROWS_AT_ONCE) * _ROWS_AT_ONCE


class Float32Vectors:
    """Exact float32 search: one BLAS matrix-vector product, then a selection.

    `vectors` float32[padded(rows), d], of which the first `rows` count.
    """

    def __init__(self, vectors: FloatArray, rows: int) -> None:
        self._vectors = vectors
        self._rows = rows

    @property
    def nbytes(self) -> int:
        """Bytes this index needs resident."""
        return self._vectors[: self._rows].nbytes

    def search(self, vector: FloatArray, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` nearest rows that the mask allows."""
        products: FloatArray = np.dot(self._vectors, vector)[: self._rows]
        return Candidates(*select_top(products, min(depth, len(products)), -np.inf, mask))

    def scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the inner product float32[m] with each of these rows."""
        products: FloatArray = _float32_products(self._vectors[ids], vector)
        return products


class Int8Vectors:
    """Exact search over int8 codes: value = code * scale of its row.

    The query stays float32, so that the only error is that of the stored codes, at most
    scale / 2 a component.
    """

    def __init__(self, codes: NDArray[np.int8], scales: FloatArray) -> None:
        self._codes = codes
        self._scales = scales

    @property
    def nbytes(self) -> int:
        """Bytes this index needs resident."""
        return self._codes.nbytes + self._scales.nbytes

    def search(self, vector: FloatArray, depth: int, mask: Mask) -> Candidates:
        """Return the `depth` nearest rows that the mask allows."""
        products = _int8_products(self._codes, self._scales, vector)
        return Candidates(*select_top(products, min(depth, len(products)), -np.inf, mask))

    def scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the inner product float32[m] with each of these rows."""
        products: FloatArray = _int8_products(self._codes[ids], self._scales[ids], vector)
        return products


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


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _int8_products(codes: NDArray[np.int8], scales: FloatArray, vector: FloatArray) -> FloatArray:
    rows, dimension = codes.shape
    products = np.empty(rows, np.float32)
    for row in range(rows):
        product = np.float32(0)
        for column in range(dimension):
            product += np.float32(codes[row, column]) * vector[column]
        products[row] = product * scales[row]
    return products
