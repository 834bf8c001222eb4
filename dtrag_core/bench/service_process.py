"""A service started for a measurement: on cores of its own, stopped afterwards."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import psutil

from dtrag_core.errors import MeasuringError
from dtrag_core.optimization.core_threads import allowed_cores

START_S: Final = 300.0
"""An index may have to be built first."""

_STOP_S: Final = 20.0


def serve_command(*options: str) -> list[str]:
    """Return the command that serves on a free port of this machine; options say what, and how."""
    serve = (sys.executable, "-m", "dtrag_core.cli", "serve")
    return [*serve, "--host", "127.0.0.1", "--port", "0", *options]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a service hold, added up.

    `resident` and `anonymous` (no file behind it; None where the system does not say) in bytes;
    `descriptors` open; `cpu_s` computed so far.
    """

    resident: int
    anonymous: int | None
    descriptors: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores serve, and which one sends; `apart` if they are not the same."""

    service: tuple[int, ...]
    generator: tuple[int, ...]

    @property
    def apart(self) -> bool:
        """Whether neither takes the other's time."""
        return not set(self.service) & set(self.generator)

    @classmethod
    def split(cls, workers: int = 1, allowed: Sequence[int] | None = None) -> Self:
        """Give the first cores, one a worker, to the service and the last one to the generator."""
        cores = sorted(allowed_cores() if allowed is None else allowed)
        return cls(tuple(cores[: min(workers, len(cores) - 1) or 1]), (cores[-1],))

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names, and `apart`."""
        return {
            "service": list(self.service),
            "generator": list(self.generator),
            "apart": self.apart,
        }


@contextmanager
def kept_to(cores: Sequence[int]) -> Iterator[None]:
    """Keep this thread on some cores during a block, where the system can."""
    own = psutil.Process()
    if not cores or not hasattr(own, "cpu_affinity"):
        yield
        return
    before = own.cpu_affinity()
    own.cpu_affinity(list(cores))
    try:
        yield
    finally:
        own.cpu_affinity(before)


class ServiceProcess:
    """A command that prints its address as the first line once it is ready; use it as a context.

    `url` is that address. Raises MeasuringError with what it said if it ends before.
    """

    def __init__(
        self, command: Sequence[str], cores: Sequence[int] = (), start_s: float = START_S
    ) -> None:
        self._command = list(command)
        self._cores = list(cores)
        self._start_s = start_s
        self.url = ""

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+")
        # A group of its own: an interrupt of this process is not one of the service.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        try:
            self._known = psutil.Process(self._process.pid)
            if self._cores and hasattr(self._known, "cpu_affinity"):
                self._known.cpu_affinity(self._cores)
            self.url = self._address()
            self._family = self._found()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _address(self) -> str:
        """Wait for the first line; go on reading, so that the pipe never fills."""
        assert self._process.stdout is not None
        stream = self._process.stdout
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()

        def read() -> None:
            lines.put(stream.readline())
            for _ in stream:
                pass

        threading.Thread(target=read, name="service-output", daemon=True).start()
        try:
            first = lines.get(timeout=self._start_s).strip()
        except queue.Empty:
            raise MeasuringError(
                f"the service was not ready after {self._start_s:g} s: {self._said()}"
            ) from None
        if not first.startswith("http"):
            self._process.wait(timeout=_STOP_S)
            raise MeasuringError(
                f"the service ended with {self._process.returncode} before it was ready: "
                f"{self._said() or first or 'it said nothing'}"
            )
        return first

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().strip()[-2_000:]

    def _stop(self) -> None:
        """Ask it to end, and its process group with it; insist after a while."""
        with self._process:
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._errors.close()

    @property
    def pid(self) -> int:
        """The number of the process that was started."""
        return self._process.pid

    def check_alive(self) -> None:
        """Raise MeasuringError with what it said if it has ended."""
        if self._process.poll() is not None:
            raise MeasuringError(
                f"the service ended with {self._process.returncode} under load: {self._said()}"
            )

    def _found(self) -> list[psutil.Process]:
        try:
            return [self._known, *self._known.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def usage(self) -> Usage:
        """Return what it and its worker processes hold now. Raises MeasuringError if it ended."""
        held = [usage for process in self._family if (usage := _usage(process)) is not None]
        if len(held) < len(self._family) or not held:
            # Who belongs to it is looked up only then: that reads the whole process table.
            self.check_alive()
            self._family = self._found()
            held = [usage for process in self._family if (usage := _usage(process)) is not None]
        anonymous = [usage.anonymous for usage in held if usage.anonymous is not None]
        return Usage(
            sum(usage.resident for usage in held),
            sum(anonymous) if len(anonymous) == len(held) else None,
            sum(usage.descriptors for usage in held),
            sum(usage.cpu_s for usage in held),
        )


def _usage(process: psutil.Process) -> Usage | None:
    try:
        with process.oneshot():
            memory, cpu = process.memory_info(), process.cpu_times()
            shared = getattr(memory, "shared", None)
            if not memory.rss:
                return None  # it has ended, and nobody has asked for its exit code yet
            return Usage(
                memory.rss,
                None if shared is None else memory.rss - shared,
                process.num_fds() if hasattr(process, "num_fds") else 0,
                cpu.user + cpu.system,
            )
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
