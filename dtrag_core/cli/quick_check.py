"""The quick check: modules import, the specified functions exist, DAO and routers are wired.

Ids are those of the specification: T targets, A execution, M memory, C concurrency, B batches,
I integration.
"""

import asyncio
import importlib
import inspect
import json
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

import dtrag_core
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import DtragError
from dtrag_core.optimization.memory_optimizer import EmbeddingQuantizer, MemoryMonitor
from dtrag_core.search.dao import SearchDAO
from dtrag_core.targets import PERFORMANCE_TARGETS
from dtrag_core.types import LEGACY, OPTIMIZED, SearchParams, SearchResult
from dtrag_core.workbench import open_dao, prepare

_EXECUTOR: Final = "optimization.async_executor:AsyncExecutionOptimizer"
_QUANTIZER: Final = "optimization.memory_optimizer:EmbeddingQuantizer"
_MONITOR: Final = "optimization.memory_optimizer:MemoryMonitor"
_BATCHES: Final = "optimization.batch_processor:BatchSearchProcessor"
_DAO: Final = "search.dao:SearchDAO"

SIGNATURES: Final = (
    (
        "A1",
        f"{_EXECUTOR}.execute_parallel_search",
        "session, query, query_embedding, search_params",
    ),
    ("A2", f"{_EXECUTOR}.execute_with_memory_optimization", "search_function, *args, **kwargs"),
    ("A3", f"{_EXECUTOR}.get_performance_metrics", ""),
    ("M1", f"{_QUANTIZER}.quantize_embedding", "embedding"),
    ("M2", f"{_QUANTIZER}.dequantize_embedding", "codes, metadata"),
    ("M5", f"{_MONITOR}.check_memory_usage", ""),
    ("M5", f"{_MONITOR}.optimize_if_needed", ""),
    ("C1", "optimization.concurrency_control:CircuitBreaker.call", "func, *args, **kwargs"),
    ("C2", "optimization.concurrency_control:AdaptiveRateLimiter.acquire", "tokens=1"),
    (
        "C4",
        "optimization.concurrency_control:ConcurrencyController.controlled_execution",
        "resource_name",
    ),
    ("C5", "optimization.concurrency_control:ConcurrencyController.statistics", ""),
    ("B1", f"{_BATCHES}.submit_search_request", "query, search_params, priority=0"),
    ("B2", f"{_BATCHES}.process_batch", "batch_requests"),
    (
        "I1",
        f"{_DAO}.hybrid_search",
        "query, filters=None, topk=5, bm25_topk=12, vector_topk=12, rerank_candidates=50",
    ),
    ("I2", f"{_DAO}._execute_optimized_hybrid_search", "session, request"),
    ("I3", f"{_DAO}._execute_legacy_hybrid_search", "session, request"),
)
"""Item, where it is, and its parameters after `self` (keyword-only ones apart)."""

ASYNCHRONOUS: Final = ("A1", "A2", "M5", "C1", "B1", "B2", "I1", "I2", "I3")

TARGETS: Final = {
    "p95_latency_ms": 100,
    "throughput_qps": 50,
    "cache_hit_rate": 0.70,
    "memory_efficiency": 0.50,
    "parallel_speedup": 2.0,
    "error_rate": 0.01,
}

ROUTES: Final = (
    ("post", "/search"),
    ("post", "/api/v1/batch/search"),
    ("get", "/api/v1/batch/status/{job_id}"),
)

CORPUS: Final = (
    ("animals/birds", "Wren", "A very small brown bird that sings loudly from low hedges."),
    ("animals/birds", "Heron", "Stands still in shallow water and waits for fish and frogs."),
    ("animals/fish", "Pike", "A long predator of lakes and slow rivers with sharp teeth."),
    ("animals/fish", "Salmon", "Leaves the sea and climbs rivers to spawn where it was born."),
    ("plants/trees", "Oak", "A broad tree with lobed leaves; jays bury its acorns in autumn."),
    (
        "plants/trees",
        "Birch",
        "White bark peels off in strips; among the first trees on bare soil.",
    ),
    ("plants/herbs", "Thyme", "A low fragrant herb of dry slopes, used fresh or dried in cooking."),
    ("plants/herbs", "Mint", "Spreads by runners in damp soil; its leaves flavour tea and sauces."),
)
QUERY: Final = "a fragrant herb for cooking"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was looked at; `problem` is empty if it is as it should be."""

    id: str
    what: str
    problem: str

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


class Wrong(DtragError):  # noqa: N818 (a finding, caught right here)
    """What a check found to be wrong."""


def run_quick_check() -> tuple[Item, ...]:
    """Look at every item and return what was found; takes seconds, leaves nothing behind."""
    checks: list[tuple[str, str, Callable[[], None]]] = [
        ("-", "every module imports", _modules),
        ("T", "the six targets have their keys and values", _targets),
    ]
    for item, place, parameters in SIGNATURES:
        what = f"{place.rpartition(':')[2]}({parameters})"
        checks.append((item, what, partial(_signature, place, parameters, item in ASYNCHRONOUS)))
    checks += [
        ("M1", "int8 and back is wrong by half a step at the most", _quantizer),
        ("M5", "the monitor reports, and leaves quiet memory alone", _monitor),
    ]
    found = [_item(*check) for check in checks]
    try:
        with _tiny_dao() as dao:
            found += [_item(item, what, partial(check, dao)) for item, what, check in _WIRING]
    except Exception as error:
        found.append(Item("I1", "an index of a few chunks is built and opened", _told(error)))
    return tuple(found)


def _item(id_: str, what: str, check: Callable[[], None]) -> Item:
    try:
        check()
    except Exception as error:
        return Item(id_, what, _told(error))
    return Item(id_, what, "")


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"


def _expect(name: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Wrong(f"{name} is {found!r}, expected {wanted!r}")


def _modules() -> None:
    for module in pkgutil.walk_packages(dtrag_core.__path__, "dtrag_core."):
        importlib.import_module(module.name)


def _targets() -> None:
    found = {metric: target.bound for metric, target in PERFORMANCE_TARGETS.items()}
    _expect("PERFORMANCE_TARGETS", found, TARGETS)


def _signature(place: str, parameters: str, asynchronous: bool) -> None:
    module, _, name = place.partition(":")
    function: Any = importlib.import_module(f"dtrag_core.{module}")
    for part in name.split("."):
        function = getattr(function, part)
    signature = inspect.signature(function)
    positional = [
        parameter.replace(annotation=parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY and parameter.name != "self"
    ]
    found = inspect.Signature(positional)
    _expect("its signature", str(found), f"({parameters})")
    waits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    _expect("being asynchronous", waits, asynchronous)


def _quantizer() -> None:
    quantizer = EmbeddingQuantizer()
    vector = np.random.default_rng(0).normal(size=256).astype(np.float32)
    codes, metadata = quantizer.quantize_embedding(vector)
    error = float(np.abs(quantizer.dequantize_embedding(codes, metadata) - vector).max())
    _expect("the type of codes", str(codes.dtype), "int8")
    if error > metadata.scale / 2 * (1 + 1e-5):
        raise Wrong(f"the error is {error}, half a step is {metadata.scale / 2}")


def _monitor() -> None:
    async def watched() -> tuple[int, bool]:
        monitor = MemoryMonitor(growth_bytes=1 << 40, minimum_available=0)
        return (await monitor.check_memory_usage()).rss, await monitor.optimize_if_needed()

    rss, released = asyncio.run(watched())
    _expect("resident memory above zero", rss > 0, True)
    _expect("memory released without need", released, False)


@contextmanager
def _tiny_dao() -> Iterator[SearchDAO]:
    with tempfile.TemporaryDirectory(prefix="dtrag-check-") as folder:
        corpus = Path(folder) / "corpus.jsonl"
        lines = [
            json.dumps({"path": path, "title": title, "text": text, "doc_type": "note"})
            for path, title, text in CORPUS
        ]
        corpus.write_text("\n".join(lines), encoding="utf-8")
        directory = prepare(open_dataset(f"jsonl:{corpus}"), directory=Path(folder) / "index")
        dao = open_dao(directory)
        try:
            yield dao
        finally:
            dao.executor.close()
            dao.engine.close()


def _search(dao: SearchDAO, **options: Any) -> SearchResult:  # noqa: ANN401 (as hybrid_search)
    return asyncio.run(dao.hybrid_search(QUERY, **options))


def _ids(result: SearchResult) -> list[str]:
    return [hit.id for hit in result.hits]


def _both_paths(dao: SearchDAO) -> None:
    legacy, optimized = (_search(dao, mode=mode) for mode in ("legacy", "optimized"))
    _expect("the path that ran", (legacy.mode, legacy.switches), ("legacy", LEGACY))
    _expect("the path that ran", (optimized.mode, optimized.switches), ("optimized", OPTIMIZED))
    _expect("the first hit", legacy.hits[0].chunk.title, "Thyme")
    _expect("the optimised ranking", _ids(optimized), _ids(legacy))


def _filters(dao: SearchDAO) -> None:
    for mode in ("legacy", "optimized"):
        filters = {"canonical_in": ["animals"], "doc_type": ["note"]}
        result = _search(dao, filters=filters, topk=len(CORPUS), mode=mode)
        _expect("hits in the subtree", len(result.hits), 4)
        _expect("their roots", {hit.chunk.path[0] for hit in result.hits}, {"animals"})


def _streaming(dao: SearchDAO) -> None:
    async def streamed() -> list[str]:
        parts = dao.stream_search(QUERY, SearchParams())
        return [hit.id async for part in parts for hit in part.hits]

    _expect("what is streamed", asyncio.run(streamed()), _ids(_search(dao)))


def _metrics(dao: SearchDAO) -> None:
    def runs() -> int:
        metrics = dao.executor.get_performance_metrics()
        return int(metrics["searches"])

    before = runs()
    _search(dao)
    _expect("searches counted by one search", runs() - before, 1)


def _routers(dao: SearchDAO) -> None:
    from dtrag_core.api.app import create_app
    from dtrag_core.api.settings import ServiceSettings

    engine = dao.engine
    if not isinstance(engine, EmbeddedEngine):
        raise Wrong(f"the engine is {type(engine).__name__}, which has no directory to serve")

    async def served() -> dict[str, Any]:
        app = create_app(ServiceSettings(engine.directory))
        try:
            return dict(app.app.openapi()["paths"])
        finally:
            await app.service.close()

    paths = asyncio.run(served())
    for method, path in ROUTES:
        _expect(f"{method.upper()} {path} being served", method in paths.get(path, {}), True)


_WIRING: Final = (
    ("I1", "legacy and optimised search a real index and agree", _both_paths),
    ("I8", "filters by taxonomy and type hold on both paths", _filters),
    ("A2", "streamed hits are those of the search", _streaming),
    ("A3", "the executor counts what ran", _metrics),
    ("I7", "the application includes the routers", _routers),
)
