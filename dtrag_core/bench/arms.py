"""The arms of the comparison as services: each searches, checks what ran, and keeps the spans."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.bench.load_result import FellBackError
from dtrag_core.engines.base import Engine
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.plans import plans_for
from dtrag_core.search.dao import SearchCaches, SearchDAO
from dtrag_core.types import LEGACY, OPTIMIZED, Mode, SearchResult, Span, Switches

LEGACY_ARM: Final = "legacy"
OVERLAP_ARM: Final = "legacy_overlap"
INT8_ARM: Final = "int8"
ANN_ARM: Final = "ann"
SEQUENTIAL_ARM: Final = "optimized_sequential"
OPTIMIZED_ARM: Final = "optimized"
AGAIN_ARM: Final = "optimized_again"
NO_OVERLAP_ARM, NO_CODES_ARM, NO_ANN_ARM = "without_overlap", "without_int8", "without_ann"

_SEQUENTIAL: Final = replace(OPTIMIZED, overlap=False, shards=False)

ARMS: Final[Mapping[str, tuple[Mode, Switches]]] = {
    LEGACY_ARM: ("legacy", LEGACY),
    OVERLAP_ARM: ("optimized", Switches(overlap=True)),
    INT8_ARM: ("optimized", Switches(overlap=True, int8=True)),
    ANN_ARM: ("optimized", Switches(overlap=True, int8=True, ann=True)),
    SEQUENTIAL_ARM: ("optimized", _SEQUENTIAL),
    NO_OVERLAP_ARM: ("optimized", replace(OPTIMIZED, overlap=False)),
    NO_CODES_ARM: ("optimized", Switches(overlap=True, shards=True)),
    NO_ANN_ARM: ("optimized", replace(OPTIMIZED, ann=False)),
    OPTIMIZED_ARM: ("optimized", OPTIMIZED),
    AGAIN_ARM: ("optimized", OPTIMIZED),
}
"""Every arm's path and switches; the last is the one before once more, for the noise floor."""

LADDER: Final = (
    (LEGACY_ARM, "legacy"),
    (OVERLAP_ARM, "overlap"),
    (INT8_ARM, "int8"),
    (ANN_ARM, "ann"),
    (OPTIMIZED_ARM, "shards"),
)
"""The rungs: each arm adds the named switch to the one before."""

WITHOUT: Final = {
    "overlap": NO_OVERLAP_ARM,
    "int8": NO_CODES_ARM,
    "ann": NO_ANN_ARM,
    "shards": ANN_ARM,
}
"""The arm that has every switch but this one; lists hold codes, so without codes there are none."""


@dataclass(frozen=True, slots=True)
class Depths:
    """How many results are wanted, how deep each leg goes, and how many are rescored."""

    topk: int = 10
    bm25_topk: int = 50
    vector_topk: int = 50
    rerank_candidates: int = 100


@dataclass(slots=True)
class Arm:
    """One path with its switches over an engine, as a service that takes a query."""

    name: str
    dao: SearchDAO
    mode: Mode
    depths: Depths
    answers: list[SearchResult] = field(default_factory=list)

    async def search(self, query: str) -> SearchResult:
        """Search, and raise FellBackError unless the path that ran is the one that was asked."""
        depths = self.depths
        result = await self.dao.hybrid_search(
            query,
            None,
            depths.topk,
            depths.bm25_topk,
            depths.vector_topk,
            depths.rerank_candidates,
            mode=self.mode,
        )
        if result.mode != self.mode or result.switches != self.switches or result.degraded:
            raise FellBackError(
                f"asked for {self.mode} with {self.switches}, answered by {result.mode} with "
                f"{result.switches}, degraded: {result.degraded}"
            )
        return result

    async def __call__(self, query: str) -> None:
        """Answer one query and keep how it ran."""
        result = await self.search(query)
        self.answers.append(replace(result, hits=()))

    @property
    def switches(self) -> Switches:
        """The switches of the path."""
        return LEGACY if self.mode == "legacy" else self.dao.switches

    def close(self) -> None:
        """Stop the arm's threads."""
        self.dao.executor.close()


def open_arm(engine: Engine, name: str, depths: Depths, caches: SearchCaches | None = None) -> Arm:
    """Return the arm of this name over an engine, with threads of its own."""
    mode, switches = ARMS[name]
    plans = plans_for(overlap=switches.overlap, shards=switches.shards)
    executor = AsyncExecutionOptimizer(plans=plans)
    dao = SearchDAO(engine, executor, switches=switches, caches=caches)
    return Arm(name, dao, mode, depths)


def describe_arm(arm: Arm, latencies: NDArray[np.int64], warmup: int) -> dict[str, Any]:
    """Return how an arm ran: its switches and plans, a typical and a slow search.

    `latencies` int64[rounds, queries], ns, of the answers after the `warmup` first.
    """
    answers = arm.answers[warmup:]
    order = np.argsort(latencies.ravel(), kind="stable")
    places = {"typical": order[len(order) // 2], "p95": order[int(0.95 * len(order))]}
    return {
        "switches": asdict(arm.switches),
        "overlapped_share": sum(answer.overlapped for answer in answers) / len(answers),
        "plans": {
            plan: times / len(answers)
            for plan, times in Counter(answer.plan for answer in answers).items()
        },
        "timeline": [
            _timeline(label, int(latencies.ravel()[place]), answers[place])
            for label, place in places.items()
        ],
    }


def mean_steps_us(arm: Arm, warmup: int) -> dict[str, float]:
    """Return the mean length of every step of the arm's searches, microseconds."""
    taken: dict[str, list[int]] = {}
    for answer in arm.answers[warmup:]:
        for span in answer.timings:
            taken.setdefault(span.name, []).append(span.end_ns - span.start_ns)
    return {name: float(np.mean(ns)) / 1e3 for name, ns in taken.items()}


def _timeline(label: str, total_ns: int, answer: SearchResult) -> dict[str, Any]:
    spans = answer.timings
    start = min(span.start_ns for span in spans)
    threads = list(dict.fromkeys(span.thread for span in sorted(spans, key=_start)))
    return {
        "label": label,
        "total_ms": total_ns / 1e6,
        "overlapped": answer.overlapped,
        "spans": [
            {
                "name": span.name,
                "start_us": (span.start_ns - start) / 1e3,
                "end_us": (span.end_ns - start) / 1e3,
                "thread": threads.index(span.thread),
            }
            for span in sorted(spans, key=_start)
        ],
    }


def _start(span: Span) -> int:
    return span.start_ns
