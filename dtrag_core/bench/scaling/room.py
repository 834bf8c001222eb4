"""Whether a machine has the memory and the disk that a scaling run needs, known beforehand."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from dtrag_core.bench.environment import container_limits
from dtrag_core.bench.scaling.roofline import BUFFER_BYTES
from dtrag_core.errors import MeasuringError
from dtrag_core.index.builder import SEGMENT_ROWS

# Measured on generated chunks, rounded up.
_DISK_A_CHUNK: Final = 4_000
_BUILD_BASE: Final = 700 << 20
_BUILD_A_ROW: Final = 9_000  # of the segment that is being collected
_SEARCH_BASE: Final = 400 << 20
_SEARCH_A_CHUNK: Final = 2_000  # float32 vectors, codes, postings: searched again and again


def disk_needed(sizes: Sequence[int]) -> int:
    """Return about how many bytes the indexes of these sizes take together."""
    return sum(sizes) * _DISK_A_CHUNK


def memory_needed(size: int) -> int:
    """Return about how many bytes building and searching the index of one size take at most."""
    building = _BUILD_BASE + min(size, SEGMENT_ROWS) * _BUILD_A_ROW
    searching = _SEARCH_BASE + BUFFER_BYTES + size * _SEARCH_A_CHUNK
    return max(building, searching)


def check_room(sizes: Sequence[int], missing: Sequence[int], folder: Path) -> None:
    """Raise MeasuringError unless there is room for all `sizes`, of which `missing` are not built.

    `folder` is where indexes are kept, whether it exists yet or not.
    """
    limit = container_limits()["memory_limit_bytes"]
    available = psutil.virtual_memory().available
    available = available if limit is None else min(available, limit)
    needed = memory_needed(max(sizes))
    if needed > available:
        fitting = [size for size in sizes if memory_needed(size) <= available]
        _refuse("memory", max(sizes), needed, available, fitting)
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if disk_needed(missing) > free:
        fitting = [
            size
            for size in sizes
            if disk_needed([each for each in missing if each <= size]) <= free
        ]
        _refuse(f"disk at {there}", max(missing), disk_needed(missing), free, fitting)


def _refuse(what: str, size: int, needed: int, there_is: int, fitting: Sequence[int]) -> None:
    ask = ",".join(map(str, fitting))
    way_out = f"ask for --sizes {ask}" if fitting else "none of the sizes fits"
    raise MeasuringError(
        f"up to {size:,} chunks need about {needed / 2**30:.1f} GiB of {what}, free are "
        f"{there_is / 2**30:.1f} GiB; {way_out}"
    )
