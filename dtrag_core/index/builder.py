"""Building an index directory from a dataset and an embedder."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.lib.format import open_memmap

from dtrag_core.config import BM25Settings
from dtrag_core.datasets.base import Dataset
from dtrag_core.embedding.base import CorpusTexts, Embedder
from dtrag_core.errors import BuildError, EmbeddingError
from dtrag_core.index.bm25 import PostingsBuilder, check_settings
from dtrag_core.index.chunk_store import ChunkStore, ChunkWriter
from dtrag_core.index.filters import FilterBuilder
from dtrag_core.index.manifest import MANIFEST, Manifest, hash_files
from dtrag_core.index.replacing import replacing
from dtrag_core.index.vectors import padded
from dtrag_core.optimization.memory_optimizer import EmbeddingQuantizer
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import FloatArray, Fusion, Progress, no_progress

CHUNKS: Final = "chunks.arrow"
VOCABULARY: Final = "vocabulary.txt"
OFFSETS, IDS, IMPACTS = "postings_offsets.npy", "postings_ids.npy", "postings_impacts.npy"
FLOAT32, CODES, SCALES = "vectors_float32.npy", "vectors_int8.npy", "vectors_scales.npy"
EMBEDDER: Final = "embedder.npz"

_BATCH: Final = 2048
_SAMPLED_QUERIES, _SAMPLED_ROWS = 256, 8192

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What to build: the dataset, how it is embedded, and BM25's parameters.

    `fit` makes the embedder from the corpus's texts; `choose_fusion`, if given, opens the finished
    directory and returns the default fusion to record.
    """

    dataset: Dataset
    fit: Callable[[CorpusTexts], Embedder]
    bm25: BM25Settings = field(default_factory=BM25Settings)
    choose_fusion: Callable[[Path], Fusion] | None = None


def build_index(plan: BuildPlan, directory: Path, progress: Progress = no_progress) -> Manifest:
    """Build the index and put it in `directory`'s place as a whole; return its manifest.

    Raises BuildError if the dataset is empty, the disk is full, or `directory` holds files that
    are no index; whatever was there stays.
    """
    check_settings(plan.bm25)
    if directory.exists() and any(directory.iterdir()) and not (directory / MANIFEST).exists():
        raise BuildError(
            f"{directory} holds files but no index; name a new or empty directory, nothing there "
            "is touched"
        )
    with replacing(directory) as fresh:
        filters = FilterBuilder()
        postings = PostingsBuilder()
        chunks = _write_chunks(plan.dataset, fresh, filters, postings, progress)
        filters.write(fresh)
        _write_postings(postings, plan.bm25, fresh)
        store = ChunkStore(fresh / CHUNKS)
        try:
            texts = CorpusTexts(_Contents(store), plan.dataset.query_texts())
            progress("fitting the embedder", 0, None)
            embedder = plan.fit(texts)
            cosine_min = _write_vectors(embedder, store, fresh, progress)
        finally:
            store.close()
        np.savez(fresh / EMBEDDER, **embedder.state())  # type: ignore[arg-type]
        manifest = _manifest(plan, embedder, chunks, cosine_min, fresh)
        manifest.write(fresh)
        if plan.choose_fusion is not None:
            progress("choosing the fusion weight", 0, None)
            manifest = manifest.with_fusion(plan.choose_fusion(fresh))
            manifest.write(fresh)
    return manifest


@dataclass(frozen=True, slots=True)
class _Contents:
    """The contents of a store's chunks, iterable again and again."""

    store: ChunkStore

    def __iter__(self) -> Iterator[str]:
        return (chunk.content for chunk in self.store)


def _write_chunks(
    dataset: Dataset,
    fresh: Path,
    filters: FilterBuilder,
    postings: PostingsBuilder,
    progress: Progress,
) -> int:
    analyzer = Analyzer(dataset.info.analyzer)
    writer = ChunkWriter(fresh / CHUNKS)
    total, done = len(dataset), 0
    for batch in batches(dataset.chunks(), _BATCH):
        writer.add(batch)
        filters.add(batch)
        postings.add([analyzer.tokens(chunk.content) for chunk in batch])
        done += len(batch)
        progress("indexing text", done, total)
    writer.close()
    if done == 0:
        raise BuildError(f"{dataset.info.spec} holds no chunks; there is nothing to search")
    return done


def _write_postings(builder: PostingsBuilder, settings: BM25Settings, fresh: Path) -> None:
    postings = builder.finish(settings)
    np.save(fresh / OFFSETS, postings.offsets)
    np.save(fresh / IDS, postings.ids)
    np.save(fresh / IMPACTS, postings.impacts)
    (fresh / VOCABULARY).write_text("\n".join(builder.vocabulary), encoding="utf-8")


def _write_vectors(embedder: Embedder, store: ChunkStore, fresh: Path, progress: Progress) -> float:
    rows, dimension = len(store), embedder.dimension
    vectors = _reserved(fresh / FLOAT32, np.float32, (padded(rows), dimension))
    codes = _reserved(fresh / CODES, np.int8, (rows, dimension))
    scales = np.empty(rows, np.float32)
    quantizer = EmbeddingQuantizer()
    done = 0
    for batch in batches(iter(store), _BATCH):
        embedded = embedder.embed_documents([chunk.content for chunk in batch])
        if embedded.shape != (len(batch), dimension):
            raise EmbeddingError(
                f"{embedder.spec} returned vectors of shape {embedded.shape}, "
                f"expected {(len(batch), dimension)}"
            )
        here = slice(done, done + len(batch))
        vectors[here] = embedded
        codes[here], scales[here] = quantizer.quantize_batch(embedded)
        done += len(batch)
        progress("embedding", done, rows)
    for array in (vectors, codes):
        array.flush()
    np.save(fresh / SCALES, scales)
    return estimate_cosine_min(vectors[:rows])


def _reserved(path: Path, dtype: type, shape: tuple[int, int]) -> "np.memmap[Any, Any]":
    """Return a new mapped array whose blocks are on disk, so that none can fail to be written."""
    array = open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def estimate_cosine_min(vectors: FloatArray) -> float:
    """Return the mean, over sampled chunks taken as queries, of their least cosine in a sample.

    A fixed minimum for normalisation: it stands for the minimum over all documents, which a
    query's own candidates do not show (Bruch, Gai and Ingber 2023, section 4).
    """
    chosen = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLED_ROWS]
    sample = np.asarray(vectors[np.sort(chosen)])
    queries = np.asarray(vectors[chosen[:_SAMPLED_QUERIES]])
    return float((queries @ sample.T).min(axis=1).mean())


def _manifest(
    plan: BuildPlan, embedder: Embedder, chunks: int, cosine_min: float, fresh: Path
) -> Manifest:
    info = plan.dataset.info
    return Manifest(
        dataset=info.spec,
        dataset_fingerprint=info.fingerprint,
        caveat=info.caveat,
        chunks=chunks,
        analyzer=info.analyzer,
        bm25=plan.bm25,
        embedder=embedder.spec,
        embedder_fingerprint=embedder.fingerprint,
        dimension=embedder.dimension,
        cosine_min=cosine_min,
        fusion=Fusion(),
        files=hash_files(fresh),
    )


def batches(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a stream into lists of `size` items; the last may be shorter."""
    stream = iter(items)
    while batch := list(itertools.islice(stream, size)):
        yield batch
