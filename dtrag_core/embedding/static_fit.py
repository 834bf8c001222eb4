"""Fitting of the static embedder: see `static` for the formula."""

from array import array
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from dtrag_core.embedding.base import CorpusTexts
from dtrag_core.embedding.static import PieceVectors, StaticEmbedder
from dtrag_core.embedding.vectors import sample_of, unit_rows
from dtrag_core.embedding.word_table import WordTable, split_words
from dtrag_core.types import FloatArray

_SIF = 3e-3
_COMMON_DIRECTIONS = 4
# Fewer documents than dimensions span too little: removing directions would remove their content.
_DOCUMENTS_TO_FIND_COMMON = 256
_SATURATION = 0.5
_SAMPLE = 20_000
_MAX_WORDS = 65_536


def fit_static(texts: CorpusTexts) -> StaticEmbedder:
    """Fit on the documents: on all of them, or on a seeded sample of 20,000 if there are more.

    The 65,536 most frequent words get a vector of their own.
    """
    pieces = PieceVectors()
    words, counts = _count_words(sample_of(texts.documents, _SAMPLE))
    own = np.zeros((len(words), pieces.dimension), dtype=np.float32)
    for row, word in enumerate(words):
        own[row] = pieces.sum_of(word)
    occurrences = counts.sum(axis=0)
    share = occurrences / max(occurrences.sum(), 1)
    weights = (_SIF / (_SIF + share)).astype(np.float32)[:, None]

    table = weights * (
        own + np.linalg.norm(own, axis=1, keepdims=True) * _contexts(counts, weights * own)
    )
    common = _common_directions(counts @ table)
    vectors = _without(table, common).astype(np.float16)
    return StaticEmbedder(pieces, WordTable(words, vectors), common)


def _without(vectors: FloatArray, directions: FloatArray) -> FloatArray:
    """Return float32[n, d]: the vectors less their part in orthonormal directions float32[d, k]."""
    return np.asarray(vectors - (vectors @ directions) @ directions.T, dtype=np.float32)


def _contexts(counts: csr_array, table: FloatArray) -> FloatArray:
    """Return float32[words, d]: the mean vector of the documents that hold each word.

    A document that holds it n times counts 1.5 n / (n + 0.5) times.
    """
    documents = counts @ table
    documents = unit_rows(_without(documents, _common_directions(documents)), "fitting")
    holding = counts.copy()
    holding.data = counts.data * (1 + _SATURATION) / (counts.data + _SATURATION)
    holders = np.maximum(np.bincount(counts.indices, minlength=len(table)), 1)
    return np.asarray(holding.T @ documents / holders[:, None], dtype=np.float32)


def _common_directions(documents: FloatArray) -> FloatArray:
    """Return float32[d, k]: the leading principal directions of the documents; k = 0 if few."""
    rows = unit_rows(documents, "fitting")
    if len(rows) < _DOCUMENTS_TO_FIND_COMMON:
        return np.zeros((rows.shape[1], 0), dtype=np.float32)
    _, directions = np.linalg.eigh(rows.T @ rows)
    return np.ascontiguousarray(directions[:, -_COMMON_DIRECTIONS:], dtype=np.float32)


def _count_words(documents: Sequence[str]) -> tuple[list[str], csr_array]:
    """Return the most frequent words, and how often each document holds each: float32 CSR."""
    rows: dict[str, int] = {}
    ids, ends = array("i"), [0]
    for text in documents:
        ids.extend([rows.setdefault(word, len(rows)) for word in split_words(text)])
        ends.append(len(ids))
    counts = csr_array(
        (np.ones(len(ids), dtype=np.float32), np.frombuffer(ids, dtype=np.int32), ends),
        shape=(len(documents), len(rows)),
    )
    counts.sum_duplicates()
    frequent = np.sort(np.argsort(-counts.sum(axis=0), kind="stable")[:_MAX_WORDS])
    words = list(rows)
    return [words[row] for row in frequent], csr_array(counts[:, frequent])
