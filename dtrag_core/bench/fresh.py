"""Fresh processes, each for one step of a measurement.

Such a process reads its order from standard input, reports progress as lines of JSON on standard
output, and writes its result into the file the order names.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.errors import DtragError, MeasuringError
from dtrag_core.types import Progress

Order = Mapping[str, Any]
Step = Callable[[Order, Progress], dict[str, Any]]

_FAILED: Final = 3
_REPORT_EVERY_S: Final = 0.2


def run_fresh(
    module: str, step: str, order: Order, progress: Progress, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run a step in a fresh process, `python -m module`, and return its result.

    `environment` is set on top of this process's. Raises MeasuringError with the step's own message
    if it fails. The process is ended if this one is interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="dtrag-") as folder:
        answer, asked = Path(folder) / "result.json", Path(folder) / "order.json"
        asked.write_text(json.dumps({"step": step, "answer": str(answer), "order": order}))
        with asked.open() as told, (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=told,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **environment},
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
                f"the {step} process ended with {process.returncode}: {said[-2_000:]}"
            )
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return result


def serve(steps: Mapping[str, Step]) -> int:
    """Carry out the order on standard input; return this process's exit code."""
    asked = json.load(sys.stdin)
    answer = Path(asked["answer"])
    try:
        result = steps[asked["step"]](asked["order"], _Reporter())
    except DtragError as error:
        answer.write_text(str(error), encoding="utf-8")
        return _FAILED
    answer.write_text(json.dumps(result), encoding="utf-8")
    return 0


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
