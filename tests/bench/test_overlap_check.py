"""The efficiency of overlapping refuses what it cannot measure."""

import asyncio

import pytest

from dtrag_core.bench.overlap_check import overlap_efficiency
from dtrag_core.errors import InvalidRequestError, MeasuringError


@pytest.mark.parametrize(
    ("bm25_ms", "rounds", "searches"), [(0.0, 30, 5), (5.0, 1, 5), (5.0, 30, 0)]
)
def test_doubles_and_rounds_out_of_their_domain(bm25_ms: float, rounds: int, searches: int) -> None:
    measured = overlap_efficiency(bm25_ms, 2.0, rounds=rounds, searches=searches)
    with pytest.raises(InvalidRequestError, match=r"got .* and 2\.0 ms"):
        asyncio.run(measured)


def test_legs_too_short_to_overlap_have_no_efficiency() -> None:
    with pytest.raises(MeasuringError, match="did not overlap: in_turn measured"):
        asyncio.run(overlap_efficiency(1e-4, 1e-4, rounds=2, searches=1))
