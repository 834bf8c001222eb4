"""Names worker processes so that others can tell whether they are dead."""

import os
import platform
import secrets
import sys
from functools import cache
from pathlib import Path

import psutil


def worker_name() -> str:
    """Return a name, new each time, that says which process this is."""
    pid = os.getpid()
    return f"{_machine()} {pid} {_started(pid)} {secrets.token_hex(4)}"


def is_dead(worker: str) -> bool:
    """Whether the process of that name is known to have ended.

    A process id alone would not do, since it is given out again: it counts with the time its
    process started. Nothing is known of processes of another machine or container.
    """
    machine, pid, started, _ = worker.split()
    return machine == _machine() and _started(int(pid)) != started


@cache
def _machine() -> str:
    """Return what tells apart places (and times since the machine started) with their own ids."""
    if sys.platform != "linux":
        return platform.node().replace(" ", "_") or "here"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink().name}"


def _started(pid: int) -> str | None:
    """Return when a process started, in whatever unit; None if it has ended."""
    if sys.platform != "linux":
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *numbers = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else numbers[18]
