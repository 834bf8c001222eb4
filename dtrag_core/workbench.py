"""Opens what people name: a dataset, an embedder and their index, ready to search or measure."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dtrag_core.bench.judged import choose_fusion
from dtrag_core.bench.quality_task import MAX_JUDGED, thinned
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.suite import Suite
from dtrag_core.config import BM25Settings, cache_root
from dtrag_core.datasets.base import Dataset
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.embedding.base import CorpusTexts, Embedder, State
from dtrag_core.embedding.registry import fit_cached_embedder, restore_cached_embedder
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import IndexDirectoryError, IndexMismatchError
from dtrag_core.index.builder import BuildPlan, build_index
from dtrag_core.index.manifest import FORMAT_VERSION, Manifest, read_manifest
from dtrag_core.optimization.async_executor import DEFAULT_BYTE_BUDGET, AsyncExecutionOptimizer
from dtrag_core.optimization.circuit_breaker import CircuitBreaker
from dtrag_core.optimization.plans import plans_for
from dtrag_core.search.cache import SingleFlightCache
from dtrag_core.search.dao import SearchCaches, SearchDAO
from dtrag_core.types import OPTIMIZED, Fusion, Progress, Switches, no_progress


def index_directory(dataset: Dataset, embedder: str, bm25: BM25Settings) -> Path:
    """Return where the index of these settings is kept; other settings lie elsewhere."""
    info = dataset.info
    file = Path(embedder.partition(":")[2])
    content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    settings = (
        FORMAT_VERSION,
        info.fingerprint,
        info.analyzer.profile,
        embedder,
        content,
        asdict(bm25),
    )
    key = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9]+", "-", info.spec).strip("-")[-40:]
    return cache_root() / "indexes" / f"{name}-{key}"


def prepare(
    dataset: Dataset,
    embedder: str | None = None,
    bm25: BM25Settings | None = None,
    *,
    directory: Path | None = None,
    rebuild: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Return the directory of the dataset's index, built first if there is none.

    `embedder` defaults to the one the dataset is best used with. The fusion weight is chosen on
    the dataset's train queries. Raises IndexMismatchError if `directory` holds another index
    (unless `rebuild`), BuildError if building fails.
    """
    spec, settings = embedder or dataset.info.embedder, bm25 or BM25Settings()
    target = directory or index_directory(dataset, spec, settings)
    if not rebuild and _present(target):
        _check(read_manifest(target), dataset, spec, settings, target)
        return target

    def fusion(fresh: Path) -> Fusion:
        engine = EmbeddedEngine(fresh)
        try:
            return choose_fusion(engine, thinned(dataset.queries("train"), MAX_JUDGED), progress)
        finally:
            engine.close()

    def fit(texts: CorpusTexts) -> Embedder:
        return fit_cached_embedder(spec, texts, cache_root() / "vectors")

    def restore(state: State) -> Embedder:
        return restore_cached_embedder(spec, state, cache_root() / "vectors")

    plan = BuildPlan(dataset, spec, fit, restore, settings, fusion)
    build_index(plan, target, progress)
    return target


def open_dao(
    directory: Path,
    *,
    switches: Switches = OPTIMIZED,
    cache: bool = False,
    breakers: Mapping[str, CircuitBreaker] | None = None,
    byte_budget: int = DEFAULT_BYTE_BUDGET,
) -> SearchDAO:
    """Open an index directory for searching; `cache` turns on the result and embedding caches.

    `breakers` are those of the legs in batches and streams; `byte_budget` is how large the texts of
    a result may be.
    """
    caches = SearchCaches(SingleFlightCache(), SingleFlightCache()) if cache else None
    plans = plans_for(overlap=switches.overlap, shards=switches.shards)
    executor = AsyncExecutionOptimizer(byte_budget=byte_budget, plans=plans)
    engine = EmbeddedEngine(directory)
    return SearchDAO(engine, executor, switches=switches, caches=caches, breakers=breakers)


def measure(
    dataset: str,
    embedder: str | None = None,
    settings: MeasureSettings | None = None,
    *,
    bm25: BM25Settings | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Build the index if needed, measure everything, and return the result."""
    opened = open_dataset(dataset)
    directory = prepare(opened, embedder, bm25, progress=progress)
    return Suite(opened, directory, settings or MeasureSettings()).measure(progress)


def _present(directory: Path) -> bool:
    try:
        read_manifest(directory)
    except IndexMismatchError:
        raise
    except IndexDirectoryError:
        return False
    return True


def _check(
    manifest: Manifest, dataset: Dataset, embedder: str, bm25: BM25Settings, directory: Path
) -> None:
    wanted = {
        "dataset": (manifest.dataset_fingerprint, dataset.info.fingerprint),
        "embedder": (manifest.embedder, embedder),
        "bm25": (manifest.bm25, bm25),
        "analyzer": (manifest.analyzer, dataset.info.analyzer),
    }
    for name, (built, asked) in wanted.items():
        if built != asked and name == "dataset" and manifest.generation > 1:
            raise IndexMismatchError(
                f"{directory} was changed since it was built from {manifest.dataset}; search it by "
                "its directory, or build it again (dtrag index build --rebuild)"
            )
        if built != asked:
            raise IndexMismatchError(
                f"{directory} was built with {name} {built}, asked for is {asked}; build it again "
                "(dtrag index build --rebuild) or name another directory"
            )
