"""Memory seen from outside: what the system says a process and its files hold.

What the platform does not say is None, never 0.
"""

import ctypes
import mmap
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from dtrag_core.errors import MeasuringError


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Bytes of this process: `uss` its own, `pss` shared pages divided by users, `rss` all."""

    uss: int | None
    pss: int | None
    rss: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return asdict(self)


def process_memory() -> ProcessMemory:
    """Return the memory of this process. PSS exists on Linux; USS may be denied by the system."""
    process = psutil.Process()
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return ProcessMemory(None, None, process.memory_info().rss)
    return ProcessMemory(full.uss, getattr(full, "pss", None), full.rss)


def file_resident(paths: Iterable[Path]) -> dict[str, int | None]:
    """Return how many bytes of each file are in memory: its pages in the page cache (mincore).

    Keyed by file name; files of one name are added up. The page cache is shared: evict the files
    first (`evict_files`) to see only what was read since, which the system's read-ahead rounds up,
    by megabytes on some disks. None where the system has no mincore, or
    tells the truth only to those who own or may write the file. Raises `MeasuringError` for a
    file that cannot be read.
    """
    resident: dict[str, int | None] = {}
    for path in paths:
        before, here = resident.get(path.name, 0), _resident_bytes(path)
        resident[path.name] = None if before is None or here is None else before + here
    return resident


def _resident_bytes(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            size, own = status.st_size, status.st_uid == os.geteuid()
            if size == 0:
                return 0
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise MeasuringError(f"{path} cannot be measured: {error.strerror}") from error
    with mapped:
        mincore = _libc_function("mincore")
        if mincore is None or not (own or os.access(path, os.W_OK)):
            return None
        pages = np.zeros(-(-size // mmap.PAGESIZE), dtype=np.uint8)
        view = np.frombuffer(mapped, dtype=np.uint8)
        failed = mincore(
            ctypes.c_void_p(view.ctypes.data),
            ctypes.c_size_t(size),
            ctypes.c_void_p(pages.ctypes.data),
        )
        del view
        return None if failed else min(int((pages & 1).sum()) * mmap.PAGESIZE, size)


def evict_files(paths: Iterable[Path]) -> bool | None:
    """Ask the system to drop the pages of these files that nobody maps; None where it cannot.

    Written data is flushed first, since dirty pages stay. Raises `MeasuringError` for a file that
    cannot be read.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    for path in paths:
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise MeasuringError(f"{path} cannot be evicted: {error.strerror}") from error
    return True


def _libc_function(name: str) -> "ctypes._NamedFuncPointer | None":
    try:
        function: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function
