"""Latent semantic analysis: TF-IDF and a truncated SVD, both fitted on the corpus.

Deerwester et al. 1990, "Indexing by latent semantic analysis". Needs no packaged vectors, so it
also serves languages that the static embedder's pieces do not know.
"""

from collections.abc import Sequence

import numpy as np

from dtrag_core.embedding.base import CorpusTexts, State
from dtrag_core.embedding.vectors import batches, fingerprint_of, sample_of, sealed, unit_rows
from dtrag_core.embedding.word_table import WordTable, split_words
from dtrag_core.errors import EmbeddingError
from dtrag_core.types import FloatArray

_DIMENSIONS = 256
_SAMPLE = 20_000
_MAX_WORDS = 50_000
_BATCH = 1024


class LsaEmbedder:
    """Projects TF-IDF vectors on the corpus's leading singular directions.

    `table` holds float32[words, d], each word's idf times its part in the directions; d is 256, or
    less where the corpus is smaller than that. Words not in it count for nothing.
    """

    spec = "lsa"

    def __init__(self, table: WordTable) -> None:
        self.dimension = table.dimension
        self._table = table
        self._arrays = table.arrays()
        self.fingerprint = fingerprint_of(self.spec, self._arrays)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), dimension]."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start, batch in batches(texts, _BATCH):
            rows = [self._table.look_up(text)[0] for text in batch]
            totals = self._table.sums_of(rows, sublinear=True)
            vectors[start : start + len(batch)] = unit_rows(totals, self.spec)
        return vectors

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[dimension]."""
        return np.asarray(self.embed_documents([text])[0])

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), dimension]."""
        return self.embed_documents(texts)

    def state(self) -> State:
        """Return `words` (UTF-8, one a line), `vectors` and `fingerprint`."""
        return sealed(self._arrays, self.fingerprint)


def fit_lsa(texts: CorpusTexts) -> LsaEmbedder:
    """Fit on the documents: on all of them, or on a seeded sample of 20,000 if there are more.

    Raises EmbeddingError if they hold no word at all.
    """
    # Imported here: it takes seconds, and an index that is opened needs none of it.
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents = sample_of(texts.documents, _SAMPLE)
    if not any(split_words(text) for text in documents):
        raise EmbeddingError(f"lsa cannot be fitted: no word in {len(documents)} documents")
    vectorizer = TfidfVectorizer(
        analyzer=split_words, max_features=_MAX_WORDS, sublinear_tf=True, dtype=np.float32
    )
    weights = vectorizer.fit_transform(documents)
    svd = TruncatedSVD(min(_DIMENSIONS, *weights.shape), random_state=0).fit(weights)
    vectors = vectorizer.idf_[:, None] * svd.components_.T
    words = vectorizer.get_feature_names_out().tolist()
    return LsaEmbedder(WordTable(words, np.ascontiguousarray(vectors, dtype=np.float32)))


def restore_lsa(state: State) -> LsaEmbedder:
    """Return the embedder whose `state()` this is."""
    return LsaEmbedder(WordTable.from_arrays(state))
