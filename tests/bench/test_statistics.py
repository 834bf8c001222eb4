import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dtrag_core.bench.statistics import (
    clopper_pearson,
    clustered_share,
    holm,
    mean_interval,
    paired_interval,
    ratio_interval,
    welch,
)
from dtrag_core.errors import MeasuringError


def test_the_interval_of_a_mean_is_students() -> None:
    values = [3.1, 2.9, 3.4, 3.0, 3.3]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    interval = mean_interval(values)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.n == 5
    assert 3.1 in interval
    assert 4.0 not in interval


def test_pairing_takes_out_what_the_pairs_share() -> None:
    easy_and_hard = np.linspace(0, 1, 50)
    wobble = np.tile([0.001, -0.001], 25)
    paired = paired_interval(easy_and_hard + 0.01 + wobble, easy_and_hard)
    assert 0.009 < paired.low < paired.value == pytest.approx(0.01)
    with pytest.raises(MeasuringError, match="2 != 3"):
        paired_interval([1, 2], [1, 2, 3])


def test_a_ratio_is_the_geometric_mean() -> None:
    interval = ratio_interval([np.log([2.0, 8.0])])
    assert interval.value == pytest.approx(4.0)
    assert interval.low * interval.high == pytest.approx(16.0)


def test_processes_that_disagree_widen_a_ratio_and_those_that_agree_do_not_narrow_it() -> None:
    rng = np.random.default_rng(0)
    rounds = rng.normal(0, 0.01, (4, 30))
    apart = rounds + np.array([[-0.05], [0.05], [-0.03], [0.03]])
    alone = ratio_interval([apart.ravel()])
    assert ratio_interval(list(apart)).high > 1.04 > alone.high
    together = rounds - rounds.mean(axis=1, keepdims=True)
    assert ratio_interval(list(together)).high == ratio_interval([together.ravel()]).high


@pytest.mark.parametrize(("x", "n"), [(0, 10), (3, 10), (10, 10), (17, 400)])
def test_clopper_pearson_is_the_exact_binomial_interval(x: int, n: int) -> None:
    exact = stats.binomtest(x, n).proportion_ci(method="exact")
    assert clopper_pearson(x, n) == pytest.approx((exact.low, exact.high))


def test_nothing_failed_passes_one_percent_from_368_requests() -> None:
    assert clopper_pearson(0, 367)[1] > 0.01 >= clopper_pearson(0, 368)[1]


def test_a_clustered_share_follows_its_formula() -> None:
    x, n = np.array([30, 10, 50, 22]), np.array([500, 480, 520, 500])
    p, total, k = x.sum() / n.sum(), n.sum(), len(n)
    v = k / (k - 1) * ((x - p * n) ** 2).sum()
    effect = v / (total * p * (1 - p)) * (stats.t.ppf(0.975, k - 1) / stats.norm.ppf(0.975)) ** 2
    assert effect > 1
    m = total / effect
    interval = clustered_share(x, n)
    assert interval.low == pytest.approx(stats.beta.ppf(0.025, p * m, m - p * m + 1))
    assert interval.high == pytest.approx(stats.beta.ppf(0.975, p * m + 1, m - p * m))
    assert interval.value == pytest.approx(p)
    assert interval.n == total


def test_segments_that_differ_weigh_less_than_segments_that_are_alike() -> None:
    n = [500] * 12
    alike = clustered_share([25] * 12, n)
    apart = clustered_share([0, 50] * 6, n)
    assert apart.high - apart.low > 2 * (alike.high - alike.low)
    assert (alike.low, alike.high) == clopper_pearson(300, 6_000)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 500)), min_size=2, max_size=15))
def test_a_clustered_share_lies_in_its_interval(pairs: list[tuple[int, int]]) -> None:
    interval = clustered_share([min(x, n) for x, n in pairs], [n for _, n in pairs])
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_welch_agrees_with_the_reference_on_logarithms() -> None:
    rng = np.random.default_rng(1)
    a, b = np.exp(rng.normal(0.1, 0.05, 7)), np.exp(rng.normal(0, 0.2, 5))
    reference = stats.ttest_ind(np.log(a), np.log(b), equal_var=False)
    ratio, p = welch(a, b)
    assert p == pytest.approx(float(reference.pvalue))
    low, high = np.exp(reference.confidence_interval())
    assert (ratio.low, ratio.high) == pytest.approx((low, high))


def test_welch_without_any_variation_is_certain_either_way() -> None:
    assert welch([2.0, 2.0], [2.0, 2.0])[1] == 1.0
    ratio, p = welch([2.0, 2.0], [1.0, 1.0])
    assert p == 0.0
    assert ratio.value == pytest.approx(2.0)
    with pytest.raises(MeasuringError, match="above 0"):
        welch([1.0, 0.0], [1.0, 2.0])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []
    with pytest.raises(MeasuringError, match=r"1\.5"):
        holm([0.5, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_never_lowers_a_p_value_and_ignores_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= 1).all()
    order = np.argsort(np.sin(np.arange(len(p)) * 7.0))
    assert holm(np.array(p)[order]).tolist() == adjusted[order].tolist()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([1.0]), "at least 2 values, not 1"),
        (lambda: mean_interval([1.0, float("nan")]), "finite values, not nan"),
        (lambda: ratio_interval([]), "at least 2 values, not 0"),
        (lambda: clopper_pearson(3, 2), "3 of 2"),
        (lambda: clopper_pearson(0, 0), "0 of 0"),
        (lambda: clustered_share([1, 2], [3]), "at least 2 values, not 1"),
        (lambda: clustered_share([4, 2], [3, 3]), "0 <= x <= n"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(MeasuringError, match=words):
        call()
