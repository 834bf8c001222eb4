"""The embedder of generated pseudo-words, whose first four letters name their topic.

A text's vector is the sum of its words' vectors, scaled to length 1; a word's vector is

    a / (a + p(word)) * (direction of its head + 0.5 * direction of the whole word)

with fixed pseudo-random directions, so texts of one topic lie together as real ones do. The weight
(SIF, Arora et al. 2017; a = 0.001) keeps words that are everywhere from hiding the topic. Words are
told apart by a 32-bit hash only: generated text comes by the million.
"""

from collections.abc import Sequence
from itertools import islice

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.embedding.base import CorpusTexts, State
from dtrag_core.embedding.vectors import batches, fingerprint_of, sealed, text_bytes, unit_rows
from dtrag_core.types import FloatArray

_DIMENSIONS = 256
_DIRECTIONS = 4096
_BUCKETS = 65_536
_SIF = 1e-3
_WORD_SHARE = 0.5
_HEAD = 4
_SAMPLE = 10_000
_BATCH = 4096
_FNV_BASIS = 2166136261
_FNV_PRIME = 16777619


class SyntheticEmbedder:
    """Sums seeded directions of word heads and words; `weights` float32[65536], by word hash."""

    spec = "synthetic"
    dimension = _DIMENSIONS

    def __init__(self, weights: FloatArray) -> None:
        self._weights = weights
        shape = (2, _DIRECTIONS, _DIMENSIONS)
        normal = np.random.default_rng(4).standard_normal(shape, dtype=np.float32)
        self._heads = unit_rows(normal[0], self.spec)
        self._words = unit_rows(normal[1], self.spec) * np.float32(_WORD_SHARE)
        self._arrays: State = {"weights": weights}
        self.fingerprint = fingerprint_of(f"{self.spec} 1", self._arrays)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), 256]."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start, batch in batches(texts, _BATCH):
            rows = vectors[start : start + len(batch)]
            heads, words, ends = _hash_words(*_joined(batch))
            _sum_words(heads, words, ends, self._weights, self._heads, self._words, rows)
            rows[:] = unit_rows(rows, self.spec)
        return vectors

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[256]."""
        return np.asarray(self.embed_documents([text])[0])

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), 256]."""
        return self.embed_documents(texts)

    def state(self) -> State:
        """Return `weights` and `fingerprint`."""
        return sealed(self._arrays, self.fingerprint)


def fit_synthetic(texts: CorpusTexts) -> SyntheticEmbedder:
    """Estimate word frequencies on the first 10,000 documents: generated text has no drift."""
    counts = np.zeros(_BUCKETS, dtype=np.int64)
    for _, batch in batches(list(islice(texts.documents, _SAMPLE)), _BATCH):
        _, words, _ = _hash_words(*_joined(batch))
        counts += np.bincount(words % _BUCKETS, minlength=_BUCKETS)
    share = counts / max(counts.sum(), 1)
    return SyntheticEmbedder((_SIF / (_SIF + share)).astype(np.float32))


def restore_synthetic(state: State) -> SyntheticEmbedder:
    """Return the embedder whose `state()` this is."""
    return SyntheticEmbedder(np.asarray(state["weights"], dtype=np.float32))


def _joined(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the texts' UTF-8 bytes, one after the other, and where each ends."""
    encoded = [text_bytes(text) for text in texts]
    ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends


@numba.njit(cache=True, nogil=True)
def _hash_words(
    letters: NDArray[np.uint8], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each word's head hash and whole hash (32-bit FNV-1a), and where texts' words end."""
    heads = np.empty(len(letters) // 2 + len(ends), dtype=np.int64)
    words = np.empty_like(heads)
    word_ends = np.empty_like(ends)
    found, start = 0, 0
    for text in range(len(ends)):
        length, head, whole = 0, 0, _FNV_BASIS
        for at in range(start, ends[text] + 1):
            if at < ends[text] and letters[at] > 32:
                whole = ((whole ^ int(letters[at])) * _FNV_PRIME) & 0xFFFFFFFF
                length += 1
                if length <= _HEAD:
                    head = whole
            elif length:
                heads[found], words[found] = head, whole
                found, length, whole = found + 1, 0, _FNV_BASIS
        start = ends[text]
        word_ends[text] = found
    return heads[:found], words[:found], word_ends


@numba.njit(cache=True, nogil=True)
def _sum_words(
    heads: NDArray[np.int64],
    words: NDArray[np.int64],
    ends: NDArray[np.int64],
    weights: FloatArray,
    head_directions: FloatArray,
    word_directions: FloatArray,
    rows: FloatArray,
) -> None:
    """Add up each text's weighted directions into its row."""
    word = 0
    for text in range(len(ends)):
        while word < ends[text]:
            weight = weights[words[word] % _BUCKETS]
            head = head_directions[heads[word] % _DIRECTIONS]
            whole = word_directions[words[word] % _DIRECTIONS]
            for column in range(_DIMENSIONS):
                rows[text, column] += weight * (head[column] + whole[column])
            word += 1
