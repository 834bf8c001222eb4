"""Starting a process, and killing it at a chosen moment."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from dtrag_core.errors import MeasuringError

Job = Callable[..., None]
"""What a process does; its last argument is the connection it says on that it begins."""

_PATIENCE_S: Final = 120.0


class Killer:
    """Starts processes quickly: they fork from one that has imported the package already."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dtrag_core.bench.torture.children"])

    def run(self, job: Job, *arguments: Any) -> float:  # noqa: ANN401 (any job's)
        """Let a job run to its end; return the seconds it took from its beginning."""
        process, start = self._begin(job, arguments)
        process.join(_PATIENCE_S)
        seconds = time.perf_counter() - start
        if process.exitcode is None:
            process.kill()
            process.join()
            raise MeasuringError(f"{_name(job)} did not end within {_PATIENCE_S:g} s")
        _refuse_failure(job, process.exitcode)
        return seconds

    def kill(self, after: float, job: Job, *arguments: Any) -> bool:  # noqa: ANN401
        """Kill a job `after` seconds from its beginning; False if it had ended by then.

        Raises MeasuringError if it ended with an error.
        """
        process, start = self._begin(job, arguments)
        process.join(max(start + after - time.perf_counter(), 0.0))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            return True
        _refuse_failure(job, process.exitcode)
        return False

    def _begin(
        self, job: Job, arguments: tuple[Any, ...]
    ) -> tuple[multiprocessing.process.BaseProcess, float]:
        """Start a process and wait until it says that it begins; return it and that moment."""
        hears, says = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_run, args=(job, arguments, says), daemon=True)
        with hears, says:
            process.start()
            says.close()
            try:
                hears.recv()
            except EOFError:
                process.join()
        return process, time.perf_counter()


def _run(job: Job, arguments: tuple[Any, ...], says: Connection) -> None:
    job(*arguments, says)


def _refuse_failure(job: Job, code: int | None) -> None:
    if code != 0:
        raise MeasuringError(f"{_name(job)} ended by itself with exit code {code}; see its error")


def _name(job: Job) -> str:
    return getattr(job, "__name__", repr(job))
