"""int8 embeddings, giving memory back, and cutting by byte budget."""

import asyncio
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dtrag_core.errors import EmbeddingError, InvalidRequestError, MemoryBudgetError
from dtrag_core.optimization.memory_optimizer import (
    EmbeddingQuantizer,
    MemoryMonitor,
    release_memory,
    stream_slices,
)
from dtrag_core.types import FloatArray

VALUES = st.floats(-1e6, 1e6, width=32)


@given(npst.arrays(np.float32, st.integers(1, 300), elements=VALUES))
def test_error_is_at_most_half_a_step(embedding: FloatArray) -> None:
    quantizer = EmbeddingQuantizer()
    codes, metadata = quantizer.quantize_embedding(embedding)
    restored = quantizer.dequantize_embedding(codes, metadata)
    assert codes.dtype == np.int8
    assert restored.dtype == np.float32
    error = np.abs(restored.astype(np.float64) - embedding)
    largest = float(np.abs(embedding).max())
    rounding = np.finfo(np.float32).eps * largest + np.finfo(np.float32).tiny
    assert error.max() <= metadata.scale / 2 + rounding


@given(npst.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=VALUES))
def test_batch_equals_one_by_one_and_negation_is_exact(embeddings: FloatArray) -> None:
    quantizer = EmbeddingQuantizer()
    codes, scales = quantizer.quantize_batch(embeddings)
    for row, embedding in enumerate(embeddings):
        single, metadata = quantizer.quantize_embedding(embedding)
        assert single.tolist() == codes[row].tolist()
        assert metadata.scale == scales[row]
    assert (quantizer.quantize_batch(-embeddings)[0] == -codes).all(), "no bias"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    embeddings = np.zeros((3, 4), np.float32)
    embeddings[1, 2] = bad
    with pytest.raises(EmbeddingError, match="row 1"):
        EmbeddingQuantizer().quantize_batch(embeddings)


def test_shapes_and_types_are_checked() -> None:
    quantizer = EmbeddingQuantizer()
    with pytest.raises(EmbeddingError, match=r"\(2, 3\)"):
        quantizer.quantize_embedding(np.zeros((2, 3), np.float32))
    _, metadata = quantizer.quantize_embedding(np.ones(3, np.float32))
    with pytest.raises(EmbeddingError, match="uint8"):
        quantizer.dequantize_embedding(np.zeros(3, np.uint8), metadata)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(50, 120))
def test_slices_cover_everything_in_order_within_the_budget(sizes: list[int], budget: int) -> None:
    slices = list(stream_slices(sizes, budget))
    assert [size for part in slices for size in sizes[part]] == sizes
    assert all(0 < sum(sizes[part]) <= budget or not any(sizes[part]) for part in slices)


def test_one_item_over_the_budget_is_refused_with_both_values() -> None:
    with pytest.raises(MemoryBudgetError, match=r"101 bytes.*100 bytes"):
        list(stream_slices([10, 101], 100))
    with pytest.raises(InvalidRequestError, match="got 0"):
        list(stream_slices([1], 0))


def readings(*values: tuple[int, int]) -> Iterator[tuple[int, int]]:
    yield from values


def test_memory_is_given_back_past_the_threshold_only() -> None:
    seen = readings((1_000, 10_000), (1_050, 10_000), (1_200, 10_000), (1_000, 10_000))
    monitor = MemoryMonitor(growth_bytes=100, minimum_available=5_000, read=lambda: next(seen))

    async def run() -> list[bool]:
        return [await monitor.optimize_if_needed() for _ in range(3)]

    assert asyncio.run(run()) == [False, False, True]
    assert monitor.releases == 1
    assert [usage.rss for usage in monitor.history] == [1_000, 1_050, 1_200, 1_000]


def test_a_machine_short_of_memory_is_relieved() -> None:
    monitor = MemoryMonitor(minimum_available=5_000, read=lambda: (1_000, 4_000))
    assert asyncio.run(monitor.optimize_if_needed())


def test_real_usage_is_read() -> None:
    usage = asyncio.run(MemoryMonitor().check_memory_usage())
    assert usage.rss > 1 << 20
    assert usage.available > 0


def test_freed_memory_is_returned_to_the_system() -> None:
    if release_memory() is None:
        pytest.skip("there is no glibc here")
    blocks = [b"%d" % number + b"x" * 100_000 for number in range(600)]
    del blocks[:-1]  # the last one keeps the heap from shrinking by itself
    before = psutil.Process().memory_info().rss
    assert release_memory() is True
    assert before - psutil.Process().memory_info().rss > 40 << 20
    assert len(blocks) == 1
