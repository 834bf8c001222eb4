"""What an index should answer, computed from the texts alone, in float64, over every chunk."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dtrag_core.bench.torture.corpus import ANALYZER, make_chunk
from dtrag_core.bench.torture.updates import Versions
from dtrag_core.config import BM25Settings
from dtrag_core.embedding.base import Embedder
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import Chunk, FloatArray


class Contents:
    """Terms and vectors of chunks, each made once."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._analyzer = Analyzer(ANALYZER)
        self._terms: dict[tuple[str, int], Counter[str]] = {}
        self._vectors: dict[tuple[str, int], FloatArray] = {}

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        return self._analyzer.tokens(text)

    def terms(self, name: str, version: int) -> Counter[str]:
        """Return how often each term occurs in a chunk."""
        if (name, version) not in self._terms:
            content = make_chunk(name, version).content
            self._terms[name, version] = Counter(self.tokens(content))
        return self._terms[name, version]

    def vectors(self, versions: Versions) -> FloatArray:
        """Return float32[n, d], one row a chunk."""
        unknown = [pair for pair in versions.items() if pair not in self._vectors]
        if unknown:
            texts = [make_chunk(*pair).content for pair in unknown]
            self._vectors.update(zip(unknown, self.embedder.embed_documents(texts), strict=True))
        return np.array([self._vectors[pair] for pair in versions.items()], np.float32)


class Reference:
    """Exhaustive answers over the live chunks of one moment."""

    def __init__(self, versions: Versions, contents: Contents, settings: BM25Settings) -> None:
        self.chunks: Mapping[str, Chunk] = {
            name: make_chunk(name, version) for name, version in versions.items()
        }
        self._settings = settings
        self._contents = contents
        self._terms = {pair[0]: contents.terms(*pair) for pair in versions.items()}
        self._lengths = {name: terms.total() for name, terms in self._terms.items()}
        self._vectors = contents.vectors(versions).astype(np.float64)

    def bm25(self, query: str, names: Sequence[str]) -> dict[str, float]:
        """Return the scores above 0 among these chunks; statistics are those of all.

        The formula is that of `dtrag_core.index.bm25_segments`.
        """
        k1, b, total = self._settings.k1, self._settings.b, len(self._terms)
        average = sum(self._lengths.values()) / max(total, 1) or 1.0
        weights = {}
        for term, times in Counter(self._contents.tokens(query)).items():
            df = sum(term in terms for terms in self._terms.values())
            weights[term] = times * math.log1p((total - df + 0.5) / (df + 0.5))
        scores = {}
        for name in names:
            terms, saturation = self._terms[name], k1 * (1 - b + b * self._lengths[name] / average)
            score = sum(
                weight * terms[term] / (terms[term] + saturation)
                for term, weight in weights.items()
                if term in terms
            )
            if score > 0:
                scores[name] = score
        return scores

    def cosines(self, vector: FloatArray) -> dict[str, float]:
        """Return the inner product with every chunk."""
        products: NDArray[np.float64] = self._vectors @ vector.astype(np.float64)
        return dict(zip(self.chunks, products.tolist(), strict=True))
