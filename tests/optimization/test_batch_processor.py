"""Batches: who goes when, who shares what, and that everyone gets an end of their own."""

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from dtrag_core.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    QueueFullError,
    SearchError,
)
from dtrag_core.optimization.batch_processor import BatchSearchProcessor, BatchSettings, Request

Batch = Sequence[Request[int]]
Waiting = asyncio.Task[str]


@dataclass
class Engine:
    """Answers a batch when told to; `now` is the processor's clock."""

    now: float = 0.0
    batches: list[Batch] = field(default_factory=list)
    ends: list[asyncio.Future[None]] = field(default_factory=list)

    async def process(self, batch: Batch) -> Sequence[str | Exception]:
        self.batches.append(batch)
        end = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        await end
        return [
            KeyError(request.query)
            if request.query == "bad"
            else f"{request.query}/{request.params}"
            for request in batch
        ]

    def queries(self) -> list[list[str]]:
        return [[request.query for request in batch] for batch in self.batches]

    async def end(self, number: int = -1) -> None:
        self.ends[number].set_result(None)
        await turns()

    def serve(self, **settings: float) -> BatchSearchProcessor[int, str]:
        chosen = BatchSettings(**settings)  # type: ignore[arg-type]
        return BatchSearchProcessor(self.process, chosen, clock=lambda: self.now)


async def turns(count: int = 6) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def ask(
    processor: BatchSearchProcessor[int, str],
    query: str,
    params: int = 0,
    priority: int = 0,
    deadline: float | None = None,
) -> Waiting:
    return asyncio.ensure_future(
        processor.submit_search_request(query, params, priority, deadline=deadline)
    )


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it; whatever the loop complains about, such as an exception nobody saw, fails."""
    complaints: list[dict[str, Any]] = []

    async def whole() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        await scenario()

    asyncio.run(whole())
    assert not complaints


def test_those_that_come_together_go_together_and_those_that_gather_go_next() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=3, parallel=1)
        first = [ask(processor, name) for name in "ab"]
        await turns()
        later = [ask(processor, name) for name in "cdefg"]
        await turns()
        assert engine.queries() == [["a", "b"]]
        await engine.end()
        assert engine.queries() == [["a", "b"], ["c", "d", "e"]]
        assert [task.result() for task in first] == ["a/0", "b/0"]
        await engine.end()
        assert engine.queries()[2:] == [["f", "g"]]
        await engine.end()
        assert [await task for task in later] == [f"{name}/0" for name in "cdefg"]
        statistics = processor.statistics()
        assert (statistics.batches, statistics.computed, statistics.answered) == (3, 7, 7)
        assert statistics.mean_size == 7 / 3

    run(scenario)


def test_higher_priorities_go_first_and_waiting_makes_up_for_low_ones() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=1, aging_s=0.5)
        tasks = [ask(processor, "running")]
        await turns()
        tasks += [ask(processor, "low", priority=-1), ask(processor, "plain")]
        await turns()
        engine.now = 0.4
        tasks.append(ask(processor, "high", priority=1))
        await turns()
        engine.now = 1.2  # "low" came 1.2 s before: worth 2.4 priorities, less than 3
        tasks.append(ask(processor, "late", priority=1))
        await turns()
        for _ in range(5):
            await engine.end()
        order = [queries[0] for queries in engine.queries()]
        assert order == ["running", "high", "plain", "low", "late"]
        await asyncio.gather(*tasks)

    run(scenario)


def test_identical_requests_share_one_computation_whether_it_waits_or_runs() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=1)
        same = [ask(processor, "a", 1) for _ in range(3)]
        other = ask(processor, "a", 2)
        urgent = ask(processor, "b")
        await turns()
        assert engine.batches == [[Request("a", 1)]]
        same.append(ask(processor, "a", 1))  # joins what runs
        joined = ask(processor, "b", priority=5)  # joins what waits, and moves it up
        await turns()
        same[1].cancel()
        await engine.end()
        assert [await task for task in same if task is not same[1]] == ["a/1"] * 3
        assert same[1].cancelled()
        assert engine.batches[1] == [Request("b", 0, 5)]
        await engine.end()
        await engine.end()
        assert [await urgent, await joined, await other] == ["b/0", "b/0", "a/2"]
        again = ask(processor, "a", 1)  # what ended is not remembered
        await turns()
        assert engine.queries()[3:] == [["a"]]
        await engine.end()
        assert await again == "a/1"
        statistics = processor.statistics()
        assert (statistics.submitted, statistics.shared, statistics.left) == (8, 4, 1)

    run(scenario)


def test_a_computation_nobody_waits_for_is_dropped_before_it_runs_and_can_be_asked_again() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=4)
        running = [ask(processor, "running") for _ in range(2)]
        await turns()
        gone = [ask(processor, "gone") for _ in range(3)]
        back = ask(processor, "back")
        at_once = ask(processor, "at once")
        await turns()
        for task in [*gone, back, *running]:
            task.cancel()
        await turns()
        assert processor.statistics().dropped == 2
        assert processor.statistics().waiting == 1
        back = ask(processor, "back")
        rejoined = ask(processor, "running")
        await turns()
        at_once.cancel()
        await engine.end()
        assert engine.queries() == [["running"], ["back"]]
        assert await rejoined == "running/0"
        await engine.end()
        assert await back == "back/0"
        kept, last = ask(processor, "kept"), ask(processor, "last")
        await asyncio.sleep(0)
        last.cancel()  # after its batch was arranged for, and before that is put together
        await turns()
        assert engine.queries()[2:] == [["kept"]]
        await engine.end()
        assert await kept == "kept/0"
        assert (processor.statistics().left, processor.statistics().dropped) == (8, 4)

    run(scenario)


def test_a_deadline_that_passed_while_waiting_is_not_computed() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=1)
        running = ask(processor, "running", deadline=0.5)
        await turns()
        late = ask(processor, "late", deadline=1.0)
        early, patient = ask(processor, "both", deadline=1.0), ask(processor, "both", deadline=9.0)
        await turns()
        engine.now = 2.0
        await engine.end()
        assert await running == "running/0"  # computed already
        with pytest.raises(DeadlineExceededError, match=r"1\.000 s after the deadline"):
            await late
        with pytest.raises(DeadlineExceededError):
            await early
        assert engine.batches[1] == [Request("both", 0, 0, 9.0)]
        await engine.end()
        assert await patient == "both/0"
        assert processor.statistics().expired == 2

    run(scenario)


def test_a_full_queue_refuses_at_once_but_not_those_who_need_no_place() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=2, queue_limit=2)
        tasks = [ask(processor, "running")]
        await turns()
        tasks += [ask(processor, "a"), ask(processor, "b")]
        await turns()
        with pytest.raises(QueueFullError, match="2 searches wait already") as refused:
            await processor.submit_search_request("c", 0)
        assert refused.value.retry_after_s > 0
        tasks.append(ask(processor, "a"))
        await turns()
        await engine.end()
        await engine.end()
        assert len(await asyncio.gather(*tasks)) == 4
        assert processor.statistics().refused == 1

    run(scenario)


def test_each_gets_its_own_error_and_all_get_that_of_the_batch() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve()
        bad, twin, good = ask(processor, "bad"), ask(processor, "bad"), ask(processor, "good")
        await turns()
        await engine.end()
        for task in (bad, twin):
            with pytest.raises(KeyError):
                await task
        assert await good == "good/0"

    run(scenario)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(ValueError(), ValueError), (StopIteration(), SearchError)],
)
def test_an_error_of_the_batch_is_everyones(raised: Exception, expected: type[Exception]) -> None:
    async def fail(batch: Batch) -> Sequence[str | Exception]:
        if isinstance(raised, StopIteration):
            return [raised] * len(batch)  # which no coroutine can raise
        raise raised

    async def scenario() -> None:
        processor = BatchSearchProcessor(fail)
        outcomes = await processor.process_batch([Request("a", 0), Request("b", 0)])
        assert [type(outcome) for outcome in outcomes] == [expected] * 2
        assert processor.statistics().failed == 2

    run(scenario)


def test_a_batch_cancelled_from_within_ends_and_the_next_one_runs() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=1)
        first, second = ask(processor, "a"), ask(processor, "b")
        await turns()
        engine.ends[0].cancel()
        await turns()
        with pytest.raises(SearchError, match="cancelled before it was answered"):
            await first
        await engine.end()
        assert await second == "b/0"

    run(scenario)


def test_answers_that_do_not_fit_are_nobodys() -> None:
    async def short(batch: Batch) -> Sequence[str]:
        return ["only one"]

    async def scenario() -> None:
        processor = BatchSearchProcessor(short)
        outcomes = await processor.process_batch([Request("a", 0), Request("b", 0)])
        assert [type(outcome) for outcome in outcomes] == [SearchError, SearchError]
        assert str(outcomes[0]) == "1 answers came for 2 requests"

    run(scenario)


def test_a_given_batch_is_answered_in_order_with_errors_in_place() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(queue_limit=3)
        requests = [Request(name, 0) for name in ("a", "bad", "a", "b", "too many")]
        given = asyncio.ensure_future(processor.process_batch([*requests, Request("x", 0, 99)]))
        await turns()
        assert engine.queries() == [["a", "bad", "b"]]
        await engine.end()
        a, bad, twin, b, refused, wrong = await given
        assert (a, twin, b) == ("a/0", "a/0", "b/0")
        assert [type(outcome) for outcome in (bad, refused, wrong)] == [
            KeyError,
            QueueFullError,
            InvalidRequestError,
        ]
        running = ask(processor, "running")
        await turns()
        left = asyncio.ensure_future(processor.process_batch([Request("c", 0), Request("d", 0)]))
        await turns()
        assert processor.statistics().waiting == 2
        left.cancel()
        await turns()
        assert processor.statistics().waiting == 0
        await engine.end()
        await running

    run(scenario)


def test_an_error_nobody_is_left_to_see_is_no_complaint() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=1, parallel=2)
        given = asyncio.ensure_future(
            processor.process_batch([Request("slow", 0), Request("bad", 0)])
        )
        await turns()
        await engine.end(1)
        given.cancel()
        await turns()
        await engine.end(0)
        gc.collect()
        statistics = processor.statistics()
        assert (statistics.failed, statistics.left, statistics.computed) == (1, 1, 2)

    run(scenario)


def test_closing_answers_what_was_accepted_and_refuses_the_rest() -> None:
    async def scenario() -> None:
        engine = Engine()
        processor = engine.serve(size=1, hold=True, wait_s=60)
        accepted = [ask(processor, name) for name in "abc"]
        await turns()
        closing = [asyncio.ensure_future(processor.close()) for _ in range(2)]
        await turns()
        with pytest.raises(OverloadedError, match="stopping"):
            await processor.submit_search_request("a", 0)
        for _ in range(3):
            assert not closing[0].done()
            await engine.end()
        await asyncio.gather(*closing)
        assert [task.result() for task in accepted] == ["a/0", "b/0", "c/0"]
        await processor.close()

    run(scenario)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose timers fire at once, in order, its time moved on to them."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def test_a_batch_held_back_leaves_when_full_or_when_its_oldest_request_waited_enough() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        left: list[tuple[float, int]] = []

        async def process(batch: Batch) -> Sequence[str]:
            left.append((round(loop.time(), 6), len(batch)))
            await asyncio.sleep(0.010)
            return [request.query for request in batch]

        settings = BatchSettings(size=3, wait_s=0.002, hold=True)
        processor = BatchSearchProcessor(process, settings, clock=loop.time)
        tasks = [ask(processor, "a")]
        await asyncio.sleep(0.001)
        tasks.append(ask(processor, "b"))
        await asyncio.sleep(0.019)
        assert left == [(0.002, 2)]
        tasks += [ask(processor, name) for name in "cd"]
        await asyncio.sleep(0.001)
        tasks += [ask(processor, name) for name in "efg"]
        await asyncio.gather(*tasks)
        assert left[1:] == [(0.021, 3), (0.031, 2)]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_everyone_ends_once_and_the_counts_add_up(seed: int) -> None:
    chance = random.Random(seed)

    async def process(batch: Batch) -> Sequence[str | Exception]:
        assert 1 <= len(batch) <= 4
        await turns(chance.randrange(6))
        if chance.random() < 0.1:
            raise ValueError("all of it")
        return [
            KeyError(request.query)
            if chance.random() < 0.1
            else f"{request.query}/{request.params}"
            for request in batch
        ]

    async def scenario() -> None:
        steps = 0

        def clock() -> float:
            nonlocal steps
            steps += 1
            return steps / 1000

        settings = BatchSettings(
            size=4, parallel=2, queue_limit=12, aging_s=0.05, hold=bool(seed % 2), wait_s=1e-4
        )
        processor = BatchSearchProcessor(process, settings, clock=clock)
        tasks: dict[Waiting, str] = {}
        for _ in range(600):
            query, params = chance.choice("abcdefghijkl"), chance.randrange(2)
            deadline = steps / 1000 + chance.random() / 20 if chance.random() < 0.3 else None
            task = ask(processor, query, params, chance.randint(-3, 3), deadline)
            tasks[task] = f"{query}/{params}"
            if chance.random() < 0.3:
                chance.choice(list(tasks)).cancel()
            await turns(chance.randrange(3))
        await processor.close()
        await turns()
        ends = {"answered": 0, "failed": 0, "expired": 0, "refused": 0}
        for task, expected in tasks.items():
            assert task.done()
            with suppress(asyncio.CancelledError):
                error = task.exception()
                if error is None:
                    assert task.result() == expected
                kind = {
                    type(None): "answered",
                    DeadlineExceededError: "expired",
                    QueueFullError: "refused",
                    OverloadedError: "refused",  # came while closing
                }.get(type(error), "failed")
                ends[kind] += 1
        counts = asdict(processor.statistics())
        assert counts["waiting"] == counts["running_batches"] == 0
        ended = sum(counts[kind] for kind in ("answered", "failed", "expired", "left"))
        assert ended == counts["submitted"]
        assert counts["submitted"] == counts["shared"] + counts["computed"] + counts["dropped"]
        # One cancelled after its end was settled counts by that end.
        assert all(ends[kind] <= counts[kind] for kind in ends)
        assert not processor._flights

    run(scenario)


def test_settings_out_of_their_domain_are_refused() -> None:
    for wrong in ({"size": 0}, {"parallel": 0}, {"queue_limit": 0}, {"aging_s": 0.0}):
        with pytest.raises(InvalidRequestError, match="must be"):
            BatchSettings(**wrong)
