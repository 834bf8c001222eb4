"""Several processes that serve one socket: started, watched, replaced when they die, and ended."""

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from dtrag_core.api.listening import DRAIN_S, leave
from dtrag_core.api.metrics import MULTIPROCESS
from dtrag_core.api.settings import ServiceSettings
from dtrag_core.errors import DtragError

_READY: Final = "ready"
_RESTART_S: Final = 1.0
_END_S: Final = DRAIN_S + 5


@dataclass(frozen=True, slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    started: float


def serve_with_workers(
    settings: ServiceSettings,
    listener: socket.socket,
    workers: int,
    ready: Callable[[], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Serve with so many processes; a worker that dies is replaced, at most once a second each.

    They share a folder of token buckets and metrics that is gone afterwards. Ends as `serve` does,
    each worker finishing its requests. Raises DtragError if the first workers cannot start.
    """
    signal.signal(signal.SIGTERM, leave)
    with tempfile.TemporaryDirectory(prefix="dtrag-") as folder:
        values = Path(folder) / "metrics"
        values.mkdir()
        os.environ[MULTIPROCESS] = str(values)
        supervisor = _Supervisor(replace(settings, shared=Path(folder)), listener, values, clock)
        try:
            supervisor.run(workers, ready)
        finally:
            supervisor.stop()
            del os.environ[MULTIPROCESS]


class _Supervisor:
    def __init__(
        self,
        settings: ServiceSettings,
        listener: socket.socket,
        values: Path,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._values = values
        self._clock = clock
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def run(self, workers: int, ready: Callable[[], None]) -> None:
        for _ in range(workers):
            self._start()
        for worker in self._workers:
            _await_ready(worker)
        ready()
        while True:
            wait([worker.process.sentinel for worker in self._workers])
            for worker in [each for each in self._workers if not each.process.is_alive()]:
                self._bury(worker)
                time.sleep(max(0.0, worker.started + _RESTART_S - self._clock()))
                self._start()

    def stop(self) -> None:
        """End all: gently, then after the time for it by force."""
        for worker in self._workers:
            worker.process.terminate()
        limit = self._clock() + _END_S
        for worker in tuple(self._workers):
            worker.process.join(max(0.0, limit - self._clock()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            self._bury(worker)

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(self._settings, self._listener, theirs), name="dtrag-worker"
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, self._clock()))

    def _bury(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        if worker.process.pid is not None:
            mark_process_dead(worker.process.pid, str(self._values))  # type: ignore[no-untyped-call]
        worker.process.close()


def _await_ready(worker: _Worker) -> None:
    try:
        said = worker.pipe.recv()
    except EOFError:
        said = "a worker process died while it started"
    if said != _READY:
        raise DtragError(said)


def _work(settings: ServiceSettings, listener: socket.socket, pipe: Connection) -> None:
    """Serve as one of several; ends when the supervisor does, however that happens."""
    # Imported here: the supervisor needs none of it.
    from dtrag_core.api.serve import serve

    def ready() -> None:
        pipe.send(_READY)
        threading.Thread(target=_follow, args=(pipe,), daemon=True).start()

    try:
        serve(settings, listener, ready)
    except KeyboardInterrupt:
        return  # the supervisor got it, too
    except (DtragError, OSError) as error:
        pipe.send(str(error))
        raise SystemExit(1) from None


def _follow(pipe: Connection) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_END_S)  # this thread ends with the process
        os.kill(os.getpid(), signal.SIGKILL)  # a search hangs
