"""Memory: int8 embeddings, a monitor that gives memory back, and streaming by byte budget."""

import asyncio
import ctypes
import gc
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import psutil
from numpy.typing import NDArray

from dtrag_core.errors import EmbeddingError, InvalidRequestError, MemoryBudgetError
from dtrag_core.types import FloatArray

CODE_MAX: Final = 127


@dataclass(frozen=True, slots=True)
class QuantizationMetadata:
    """What turns codes back into floats: value = code * `scale`."""

    scale: float


class EmbeddingQuantizer:
    """Symmetric int8: code = round(x / scale) to nearest, scale = max|x| / 127.

    The error of every component is at most scale / 2 (up to float32 rounding).
    """

    def quantize_embedding(
        self, embedding: FloatArray
    ) -> tuple[NDArray[np.int8], QuantizationMetadata]:
        """Return int8[d] codes of float32[d] and what undoes them.

        Raises EmbeddingError on another shape, NaN or infinity.
        """
        if embedding.ndim != 1:
            raise EmbeddingError(
                f"expected one embedding of shape (d,), got {embedding.shape}; "
                "use quantize_batch for several"
            )
        codes, scales = self.quantize_batch(embedding[np.newaxis])
        return codes[0], QuantizationMetadata(float(scales[0]))

    def dequantize_embedding(
        self, codes: NDArray[np.int8], metadata: QuantizationMetadata
    ) -> FloatArray:
        """Return float32[d] from int8[d]."""
        if codes.dtype != np.int8:
            raise EmbeddingError(f"expected int8 codes, got {codes.dtype}")
        return codes.astype(np.float32) * np.float32(metadata.scale)

    def quantize_batch(self, embeddings: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
        """Return int8[n, d] codes and float32[n] scales of float32[n, d].

        A zero row has scale 1, so that it is restored exactly. Raises EmbeddingError on another
        shape, NaN or infinity (naming the row).
        """
        if embeddings.ndim != 2:
            raise EmbeddingError(f"expected embeddings of shape (n, d), got {embeddings.shape}")
        values = np.asarray(embeddings, dtype=np.float32)
        largest = np.abs(values).max(axis=1, initial=0.0)
        unusable = np.flatnonzero(~np.isfinite(largest))
        if unusable.size:
            raise EmbeddingError(
                f"row {unusable[0]} of the embeddings holds NaN or infinity "
                f"({unusable.size} such rows); the embedder is at fault"
            )
        scales = (largest / np.float32(CODE_MAX)).astype(np.float32)
        scales[scales == 0] = 1
        # A subnormal scale is rounded so coarsely that codes would leave the range.
        codes = np.clip(np.rint(values / scales[:, np.newaxis]), -CODE_MAX, CODE_MAX)
        return codes.astype(np.int8), scales


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Memory in bytes at `at_ns` (`time.perf_counter_ns`): `rss` of this process, `available`."""

    rss: int
    available: int
    at_ns: int


def release_memory() -> bool | None:
    """Collect garbage and return freed heap memory to the system.

    Returns whether any was returned; None without glibc's malloc_trim.
    """
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return bool(trim(ctypes.c_size_t(0)))


class MemoryMonitor:
    """Watches this process's memory and gives back what is free once growth passes a threshold.

    `growth_bytes`: how far resident memory may rise above the level after the last release.
    `minimum_available`: release as well when the machine has fewer bytes available than this.
    Nothing here runs by itself: callers decide when, so that timed regions stay undisturbed.
    """

    def __init__(
        self,
        growth_bytes: int = 256 << 20,
        minimum_available: int = 512 << 20,
        *,
        read: Callable[[], tuple[int, int]] | None = None,
        history: int = 1_000,
    ) -> None:
        if growth_bytes < 1:
            raise InvalidRequestError(f"growth_bytes must be positive, got {growth_bytes}")
        self._growth_bytes = growth_bytes
        self._minimum_available = minimum_available
        self._read = read or _read_memory
        self._history: deque[MemoryUsage] = deque(maxlen=history)
        self._level: int | None = None
        self._releases = 0

    async def check_memory_usage(self) -> MemoryUsage:
        """Return and remember the memory in use now."""
        rss, available = self._read()
        usage = MemoryUsage(rss, available, time.perf_counter_ns())
        self._history.append(usage)
        if self._level is None:
            self._level = rss
        return usage

    async def optimize_if_needed(self) -> bool:
        """Release memory if a threshold was passed; return whether it did."""
        usage = await self.check_memory_usage()
        grown = usage.rss - (self._level if self._level is not None else usage.rss)
        if grown <= self._growth_bytes and usage.available >= self._minimum_available:
            return False
        await asyncio.to_thread(release_memory)
        self._releases += 1
        self._level = (await self.check_memory_usage()).rss
        return True

    @property
    def history(self) -> tuple[MemoryUsage, ...]:
        """The usages seen, oldest first."""
        return tuple(self._history)

    @property
    def releases(self) -> int:
        """How often memory was given back."""
        return self._releases


def _read_memory() -> tuple[int, int]:
    return psutil.Process().memory_info().rss, psutil.virtual_memory().available


def stream_slices(sizes: Sequence[int] | NDArray[np.int64], budget: int) -> Iterator[slice]:
    """Cut items of these byte sizes into consecutive slices that each fit `budget` bytes.

    Raises MemoryBudgetError if one item alone does not fit.
    """
    if budget < 1:
        raise InvalidRequestError(f"the byte budget must be positive, got {budget}")
    start = held = 0
    for position, size in enumerate(sizes):
        if size > budget:
            raise MemoryBudgetError(
                int(size), budget, f"item {position} alone is larger: raise the budget"
            )
        if held + size > budget:
            yield slice(start, position)
            start, held = position, 0
        held += int(size)
    if start < len(sizes):
        yield slice(start, len(sizes))
