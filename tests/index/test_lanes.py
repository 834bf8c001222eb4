"""Eight lanes at once against NumPy."""

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from dtrag_core.index.lanes import LANES, add_eight, first_of, largest_of_eight, reaching_eight
from dtrag_core.types import FloatArray


@numba.njit()
def add(sums: FloatArray, place: int, weight: np.float32, values: NDArray[np.uint8]) -> None:
    add_eight(sums, place, weight, values.ctypes.data)


@numba.njit()
def reaching(sums: FloatArray, place: int, cutoff: np.float32) -> int:
    bits: int = reaching_eight(sums, place, cutoff)
    return bits


@numba.njit()
def largest(sums: FloatArray, place: int) -> float:
    value: float = largest_of_eight(sums, place)
    return value


@numba.njit()
def each_of(bits: int) -> list[int]:
    found = []
    while bits:
        found.append(first_of(bits))
        bits &= bits - 1
    return found


@pytest.mark.parametrize("bits", [1, 0b10110000, 255, 1 << 63])
def test_each_bit_is_found_from_the_lowest(bits: int) -> None:
    wanted = [place for place in range(64) if bits >> place & 1]
    assert each_of(int(np.uint64(bits).astype(np.int64))) == wanted


@pytest.mark.parametrize("place", [0, 3, 8])
def test_eight_at_once(place: int) -> None:
    rng = np.random.default_rng(place)
    sums = rng.random(16 + place).astype(np.float32)
    values = rng.integers(0, 256, LANES, dtype=np.uint8)
    values[0] = 255
    here, wanted = slice(place, place + LANES), sums.copy()
    wanted[here] += np.float32(0.37) * values.astype(np.float32)
    add(sums, place, np.float32(0.37), values)
    np.testing.assert_allclose(sums, wanted, rtol=1e-6)  # multiply-add may round once
    assert largest(sums, place) == sums[here].max()
    sums[place + 1] = 0
    for cutoff in (sums[place + 2], np.float32(0), np.float32(-1), np.float32(1e9)):
        bits = reaching(sums, place, cutoff)
        assert [bits >> lane & 1 for lane in range(LANES)] == [
            int(value >= cutoff and value > 0) for value in sums[here].tolist()
        ]
