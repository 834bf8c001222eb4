"""Fresh processes for measuring: one task a process, with native thread pools held at one.

`python -m dtrag_core.bench.worker` reads a task from standard input and writes its result to the
file that the task names; its standard output carries one JSON line a progress report.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.errors import DtragError, MeasuringError
from dtrag_core.types import Progress

ONE_THREAD: Final[Mapping[str, str]] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_REPORT_EVERY_S: Final = 0.2
_FAILED: Final = 3


def run_task(name: str, task: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Run a task in a fresh process and return its result.

    Raises MeasuringError with the task's own message if it fails. The process is ended if this one
    is interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="dtrag-") as folder:
        answer, order = Path(folder) / "result.json", Path(folder) / "order.json"
        order.write_text(json.dumps({"name": name, "answer": str(answer), **task}))
        with order.open() as asked, (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "dtrag_core.bench.worker"],
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ONE_THREAD},
            )
            with process:
                try:
                    for line in process.stdout or ():
                        stage, done, total = json.loads(line)
                        progress(stage, done, total)
                except BaseException:
                    process.kill()
                    raise
            errors.seek(0)
            said = errors.read().strip()
        if process.returncode == _FAILED:
            raise MeasuringError(answer.read_text(encoding="utf-8"))
        if process.returncode != 0:
            raise MeasuringError(
                f"the {name} process ended with {process.returncode}: {said[-2_000:]}"
            )
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return result


class _Reporter:
    """Writes progress to standard output, a few lines a second at the most."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_EVERY_S or done == total:
            self._last = now
            sys.stdout.write(json.dumps([stage, done, total]) + "\n")
            sys.stdout.flush()


def _serve() -> int:
    # Imported here: the process that only starts workers needs none of it.
    from dtrag_core.bench.cache_mix import cache
    from dtrag_core.bench.ingest import ingest
    from dtrag_core.bench.memory_task import memory
    from dtrag_core.bench.quality_task import quality
    from dtrag_core.bench.settings import MeasureSettings
    from dtrag_core.bench.tasks import MEASURING_TASKS, TaskInput

    order = json.load(sys.stdin)
    tasks = {
        **MEASURING_TASKS,
        "cache": cache,
        "ingest": ingest,
        "memory": memory,
        "quality": quality,
    }
    answer = Path(order["answer"])
    task = TaskInput(
        order["engine"],
        Path(order["location"]),
        MeasureSettings.from_json(order["settings"]),
        tuple(order["queries"]),
        order["part"],
    )
    try:
        result = tasks[order["name"]](task, _Reporter())
    except DtragError as error:
        answer.write_text(str(error), encoding="utf-8")
        return _FAILED
    answer.write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(_serve())
