"""From the words of a query to their numbers and weights, in all segments at once."""

import math
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.bm25_views import Table, views
from dtrag_core.index.postings import Integer, block_count, lower_bound
from dtrag_core.index.vocabulary import encode, find

_NEVER_IN_UTF8 = 0xFF


def joined_words(words: Sequence[str]) -> tuple[bytes, int, int]:
    """Return words as `resolve` takes them: text, the byte between the words, their number.

    Encoding all at once takes a tenth of the time, but words might hold the separator.
    """
    text = encode("\n".join(words))
    if text.count(b"\n") < len(words):
        return text, ord("\n"), len(words)
    return bytes([_NEVER_IN_UTF8]).join(map(encode, words)), _NEVER_IN_UTF8, len(words)


@numba.njit(cache=True, nogil=True)
def resolve(
    table: Table, text: bytes, separator: int, count: int, live_rows: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the numbers and weights of the known words of a query, as `resolve_part` does."""
    numbers, weights, _, _ = resolve_part(table, text, separator, 0, count, live_rows)
    return numbers, weights


@numba.njit(cache=True, nogil=True)
def resolve_part(
    table: Table, text: bytes, separator: int, start: int, count: int, live_rows: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64], int]:
    """Return the numbers int32[segments, 3, m] and weights float64[m] of m distinct known words.

    And int64[m], which of the words these are, and where the text goes on.

    text: words with a separator after each but the last, of which `count` from `start` on are
    meant. Numbers are those in each segment, among its dense and among its frequent terms, -1 where
    there is none. A weight is how often the word occurs times ln(1 + (N - df + 0.5) / (df + 0.5));
    N is `live_rows` and df the live rows that hold it.
    """
    numbers = np.empty((len(table), 3, count), np.int32)
    weights = np.empty(count, np.float64)
    words = np.empty(count, np.int64)
    known = 0
    for word in range(count):
        end = start
        while end < len(text) and text[end] != separator:
            end += 1
        frequency = np.int64(0)
        for segment in range(len(table)):
            held = views(table, segment)
            number = find(held.letters, held.word_ends, held.slots, text, start, end)
            numbers[segment, 0, known] = number
            numbers[segment, 1:, known] = -1
            if number < 0:
                continue
            blocks = block_count(held.rows)
            first = np.int64(held.offsets[number * blocks])
            frequency += np.int64(held.offsets[(number + 1) * blocks]) - first
            numbers[segment, 1, known] = _place(held.dense_terms, number)
            numbers[segment, 2, known] = _place(held.frequent_terms, number)
            if numbers[segment, 1, known] >= 0:
                frequency += held.dense_frequency[numbers[segment, 1, known]]
            if len(held.removed):
                frequency -= held.removed[number]
        start = end + 1
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
    return numbers[:, :, :known].copy(), weights[:known], words[:known], start


@numba.njit(inline="always")
def _place(terms: NDArray[np.int32], number: Integer) -> Integer:
    """Return where this term is among some, ascending; -1 if it is not."""
    place = lower_bound(terms, 0, len(terms), number)
    return place if place < len(terms) and np.int64(terms[place]) == number else -1
