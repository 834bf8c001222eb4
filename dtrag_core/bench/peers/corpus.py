"""Prepares what all engines share, once: analysed texts, vectors, and queries in every form."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.format import open_memmap

from dtrag_core.bench.peers.base import IDS, TEXTS, VECTORS, PeerCorpus, PeerQuery
from dtrag_core.config import BM25Settings
from dtrag_core.datasets.base import Dataset
from dtrag_core.embedding.base import CorpusTexts, Embedder
from dtrag_core.embedding.registry import fit_cached_embedder, restore_embedder
from dtrag_core.errors import BuildError
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import Chunk, Progress

_BATCH: Final = 2048
_STATE, _ABOUT = "embedder.npz", "corpus.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A corpus, and what makes queries fit it."""

    corpus: PeerCorpus
    embedder: Embedder
    analyzer: Analyzer

    def query(self, text: str) -> PeerQuery:
        """Return a query in every form."""
        terms = tuple(self.analyzer.tokens(text))
        return PeerQuery(text, terms, self.embedder.embed_query(text))


@dataclass(frozen=True, slots=True)
class _Contents:
    dataset: Dataset

    def __iter__(self) -> Iterator[str]:
        return (chunk.content for chunk in self.dataset.chunks())


def prepare_corpus(
    dataset: Dataset, embedder: str | None, bm25: BM25Settings, root: Path, progress: Progress
) -> Prepared:
    """Return the corpus of a dataset, written below `root` first unless it is there already.

    `embedder` defaults to the one the dataset is best used with. Document vectors of a costly
    embedder are kept in `root/vectors`, as those of an index are.
    """
    spec = embedder or dataset.info.embedder
    fingerprint = _fingerprint(dataset, spec, bm25)
    home = root / "peers" / fingerprint[:12]
    directory = home / "corpus"
    if not (directory / _ABOUT).is_file():
        home.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".corpus-", dir=home))
        try:
            _write(dataset, spec, root / "vectors", fresh, progress)
            shutil.rmtree(directory, ignore_errors=True)
            fresh.rename(directory)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    about = json.loads((directory / _ABOUT).read_text(encoding="utf-8"))
    with np.load(directory / _STATE, allow_pickle=False) as state:
        restored = restore_embedder(spec, dict(state))
    corpus = PeerCorpus(directory, fingerprint, about["chunks"], about["dimension"], bm25)
    return Prepared(corpus, restored, Analyzer(dataset.info.analyzer))


def _fingerprint(dataset: Dataset, spec: str, bm25: BM25Settings) -> str:
    file = Path(spec.partition(":")[2])
    content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    info = dataset.info
    settings = (info.fingerprint, info.analyzer.profile, spec, content, asdict(bm25))
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def _write(dataset: Dataset, spec: str, cache: Path, directory: Path, progress: Progress) -> None:
    progress("fitting the embedder", 0, None)
    texts = CorpusTexts(_Contents(dataset), dataset.query_texts())
    embedder = fit_cached_embedder(spec, texts, cache)
    analyzer = Analyzer(dataset.info.analyzer)
    total = len(dataset)
    if total == 0:
        raise BuildError(f"{dataset.info.spec} holds no chunks; there is nothing to search")
    vectors = open_memmap(directory / VECTORS, "w+", np.float32, (total, embedder.dimension))
    ids: list[str] = []
    with (directory / TEXTS).open("w", encoding="utf-8", newline="\n") as file:
        for batch in _batches(dataset.chunks()):
            contents = [chunk.content for chunk in batch]
            file.writelines(f"{' '.join(analyzer.tokens(text))}\n" for text in contents)
            vectors[len(ids) : len(ids) + len(batch)] = embedder.embed_documents(contents)
            ids += [chunk.id for chunk in batch]
            progress("analysing and embedding", len(ids), total)
    vectors.flush()
    (directory / IDS).write_text("\n".join(ids), encoding="utf-8")
    state: Any = embedder.state()
    np.savez(directory / _STATE, **state)
    about = {"chunks": total, "dimension": embedder.dimension}
    (directory / _ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _batches(chunks: Iterable[Chunk]) -> Iterator[Sequence[Chunk]]:
    batch: list[Chunk] = []
    for chunk in chunks:
        batch.append(chunk)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
