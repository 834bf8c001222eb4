"""Fresh processes for measuring: one task a process, with native thread pools held at one.

`python -m dtrag_core.bench.worker` carries out a task as `fresh` says.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.bench.fresh import Order, Step, run_fresh, serve
from dtrag_core.types import Progress

ONE_THREAD: Final[Mapping[str, str]] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def run_task(name: str, task: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Run a task in a fresh process and return its result.

    Raises MeasuringError with the task's own message if it fails. The process is ended if this one
    is interrupted.
    """
    return run_fresh("dtrag_core.bench.worker", name, task, progress, ONE_THREAD)


def _serve() -> int:
    # Imported here: the process that only starts workers needs none of it.
    from dtrag_core.bench.cache_mix import cache
    from dtrag_core.bench.ingest import ingest
    from dtrag_core.bench.memory_task import memory
    from dtrag_core.bench.quality_task import quality
    from dtrag_core.bench.service_task import service
    from dtrag_core.bench.settings import MeasureSettings
    from dtrag_core.bench.stress import stress
    from dtrag_core.bench.tasks import MEASURING_TASKS, Task, TaskInput

    def step(task: Task) -> Step:
        def carry_out(order: Order, progress: Progress) -> dict[str, Any]:
            given = TaskInput(
                order["engine"],
                Path(order["location"]),
                MeasureSettings.from_json(order["settings"]),
                tuple(order["queries"]),
                order["part"],
            )
            return task(given, progress)

        return carry_out

    tasks = {
        **MEASURING_TASKS,
        "cache": cache,
        "ingest": ingest,
        "memory": memory,
        "quality": quality,
        "service": service,
        "stress": stress,
    }
    return serve({name: step(task) for name, task in tasks.items()})


if __name__ == "__main__":
    sys.exit(_serve())
