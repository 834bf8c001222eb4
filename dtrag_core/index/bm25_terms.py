"""From the words of a query to their numbers and weights, in all segments at once."""

import math
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.addresses import prefetch, uncounted
from dtrag_core.index.bm25_views import Held, Table, of_now, views
from dtrag_core.index.postings import FREQUENT_SHARE, Integer, block_count, lower_bound
from dtrag_core.index.vocabulary import encode, find, first_slot, hash_of

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
    table: Table, text: bytes, separator: int, count: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the numbers and weights of the known words of a query, as `resolve_part` does."""
    numbers, weights, _, _ = resolve_part(table, text, separator, 0, count)
    return numbers, weights


@numba.njit(cache=True, nogil=True)
def resolve_part(
    table: Table, text: bytes, separator: int, start: int, count: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64], int]:
    """Return the numbers int32[segments, 3, m] and weights float64[m] of m distinct known words.

    And int64[m], which of the words these are, and where the text goes on.

    text: words with a separator after each but the last, of which `count` from `start` on are
    meant. Numbers are those in each segment, among its dense and among its frequent terms, -1 where
    there is none. A weight is how often the word occurs times ln(1 + (N - df + 0.5) / (df + 0.5));
    N counts the live rows, and df those of them that hold it.
    """
    bounds, hashes = np.empty(count + 1, np.int64), np.empty(count, np.uint64)
    bounds[0] = start
    for word in range(count):
        end = bounds[word]
        while end < len(text) and text[end] != separator:
            end += 1
        bounds[word + 1] = end + 1
        hashes[word] = hash_of(text, bounds[word], end)
    for step in range(3):
        for segment in range(len(table)):
            _bring_words_in(views(table, segment), bounds, hashes, step)
    numbers = np.full((len(table), 3, count), -1, np.int32)
    frequencies = np.zeros(count, np.int64)
    for segment in range(len(table)):
        _find_words(views(table, segment), text, bounds, hashes, numbers[segment], frequencies)
    live_rows = of_now(table).live_rows
    weights, words, known = np.empty(count, np.float64), np.empty(count, np.int64), 0
    for word in range(count):
        frequency = frequencies[word]
        if frequency <= 0:
            continue
        idf = math.log1p((live_rows - frequency + 0.5) / (frequency + 0.5))
        same = 0
        while same < known and not (
            hashes[words[same]] == hashes[word] and _equal(numbers[:, 0, same], numbers[:, 0, word])
        ):
            same += 1
        if same < known:
            weights[same] += idf
        else:
            numbers[:, :, known] = numbers[:, :, word]
            weights[known], words[known] = idf, word
            known += 1
    return numbers[:, :, :known].copy(), weights[:known], words[:known], bounds[count]


@numba.njit(inline="always")
def _equal(these: NDArray[np.int32], those: NDArray[np.int32]) -> bool:
    """Return whether all are equal. NumPy's function takes longer than all else of a word."""
    place = 0
    while place < len(these) and these[place] == those[place]:
        place += 1
    return place == len(these)


@uncounted
def _find_words(
    held: Held,
    text: bytes,
    bounds: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    numbers: NDArray[np.int32],
    frequencies: NDArray[np.int64],
) -> None:
    """Set the numbers of a segment's words, and add the live rows that hold each.

    bounds: int64[words + 1], where each word begins, and a separator after where it ends.
    hashes: of the words, by `hash_of`.
    numbers: int32[3, words], -1 everywhere.
    """
    blocks = block_count(held.rows)
    for word in range(len(frequencies)):
        number = find(
            held.letters, held.word_ends, held.slots, text, bounds[word], bounds[word + 1] - 1,
            hashes[word],
        )  # fmt: skip
        if number < 0:
            continue
        numbers[0, word] = number
        first = np.int64(held.offsets[number * blocks])
        frequency = np.int64(held.offsets[(number + 1) * blocks]) - first
        if frequency == 0:
            numbers[1, word] = dense = _place(held.dense_terms, number)
            if dense >= 0:
                frequency = np.int64(held.dense_frequency[dense])
        if frequency * FREQUENT_SHARE > held.rows:
            numbers[2, word] = _place(held.frequent_terms, number)
        frequencies[word] += frequency
        if len(held.removed):
            frequencies[word] -= held.removed[number]


@uncounted
def _bring_words_in(
    held: Held, bounds: NDArray[np.int64], hashes: NDArray[np.uint64], step: int
) -> None:
    """Have what finding words reads brought into the caches, of all words and segments at a time.

    In three steps, each of which follows what the one before brought in. Else every word would
    wait for memory five times in a row.
    """
    blocks = block_count(held.rows)
    for word in range(len(hashes)):
        slot = first_slot(held.slots, hashes[word])
        if step == 0:
            prefetch(held.slots, slot)
            continue
        number = np.int64(held.slots[slot])
        if number < 0:
            continue
        if step == 1:
            prefetch(held.word_ends, number)
            prefetch(held.offsets, number * blocks)
            prefetch(held.tops[number], 0)  # a search begins with it
        else:
            prefetch(held.letters, held.word_ends[number] - (bounds[word + 1] - 1 - bounds[word]))


@numba.njit(inline="always")
def _place(terms: NDArray[np.int32], number: Integer) -> Integer:
    """Return where this term is among some, ascending; -1 if it is not."""
    place = lower_bound(terms, 0, len(terms), number)
    return place if place < len(terms) and np.int64(terms[place]) == number else -1
