"""What the vectors of all segments share: centroids, a fixed least cosine, an operating point."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from dtrag_core.datasets.base import Dataset
from dtrag_core.embedding.base import Embedder
from dtrag_core.index.ivf import list_count, train_centroids
from dtrag_core.index.segment_content import embed_documents
from dtrag_core.types import Chunk, FloatArray, Progress

_ROWS_A_LIST: Final = 64
_LEAST_SAMPLE: Final = 1 << 14
_TUNING_QUERIES: Final = 256
_BATCH: Final = 2048
_COSINE_QUERIES, _COSINE_ROWS = 256, 8192


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """`centroids` float32[lists, d] of a sample; `queries` float32[m, d] to measure recall with.

    `cosine_min` is the fixed minimum of cosine normalisation.
    """

    centroids: FloatArray
    queries: FloatArray
    cosine_min: float


def make_vector_space(dataset: Dataset, embedder: Embedder, progress: Progress) -> VectorSpace:
    """Embed an even sample of the corpus, and train centroids on it."""
    lists = list_count(len(dataset))
    wanted = max(_LEAST_SAMPLE, lists * _ROWS_A_LIST)
    sample = _sample(dataset, embedder, -(-len(dataset) // wanted), progress)
    progress("training centroids", 0, None)
    return VectorSpace(
        train_centroids(sample, lists), _queries(dataset, embedder, sample), cosine_minimum(sample)
    )


def _sample(dataset: Dataset, embedder: Embedder, step: int, progress: Progress) -> FloatArray:
    chunks: Iterator[Chunk] = islice(dataset.chunks(), 0, None, max(step, 1))
    parts = [np.zeros((0, embedder.dimension), np.float32)]
    done = 0
    while batch := [chunk.content for chunk in islice(chunks, _BATCH)]:
        parts.append(embed_documents(embedder, batch))
        done += len(batch)
        progress("embedding a sample", done, -(-len(dataset) // max(step, 1)))
    return np.concatenate(parts)


def _queries(dataset: Dataset, embedder: Embedder, sample: FloatArray) -> FloatArray:
    """Return the vectors of train queries; of sampled chunks where there are too few."""
    train = dataset.queries("train")[:_TUNING_QUERIES]
    vectors = [embedder.embed_query(query.text) for query in train]
    if len(vectors) < _TUNING_QUERIES:
        chosen = np.random.default_rng(1).permutation(len(sample))
        vectors.extend(sample[row] for row in chosen[: _TUNING_QUERIES - len(vectors)].tolist())
    queries = np.array(vectors, np.float32).reshape(-1, embedder.dimension)
    return queries[np.any(queries != 0, axis=1)]


def cosine_minimum(sample: FloatArray) -> float:
    """Return the mean, over chunks taken as queries, of their least cosine in a sample.

    A fixed minimum for normalisation: it stands for the minimum over all documents, which a
    query's own candidates do not show (Bruch, Gai and Ingber 2023, section 4).
    """
    chosen = np.random.default_rng(0).permutation(len(sample))[:_COSINE_ROWS]
    queries = sample[chosen[:_COSINE_QUERIES]]
    return float((queries @ sample[np.sort(chosen)].T).min(axis=1, initial=1.0).mean())
