import ctypes
import mmap
import os
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from dtrag_core.bench.footprint import (
    evict_files,
    file_resident,
    process_memory,
)
from dtrag_core.errors import MeasuringError

linux = pytest.mark.skipif(sys.platform != "linux", reason="the page cache is asked on Linux")


def test_memory_held_is_seen_as_the_processes_own() -> None:
    before = process_memory()
    held = np.ones(64 << 20, dtype=np.uint8)
    after = process_memory()
    assert after.rss - before.rss > 60 << 20
    assert before.uss is not None
    assert after.uss is not None
    assert after.uss - before.uss > 60 << 20
    assert after.to_json() == {"uss": after.uss, "pss": after.pss, "rss": after.rss}
    assert held[-1] == 1


@linux
def test_only_the_touched_pages_of_a_file_are_resident(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bin"
    size = 32 << 20
    path.write_bytes(b"x" * size + b"tail")
    assert file_resident([path]) == {"vectors.bin": size + 4}
    assert evict_files([path])
    resident = file_resident([path])["vectors.bin"]
    if resident == size + 4:
        pytest.skip("this file system keeps its pages in memory")
    assert resident == 0
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    assert mapped[size // 2] == ord("x")
    touched = file_resident([path])["vectors.bin"]
    assert touched is not None
    assert (
        mmap.PAGESIZE <= touched < size // 2
    )  # the system reads ahead, by megabytes on some disks


def test_an_empty_file_holds_nothing_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert file_resident([empty]) == {"empty": 0}
    with pytest.raises(MeasuringError, match="gone"):
        file_resident([tmp_path / "gone"])


@linux
def test_evicting_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MeasuringError, match="gone cannot be evicted: No such file"):
        evict_files([tmp_path / "gone"])


def test_what_the_platform_does_not_say_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.bin"
    path.write_bytes(b"x" * 10)

    def denied(_: psutil.Process) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    memory = process_memory()
    assert (memory.uss, memory.pss) == (None, None)
    assert memory.rss > 0

    def no_library(_: object) -> None:
        raise OSError("none here")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert file_resident([path]) == {"some.bin": None}
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    assert evict_files([path]) is None
