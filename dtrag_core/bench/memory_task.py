"""The task that counts memory: what an arm needs, and the peak of a large result."""

import sys
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any, Final

import numpy as np

from dtrag_core.bench.arms import LEGACY_ARM, Arm, open_arm
from dtrag_core.bench.footprint import evict_files, file_resident, process_memory
from dtrag_core.bench.tasks import TaskInput, run
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import LEGACY, OPTIMIZED, Progress, SearchParams

_LARGE_RESULT_BYTES: Final = 256 << 20


def memory(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Count what one arm needs resident, inside and from outside, after a workload."""
    files = [path for path in sorted(task.location.rglob("*")) if path.is_file()]
    evict_files(files)
    engine = task.open()
    arm = open_arm(engine, task.part, task.settings.depths)
    asked = task.queries[:500]

    async def work() -> None:
        for number, query in enumerate(asked, 1):
            await arm(query)
            progress(f"memory, {task.part}", number, len(asked))

    run(work())
    outside = {**process_memory().to_json(), "file_resident": file_resident(files)}
    switches = LEGACY if task.part == LEGACY_ARM else OPTIMIZED
    streaming = None if task.part == LEGACY_ARM else _streaming_peaks(arm, asked[0])
    arm.close()
    return {
        "inside": dict(engine.resident_bytes(switches)),
        "postings": engine.info.postings,
        "outside": outside,
        "streaming": streaming,
    }


def _streaming_peaks(arm: Arm, query: str) -> dict[str, int]:
    """Return the peak of reading a large result set whole, and part by part."""
    engine = arm.dao.engine
    most = min(5_000, engine.info.chunks)
    session = engine.session(arm.switches)
    sizes = np.array(session.text_bytes(np.arange(most, dtype=np.int32)), np.int64)
    topk = max(1, min(most, int(_LARGE_RESULT_BYTES / max(float(sizes.mean()), 1.0))))
    params = SearchParams(topk, topk, topk, 2 * topk)
    unlimited = AsyncExecutionOptimizer(byte_budget=sys.maxsize)

    async def whole() -> None:
        dao = SearchDAO(engine, unlimited, switches=arm.switches)
        result = await dao.hybrid_search(query, None, topk, topk, topk, 2 * topk)
        del result

    async def streamed() -> None:
        async for part in arm.dao.stream_search(query, params):
            del part

    try:
        return {
            "budget_bytes": arm.dao.executor.byte_budget,
            "peak_whole_bytes": _peak(whole),
            "peak_streamed_bytes": _peak(streamed),
        }
    finally:
        unlimited.close()


def _peak(job: Callable[[], Coroutine[Any, Any, None]]) -> int:
    tracemalloc.start()
    try:
        run(job())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
