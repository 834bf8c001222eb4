"""Exact BM25 scores of given rows."""

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_views import Held
from dtrag_core.index.postings import (
    BLOCK,
    Integer,
    block_count,
    frequency_of,
    length_norm,
    lower_bound,
    saturated,
)
from dtrag_core.types import FloatArray, IdArray


@numba.njit(cache=True, nogil=True)
def score_rows(
    held: Held,
    numbers: NDArray[np.int32],
    weights: NDArray[np.float64],
    average_length: float,
    wanted: IdArray,
    scores: FloatArray,
) -> None:
    """Set `scores` float32[n] to those of these rows of a segment, 0 where no term occurs.

    numbers: int32[2, m], of each query term its number in the segment and among its dense terms.
    weights: float64[m], idf * multiplicity.
    average_length: of now; the sum is float64 in the order of the terms, rounded at the end.
    """
    blocks = block_count(held.rows)
    k1, b, built_length = held.parameters[0], held.parameters[1], held.parameters[2]
    least = np.int64(held.parameters[4])
    for which in range(len(wanted)):
        row = np.int64(wanted[which])
        block, within = divmod(row, BLOCK)
        built_norm = length_norm(k1, b, held.lengths[row], built_length)
        norm = length_norm(k1, b, held.lengths[row], average_length)
        total = 0.0
        for term in range(len(weights)):
            number, in_dense = np.int64(numbers[0, term]), np.int64(numbers[1, term])
            if number < 0:
                continue
            if in_dense >= 0:
                place: Integer = len(held.ids) + in_dense * held.rows + row
                q = np.int64(held.dense[in_dense, row])
                if q == 0:
                    continue
            else:
                slot = number * blocks + block
                end = np.int64(held.offsets[slot + 1])
                place = lower_bound(held.ids, np.int64(held.offsets[slot]), end, within)
                if place == end or np.int64(held.ids[place]) != within:
                    continue
                q = np.int64(held.saturations[place])
            frequency: Integer = frequency_of(q, built_norm)
            if q >= least:
                at = np.searchsorted(held.exceptions, place)
                if at < len(held.exceptions) and held.exceptions[at] == place:
                    frequency = np.int64(held.exception_frequencies[at])
            total += weights[term] * saturated(frequency, norm)
        scores[which] = total
