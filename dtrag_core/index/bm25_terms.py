"""From the words of a query to their numbers and weights, in all segments at once."""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_views import Table, views
from dtrag_core.index.postings import block_count
from dtrag_core.index.vocabulary import Letters, find


@numba.njit(cache=True, nogil=True)
def resolve(
    table: Table,
    text: Letters,
    lengths: NDArray[np.int64],
    live_rows: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]:
    """Return the numbers int32[segments, 2, m] and weights float64[m] of m distinct known words.

    And int64[m], which of the words these are.

    text, lengths: the words, one after the other, and the bytes of each. Numbers are those in each
    segment and among its dense terms, -1 where there is none. A weight is how often the word occurs
    times ln(1 + (N - df + 0.5) / (df + 0.5)); N is `live_rows` and df the live rows that hold it.
    """
    numbers = np.full((len(table), 2, len(lengths)), np.int32(-1))
    weights = np.empty(len(lengths), np.float64)
    words = np.empty(len(lengths), np.int64)
    known, end = 0, 0
    for word in range(len(lengths)):
        start, end = end, end + int(lengths[word])
        frequency = np.int64(0)
        for segment in range(len(table)):
            held = views(table, segment)
            number = find(held.letters, held.word_ends, held.slots, text, start, end)
            numbers[segment, 0, known] = number
            numbers[segment, 1, known] = -1
            if number < 0:
                continue
            blocks = block_count(held.rows)
            first = np.int64(held.offsets[number * blocks])
            frequency += np.int64(held.offsets[(number + 1) * blocks]) - first
            place = np.int64(np.searchsorted(held.dense_terms, number))
            if place < len(held.dense_terms) and held.dense_terms[place] == number:
                numbers[segment, 1, known] = place
                frequency += held.dense_frequency[place]
            if len(held.removed):
                frequency -= held.removed[number]
        if frequency <= 0:
            continue
        idf = math.log1p((live_rows - frequency + 0.5) / (frequency + 0.5))
        same = 0
        while same < known and not np.array_equal(numbers[:, 0, same], numbers[:, 0, known]):
            same += 1
        if same < known:
            weights[same] += idf
        else:
            weights[known], words[known] = idf, word
            known += 1
    return numbers[:, :, :known].copy(), weights[:known], words[:known]
