import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.histogram import MAX_NS, Histogram
from dtrag_core.errors import MeasuringError

durations = st.one_of(
    st.integers(0, 5_000),
    st.integers(0, MAX_NS - 1),
    st.sampled_from([2**k + d for k in range(52) for d in (-1, 0, 1)]),
)
samples = st.lists(durations, min_size=1, max_size=80)


def order_statistic(values: Sequence[int], q: float) -> int:
    return sorted(values)[int(np.ceil(q * len(values) - 1e-9)) - 1]


@given(samples, st.floats(0.001, 1.0))
def test_a_percentile_is_the_order_statistic_to_three_digits(values: list[int], q: float) -> None:
    true = order_statistic(values, q)
    shown = Histogram.of(values).percentile(q)
    assert shown is not None
    assert true <= shown <= true * 1.001


@given(samples, durations)
def test_counting_above_never_flatters_and_is_within_the_resolution(
    values: list[int], threshold: int
) -> None:
    counted = Histogram.of(values).count_above(threshold)
    assert counted >= sum(value > threshold for value in values)
    assert counted <= sum(value > threshold * 0.999 - 1 for value in values)


@given(samples)
def test_counts_are_exact_at_the_thresholds_it_names(values: list[int]) -> None:
    histogram = Histogram.of(values)
    for threshold in histogram.thresholds():
        assert histogram.count_above(threshold) == sum(value > threshold for value in values)
    assert histogram.count_above(max(values)) == 0


@given(st.lists(samples, min_size=1, max_size=5))
def test_merging_is_the_histogram_of_everything(parts: list[list[int]]) -> None:
    merged = Histogram.merge(Histogram.of(part) for part in parts)
    assert merged == Histogram.of([value for part in parts for value in part])


@given(st.lists(durations, max_size=50))
def test_json_loses_nothing(values: list[int]) -> None:
    histogram = Histogram.of(values)
    assert Histogram.from_json(json.loads(json.dumps(histogram.to_json()))) == histogram


def test_the_mean_the_minimum_and_the_maximum_are_exact() -> None:
    histogram = Histogram.of([1_000_003, 2_000_000, 999_999_999])
    assert (histogram.min, histogram.max) == (1_000_003, 999_999_999)
    assert histogram.mean == (1_000_003 + 2_000_000 + 999_999_999) / 3


def test_failed_requests_push_percentiles_up_and_out() -> None:
    histogram = Histogram.of(range(1, 101))
    assert histogram.percentile(0.5) == 50
    assert histogram.percentile(0.5, beyond=20) == 60
    assert histogram.percentile(0.95, beyond=20) is None
    assert Histogram.of([]).percentile(0.5) is None


@pytest.mark.parametrize(("q", "needed"), [(0.5, 20), (0.95, 1_000), (0.99, 10_000)])
def test_a_percentile_is_shown_only_from_enough_samples(q: float, needed: int) -> None:
    assert Histogram.of([7] * (needed - 1)).shown(q) is None
    assert Histogram.of([7] * needed).shown(q) == 7
    assert Histogram.of([7] * (needed - 1)).shown(q, beyond=1) == 7


def test_percentiles_come_in_ms_where_the_samples_carry_them() -> None:
    shown = Histogram.of([2_000_000] * 1_000).percentiles_ms()
    assert shown == {"p50": 2.0, "p95": 2.0, "p99": None}


@pytest.mark.parametrize("wrong", [-1, MAX_NS])
def test_what_is_no_duration_is_refused_by_value(wrong: int) -> None:
    with pytest.raises(MeasuringError, match=str(wrong)):
        Histogram.of([5, wrong])


def test_another_layout_is_refused() -> None:
    data = Histogram.of([5]).to_json()
    with pytest.raises(MeasuringError, match="2 digits"):
        Histogram.from_json({**data, "digits": 2})
    with pytest.raises(MeasuringError, match="2 buckets and 1 counts"):
        Histogram.from_json({**data, "bucket": [5, 6]})


@pytest.mark.parametrize("q", [0.0, 1.5])
def test_a_share_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(MeasuringError, match=str(q)):
        Histogram.of([5]).percentile(q)


def test_a_percentile_nobody_shows_is_refused() -> None:
    with pytest.raises(MeasuringError, match=r"P99\.9"):
        Histogram.of([5]).shown(0.999)
