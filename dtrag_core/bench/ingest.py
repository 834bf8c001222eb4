"""Latency while the index is written: the same searches with and without a writer beside them."""

import math
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from dtrag_core.bench.arms import OPTIMIZED_ARM, Arm, Depths, open_arm
from dtrag_core.bench.clock import NS_PER_MS, RealClock
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.ingest_feed import FeedOrder
from dtrag_core.bench.ingest_writer import WriterProcess
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult
from dtrag_core.bench.statistics import ratio_interval
from dtrag_core.bench.tasks import TaskInput, run
from dtrag_core.embedding.registry import embedder_info
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import MeasuringError
from dtrag_core.index.manifest import MANIFEST, read_manifest
from dtrag_core.types import Progress, no_progress

RATE: Final = 500.0
PAIRS: Final = 6
PERIOD_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """`pairs` of periods of `period_s`, one with a writer that adds `rate` chunks per s.

    Searches arrive at `search_rate` per s, open loop, in both.
    """

    rate: float = RATE
    search_rate: float = 50.0
    pairs: int = PAIRS
    period_s: float = PERIOD_S
    seed: int = 0


def ingest(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Measure latency during ingest; None where the embedder knows the dataset's texts only."""
    seconds = task.settings.ingest_seconds
    if not seconds or not embedder_info(read_manifest(task.location).embedder).any_text:
        return {"ingest": None}
    plan = IngestPlan(
        search_rate=task.settings.rate,
        period_s=seconds / (2 * PAIRS),
        seed=task.settings.seed,
    )
    warmup = task.queries[: task.settings.warmup]
    queries = task.queries[task.settings.warmup :]
    return {
        "ingest": measure_ingest(
            task.location, queries, plan, task.settings.depths, warmup, progress
        )
    }


def measure_ingest(
    directory: Path,
    queries: Sequence[str],
    plan: IngestPlan,
    depths: Depths,
    warmup: Sequence[str] = (),
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Search a copy of an index in periods without and with a process that writes it.

    Returns P50 and P95 of both, the ratio of the P95s with its interval over the pairs, what the
    writer reached, and the delay from an acknowledgement to the first search that saw it. Raises
    MeasuringError if the writer fails or a search does.
    """
    with ExitStack() as stack:
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix=".ingest-", dir=directory.resolve().parent)
        )
        copy = linked_copy(directory, Path(scratch) / "index")
        engine = EmbeddedEngine(copy)
        stack.callback(engine.close)
        arm = open_arm(engine, OPTIMIZED_ARM, depths)
        stack.callback(arm.close)
        order = FeedOrder(str(copy), engine.manifest.dataset, plan.rate)
        writer = stack.enter_context(WriterProcess(order))
        searches = _Searches(engine, arm)
        return run(_measure(searches, queries, plan, writer, warmup, progress))


def linked_copy(directory: Path, target: Path) -> Path:
    """Copy an index whose files are shared with the original: only the manifest ever changes."""
    shutil.copytree(directory, target, copy_function=_link)
    shutil.copy2(directory / MANIFEST, target / f".{MANIFEST}")
    (target / f".{MANIFEST}").rename(target / MANIFEST)
    return target


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
    return target


@dataclass(slots=True)
class _Searches:
    """The searches, and which generation each was answered from, from when on."""

    engine: EmbeddedEngine
    arm: Arm
    served: list[tuple[int, float]] = field(default_factory=list)

    async def __call__(self, query: str) -> None:
        generation = self.engine.manifest.generation
        if not self.served or generation != self.served[-1][0]:
            self.served.append((generation, time.monotonic()))
        await self.arm(query)

    def first_served(self, generation: int) -> float | None:
        """Return when the first search of this generation or a later one began, s."""
        return next((at for served, at in self.served if served >= generation), None)


async def _measure(
    searches: _Searches,
    queries: Sequence[str],
    plan: IngestPlan,
    writer: WriterProcess,
    warmup: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    for query in warmup:
        await searches(query)
    start = len(searches.engine.manifest.segments)
    idle: list[LoadResult] = []
    during: list[LoadResult] = []
    for pair in range(plan.pairs):
        for writing in (False, True) if pair % 2 == 0 else (True, False):
            progress("latency during ingest", len(idle) + len(during), 2 * plan.pairs)
            writer.settle()
            searches.engine.refresh()
            load = LoadPlan(plan.search_rate, plan.period_s, 1, seed=plan.seed + pair)
            if writing:
                writer.write_for(plan.period_s)
            result = await run_load(searches, queries, load, RealClock())
            (during if writing else idle).append(result)
    writer.settle()
    searches.engine.refresh()
    return _block(plan, idle, during, writer.batches, searches, start)


def _block(
    plan: IngestPlan,
    idle: Sequence[LoadResult],
    during: Sequence[LoadResult],
    batches: Sequence[dict[str, Any]],
    searches: _Searches,
    start: int,
) -> dict[str, Any]:
    if failed := sum((Counter(each.errors) for each in (*idle, *during)), Counter()):
        raise MeasuringError(f"searches failed beside the writer: {dict(failed)}")
    p95 = [(_p95_ms(a), _p95_ms(b)) for a, b in zip(idle, during, strict=True)]
    delays = [
        at - batch["acknowledged_s"]
        for batch in batches
        if (at := searches.first_served(batch["generation"])) is not None
    ]
    lags = [batch["lag_s"] for batch in batches]
    generations = searches.served[-1][0] - searches.served[0][0]
    return {
        "plan": asdict(plan),
        "idle": _described(idle),
        "during": _described(during),
        "p95_ms": [list(pair) for pair in p95],
        "p95_ratio": ratio_interval([[math.log(b / a) for a, b in p95]]).to_json(),
        "rate_reached": _rate_reached(plan, batches),
        "deleted": sum(batch["deleted"] for batch in batches),
        "lag_s": _spread(lags),
        "visible_after_s": _spread(delays),
        "generations_written": generations,
        "generations_served": len(searches.served),
        "segments": {
            "start": start,
            "most": max(batch["segments"] for batch in batches),
            "end": len(searches.engine.manifest.segments),
        },
    }


def _rate_reached(plan: IngestPlan, batches: Sequence[dict[str, Any]]) -> float:
    """Return chunks per s over the writing periods, each as long as planned or as it took."""
    size, seconds = len(batches) // plan.pairs, 0.0
    for first in range(0, len(batches), size):
        period = batches[first : first + size]
        begun = period[0]["acknowledged_s"] - period[0]["lag_s"]
        seconds += max(plan.period_s, period[-1]["acknowledged_s"] - begun)
    return float(sum(batch["written"] for batch in batches)) / seconds


def _described(results: Sequence[LoadResult]) -> dict[str, Any]:
    histogram = Histogram.merge(result.histogram for result in results)
    return {
        "n": histogram.count,
        "percentiles_ms": histogram.percentiles_ms(),
        "histogram": histogram.to_json(),
    }


def _p95_ms(result: LoadResult) -> float:
    return (result.histogram.percentile(0.95) or 0) / NS_PER_MS


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(seconds)), "max": max(seconds)}
