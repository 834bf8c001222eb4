import asyncio
import json

import numpy as np
import pytest

from dtrag_core.bench.doubles import Busy, Failing, Recording, lognormal_ns
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.rounds import RoundsResult, ratio, reference_kernel, run_rounds, turn
from dtrag_core.bench.virtual import VirtualClock, run_virtual
from dtrag_core.errors import MeasuringError


class Listening:
    """Notes who was asked what, in order."""

    def __init__(self, name: str, heard: list[tuple[str, str]]) -> None:
        self.name = name
        self.heard = heard

    async def __call__(self, query: str) -> None:
        self.heard.append((self.name, query))


def test_all_arms_answer_the_same_queries_in_turns() -> None:
    heard: list[tuple[str, str]] = []
    arms = {name: Listening(name, heard) for name in "AB"}
    batches = [["q1", "q2"], ["q3", "q4"], ["q5", "q6"]]

    async def main(clock: VirtualClock) -> RoundsResult:
        return await run_rounds(arms, batches, clock, warmup=["w"])

    result = run_virtual(main)
    assert heard[:2] == [("A", "w"), ("B", "w")]
    timed = heard[2:]
    assert [query for name, query in timed if name == "A"] == [q for b in batches for q in b]
    assert [query for name, query in timed if name == "B"] == [q for b in batches for q in b]
    orders = [[timed[at][0] for at in (first, first + 2)] for first in (0, 4, 8)]
    assert orders[:2] == [["A", "B"], ["B", "A"]]
    assert result.latencies["A"].shape == (3, 2)
    assert result.rounds == 3
    assert {arm: len(ns) for arm, ns in result.cold.items()} == dict.fromkeys(result.latencies, 1)


@pytest.mark.parametrize("arms", ["AB", "ABC", "ABCD"])
def test_over_the_rounds_no_arm_has_the_better_place(arms: str) -> None:
    orders = [turn(list(arms), number) for number in range(2 * len(arms))]
    for arm in arms:
        places = [order.index(arm) for order in orders]
        assert np.mean(places) == (len(arms) - 1) / 2
        for other in set(arms) - {arm}:
            before = sum(order.index(arm) < order.index(other) for order in orders)
            assert before == len(arms)


def test_latencies_are_those_of_the_double_and_are_kept_to_the_nanosecond() -> None:
    async def main(clock: VirtualClock) -> tuple[RoundsResult, list[int]]:
        double = Recording(Busy(clock, lognormal_ns(2e6, 0.5, seed=3)), clock)
        return await run_rounds({"a": double}, [range(50)] * 20, clock), list(double.taken_ns)

    result, taken = run_virtual(main)
    assert result.latencies["a"].ravel().tolist() == taken
    assert result.histogram("a") == Histogram.of(taken)
    assert result.round_means("a")[1] == np.mean(taken[50:100])
    assert RoundsResult.from_json(json.loads(json.dumps(result.to_json()))).to_json() == (
        result.to_json()
    )


def test_the_kernel_is_timed_once_a_round_and_not_with_the_arms() -> None:
    told: list[int] = []

    async def main(clock: VirtualClock) -> RoundsResult:
        arms = {"a": Busy(clock, iter([7] * 4))}
        return await run_rounds(
            arms, [[1], [2]] * 2, clock, kernel=lambda: clock.block(900), on_round=told.append
        )

    result = run_virtual(main)
    assert result.kernel_ns.tolist() == [900] * 4
    assert result.latencies["a"].tolist() == [[7]] * 4
    assert told == [0, 1, 2, 3]


def test_one_failed_query_ends_the_run_and_is_named() -> None:
    async def main(clock: VirtualClock) -> RoundsResult:
        arms = {"optimised": Failing(Busy(clock, iter(range(99))), p=1.0, seed=0)}
        return await run_rounds(arms, [["what is BM25"]], clock)

    with pytest.raises(MeasuringError, match=r"'optimised'.*'what is BM25'.*ConnectionError"):
        run_virtual(main)


def test_a_ratio_over_processes_counts_all_rounds() -> None:
    def process(factor: float) -> RoundsResult:
        slow = np.full((3, 2), 300, dtype=np.int64)
        fast = (slow / factor).astype(np.int64)
        return RoundsResult({"slow": slow, "fast": fast}, np.ones(3, dtype=np.int64), {})

    interval = ratio([process(3.0), process(3.0)], "slow", "fast")
    assert interval.value == pytest.approx(3.0)
    assert interval.n == 6
    with pytest.raises(MeasuringError, match=r"'legacy'.*fast"):
        ratio([process(3.0)], "legacy", "fast")


def test_uneven_batches_and_missing_arms_are_refused() -> None:
    async def run(arms: dict[str, Listening], batches: list[list[str]]) -> None:
        await run_rounds(arms, batches, VirtualClock())

    one = {"A": Listening("A", [])}
    wrong: list[tuple[dict[str, Listening], list[list[str]]]] = [
        ({}, [["q"]]),
        (one, []),
        (one, [[]]),
        (one, [["q"], ["q", "r"]]),
    ]
    for arms, batches in wrong:
        with pytest.raises(MeasuringError, match="equally long batches"):
            asyncio.run(run(arms, batches))


def test_parts_that_do_not_fit_are_refused() -> None:
    data = {"latencies_ns": {"a": [[1, 2]], "b": [[1], [2]]}, "kernel_ns": [1], "cold_ns": {}}
    with pytest.raises(MeasuringError, match=r"\(1, 2\)"):
        RoundsResult.from_json(data)


def test_the_reference_kernel_runs() -> None:
    reference_kernel()()
