"""Token buckets that the processes of one machine share through a file."""

import fcntl
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from dtrag_core.errors import InvalidRequestError, UsageError
from dtrag_core.optimization.token_bucket import draw

_SLOT_BYTES: Final = 8


class SharedBuckets:
    """`slots` token buckets, full at first, in a memory-mapped file; each slot has its own lock.

    A slot is one float64: a process killed at any point leaves a valid bucket, and the kernel frees
    its lock. `clock` (s) must be the same for all processes, as `time.monotonic` is on one machine;
    if it begins anew (a reboot), a bucket is empty at worst. Safe to use from several threads, and
    after a fork; open the file once a process, since its locks do not tell a process's own
    descriptors apart. Raises UsageError if the file cannot be used.
    """

    def __init__(
        self, path: Path, slots: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if slots < 1:
            raise InvalidRequestError(f"slots must be at least 1, got {slots}")
        self.slots = slots
        self._clock = clock
        self._lock = Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot share token buckets in {path}: {error.strerror}") from error
        try:
            self._map = self._mapped(slots * _SLOT_BYTES)
        except OSError as error:
            os.close(self._file)
            raise UsageError(f"cannot share token buckets in {path}: {error.strerror}") from error
        self._full_at = memoryview(self._map).cast("d")

    def take(self, slot: int, rate: float, burst: float, tokens: float = 1) -> float:
        """Take `tokens` from a slot's bucket and return 0.0, or the seconds until it could."""
        if not 0 <= slot < self.slots:
            raise InvalidRequestError(f"slot must be in 0..{self.slots - 1}, got {slot}")
        offset = slot * _SLOT_BYTES
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT_BYTES, offset)
            try:
                full_at, wait_s = draw(self._full_at[slot], self._clock(), rate, burst, tokens)
                self._full_at[slot] = full_at
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT_BYTES, offset)
        return wait_s

    def close(self) -> None:
        """Let go of the file, which stays; closing twice is harmless."""
        with self._lock:
            if not self._map.closed:
                self._full_at.release()
                self._map.close()
                os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _mapped(self, size: int) -> mmap.mmap:
        """Map the file, grown if need be; never shrunk, others may have mapped more of it."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            held = os.fstat(self._file).st_size
            if held < size:
                # Written, not only claimed: a full disk must fail here, not when a page is touched.
                written = os.pwrite(self._file, bytes(size - held), held)
                if written < size - held:
                    raise OSError(f"only {held + written} of {size} bytes fit")
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        return mmap.mmap(self._file, size)
