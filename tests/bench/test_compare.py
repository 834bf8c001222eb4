from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from dtrag_core.bench.compare import Comparison, Row, compare, differences
from dtrag_core.errors import ResultError
from dtrag_core.targets import PERFORMANCE_TARGETS

Make = Callable[..., dict[str, Any]]


def _rows(comparison: Comparison) -> dict[str, Row]:
    return {row.metric: row for row in comparison.rows}


def test_a_run_compared_with_itself_does_not_differ(make_result: Make) -> None:
    comparison = compare(make_result(1), make_result(1))
    assert not comparison.different
    assert comparison.forced == ()
    rows = _rows(comparison)
    assert set(rows) >= set(PERFORMANCE_TARGETS)
    assert {row.p for row in comparison.rows} == {None, 1.0}
    assert all(row.ratio in (None, pytest.approx(1.0)) for row in comparison.rows)


def test_seeded_noise_is_seldom_called_a_difference(make_result: Make) -> None:
    different = [
        compare(make_result(2 * seed), make_result(2 * seed + 1)).different for seed in range(40)
    ]
    assert sum(different) <= 4  # at most 5 % of 40 expected; more than 4 has p < 0.05


def test_a_path_20_percent_slower_is_found(make_result: Make) -> None:
    for seed in range(10):
        rows = _rows(compare(make_result(seed), make_result(seed + 100, slower=1.2)))
        for metric in ("p95_latency_ms", "parallel_speedup", "optimized_mean_ms"):
            assert rows[metric].significant, (seed, rows[metric])
        assert rows["throughput_qps"].significant
        assert rows["p95_latency_ms"].ratio == pytest.approx(1.2, rel=0.1)
        assert rows["parallel_speedup"].ratio == pytest.approx(1 / 1.2, rel=0.05)
        for metric in ("legacy_mean_ms", "memory_efficiency", "cache_hit_rate", "error_rate"):
            assert not rows[metric].significant, (seed, rows[metric])


def test_a_slower_host_is_not_a_slower_path(make_result: Make) -> None:
    comparison = compare(make_result(1), make_result(2, host=1.3))
    assert not comparison.different
    assert _rows(comparison)["p95_latency_ms"].ratio == pytest.approx(1.0, abs=0.1)


def test_what_lies_within_the_noise_floor_is_not_called_a_difference(make_result: Make) -> None:
    a, b = make_result(1), make_result(2, slower=1.2)
    b["noise_floor"]["floor"] = 0.5
    rows = _rows(compare(a, b))
    for metric in ("p95_latency_ms", "parallel_speedup", "optimized_mean_ms", "throughput_qps"):
        assert not rows[metric].significant
        assert "noise floor, 50.0%" in rows[metric].why


def test_one_process_a_side_decides_nothing_about_time(make_result: Make) -> None:
    rows = _rows(compare(make_result(1, processes=1), make_result(2, processes=1, slower=2.0)))
    for metric in ("p95_latency_ms", "parallel_speedup", "throughput_qps", "optimized_mean_ms"):
        assert not rows[metric].significant
        assert rows[metric].p is None
        assert "single process" in rows[metric].why


def test_failed_requests_differ_by_fishers_test(make_result: Make) -> None:
    rows = _rows(compare(make_result(1), make_result(2, failed=60)))
    assert rows["error_rate"].significant
    assert rows["error_rate"].b == pytest.approx(0.01)
    assert not _rows(compare(make_result(1), make_result(2, failed=1)))["error_rate"].significant


def test_memory_is_exact_and_equal_streams_are_equal(make_result: Make) -> None:
    a, b = make_result(1), make_result(2)
    b["memory"]["inside"]["vector_leg"].update(optimized_bytes=261, efficiency=0.739)
    b["cache"]["streams"] = [rate + 0.01 for rate in b["cache"]["streams"]]
    rows = _rows(compare(a, b))
    assert rows["memory_efficiency"].significant
    assert rows["cache_hit_rate"].significant
    b["cache"]["streams"] = a["cache"]["streams"] = [0.7] * 20
    assert _rows(compare(a, b))["cache_hit_rate"].p == 1.0


def test_overlapping_and_open_brackets_do_not_differ(make_result: Make) -> None:
    a, b = make_result(1), make_result(2)
    b["capacity"].update(low=980.0, high=1078.0)
    assert not _rows(compare(a, b))["throughput_qps"].significant
    b["capacity"].update(low=2000.0, high=None)
    assert _rows(compare(a, b))["throughput_qps"].significant
    b["capacity"].update(low=None, high=100.0)
    assert "no rate was confirmed" in _rows(compare(a, b))["throughput_qps"].why


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ("dataset", "fingerprint", "ffffffffffff"),
        ("engine", "analyzer", "code"),
        ("workload", "queries_hash", "ffffffffffff"),
        ("environment", "cores", 64),
        ("environment", "cpu_model", None),
    ],
)
def test_results_that_disagree_are_refused_unless_forced(
    make_result: Make, block: str, key: str, value: object
) -> None:
    a = make_result(1)
    b = deepcopy(a)
    b[block][key] = value
    with pytest.raises(ResultError) as caught:
        compare(a, b)
    assert f"{block}/{key}: {a[block][key]!r} != {value!r}" in str(caught.value)
    forced = compare(a, b, force=True)
    assert forced.forced == differences(a, b)
    assert len(forced.forced) == 1
    assert forced.to_json()["forced"]


def test_holm_only_ever_raises_p(make_result: Make) -> None:
    comparison = compare(make_result(1), make_result(2, slower=1.05))
    tested = [row for row in comparison.rows if row.p is not None]
    assert len(tested) == 6
    assert all(row.p_holm is not None and row.p is not None for row in tested)
    assert all((row.p_holm or 0) >= (row.p or 0) for row in tested)
    smallest = min(tested, key=lambda row: row.p or 0)
    assert smallest.p_holm == pytest.approx(min(1.0, 6 * (smallest.p or 0)))
