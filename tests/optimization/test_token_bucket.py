"""A bucket gives rate x time + burst and not a token more, and tells the truth about waiting."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.errors import InvalidRequestError
from dtrag_core.optimization.token_bucket import TokenBucket


class ManualClock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = ManualClock(5.0)
    bucket = TokenBucket(rate=10, burst=3, clock=clock)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == pytest.approx(0.1)
    assert bucket.take(3) == pytest.approx(0.3)
    assert bucket.wait() == pytest.approx(0.1)
    clock.now += 0.1
    assert bucket.wait() == 0
    assert bucket.take() == 0
    assert bucket.take() > 0
    clock.now += 100
    assert [bucket.take() > 0 for _ in range(4)] == [False, False, False, True]


def test_a_told_wait_is_enough_however_it_rounds() -> None:
    rng = random.Random(1)
    clock = ManualClock(12_345.678)
    for rate in (0.3, 7, 50):
        bucket = TokenBucket(rate, burst=5, clock=clock)
        for _ in range(1_000):
            clock.now += rng.random() / rate
            clock.now += (told := bucket.take())
            assert not told or bucket.take() == 0


@given(
    rate=st.floats(0.1, 1e4),
    burst=st.integers(1, 100),
    start=st.floats(0, 1e7),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 10)), max_size=100),
)
def test_never_more_than_rate_times_window_plus_burst_and_a_told_wait_is_enough(
    rate: float, burst: int, start: float, steps: list[tuple[float, int]]
) -> None:
    clock = ManualClock(start)
    bucket = TokenBucket(rate, burst, clock=clock)
    given_at: list[tuple[float, int]] = []
    for pause, wanted in steps:
        clock.now += pause
        tokens = min(wanted, burst)
        if wait := bucket.take(tokens):
            clock.now += wait
            assert bucket.take(tokens) == 0
        given_at.append((clock.now, tokens))
    for first, (since, _) in enumerate(given_at):
        taken = 0
        for until, tokens in given_at[first:]:
            taken += tokens
            slack = 1e-6 + rate * 1e-8 * len(given_at)
            assert taken <= rate * (until - since) + burst + slack


@pytest.mark.parametrize(
    ("rate", "burst", "tokens"),
    [(0, 1, 1), (math.nan, 1, 1), (1, 0, 1), (1, 5, 6), (1, 5, 0), (1, 5, math.nan)],
)
def test_what_can_never_be_given_is_refused(rate: float, burst: float, tokens: float) -> None:
    with pytest.raises(InvalidRequestError, match="rate"):
        TokenBucket(rate, burst).take(tokens)
