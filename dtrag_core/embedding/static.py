"""The default embedder: packaged token vectors, adapted to the corpus. No download, no network.

A text's vector is the sum of its words' vectors, scaled to length 1. A word's vector is

    a / (a + p(word)) * (own + |own| * context),  less its part in the common directions

where `own` is the sum of wordllama's vectors of the word's pieces, p(word) its share of all words
of the corpus, a = 0.003, and `context` the mean vector of the documents that hold the word: how
this corpus uses it. Weights and the removal of common directions: Arora et al. 2017, "A simple but
tough-to-beat baseline for sentence embeddings" (SIF); several directions, as in Mu and Viswanath
2018, "All-but-the-top". Only the corpus text is used for fitting, never a query.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

from dtrag_core.embedding.base import State
from dtrag_core.embedding.vectors import batches, fingerprint_of, sealed, unit_rows
from dtrag_core.embedding.word_table import WordTable
from dtrag_core.errors import EmbeddingError
from dtrag_core.types import FloatArray

_BATCH = 1024


class PieceVectors:
    """wordllama's packaged vectors of word pieces, float16[32000, 256], with their tokenizer."""

    def __init__(self) -> None:
        # Found without importing the package: its import configures the root logger.
        package = find_spec("wordllama")
        if package is None or package.origin is None:
            raise EmbeddingError("the package 'wordllama' is not installed; pip install wordllama")
        folder = Path(package.origin).parent
        self._tokenizer = Tokenizer.from_file(
            str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
        )
        with safe_open(folder / "weights" / "l2_supercat_256.safetensors", "numpy") as weights:
            self._vectors: NDArray[np.float16] = weights.get_tensor("embedding.weight")
        self.name = f"wordllama {version('wordllama')} l2_supercat_256"
        self.dimension = int(self._vectors.shape[1])

    def sum_of(self, word: str) -> FloatArray:
        """Return float32[256], the sum of the vectors of the word's pieces."""
        pieces = self._tokenizer.encode(word, add_special_tokens=False).ids
        return np.asarray(self._vectors[pieces].sum(axis=0, dtype=np.float32))


class StaticEmbedder:
    """Sums word vectors fitted on a corpus.

    `table` holds their final vectors, float16[words, 256]; `common`, float32[256, k], the
    orthonormal directions removed. A word without a row counts as one never seen: the sum of its
    pieces, weight 1, no context.
    """

    spec = "static"

    def __init__(self, pieces: PieceVectors, table: WordTable, common: FloatArray) -> None:
        self.dimension = pieces.dimension
        self._pieces = pieces
        self._table = table
        self._common = common
        self._arrays: State = {**table.arrays(), "common": common}
        self.fingerprint = fingerprint_of(f"{self.spec} {pieces.name}", self._arrays)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), 256]."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start, batch in batches(texts, _BATCH):
            found = [self._table.look_up(text) for text in batch]
            totals = self._table.sums_of([rows for rows, _ in found])
            for row, (_, unknown) in enumerate(found):
                if unknown:
                    totals[row] += self._sum_of_unknown(unknown)
            vectors[start : start + len(batch)] = unit_rows(totals, self.spec)
        return vectors

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[256]."""
        rows, unknown = self._table.look_up(text)
        total = self._table.sum_of(rows)
        if unknown:
            total += self._sum_of_unknown(unknown)
        return np.asarray(unit_rows(total[None, :], self.spec)[0])

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), 256]."""
        found = [self._table.look_up(text) for text in texts]
        totals = self._table.added([rows for rows, _ in found])
        for total, (_, unknown) in zip(totals, found, strict=True):
            if unknown:
                total += self._sum_of_unknown(unknown)
        return unit_rows(totals, self.spec)

    def state(self) -> State:
        """Return `words` (UTF-8, one a line), `vectors`, `common` and `fingerprint`."""
        return sealed(self._arrays, self.fingerprint)

    def _sum_of_unknown(self, words: Iterable[str]) -> FloatArray:
        total = np.zeros(self.dimension, dtype=np.float32)
        for word in words:
            total += self._pieces.sum_of(word)
        return np.asarray(total - self._common @ (self._common.T @ total))


def restore_static(state: State) -> StaticEmbedder:
    """Return the embedder whose `state()` this is."""
    return StaticEmbedder(
        PieceVectors(),
        WordTable.from_arrays(state),
        np.asarray(state["common"], dtype=np.float32),
    )
