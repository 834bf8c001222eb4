"""The priority queue: its order is that of priorities that grow while waiting."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.errors import InvalidRequestError
from dtrag_core.optimization.aging_queue import MAX_PRIORITY, AgingQueue, aged_rank

PRIORITIES = st.integers(-MAX_PRIORITY, MAX_PRIORITY)
AGING_S = 0.5


@dataclass(frozen=True, eq=False)
class Item:
    arrived: int
    priority: int


@given(st.lists(st.tuples(PRIORITIES, st.sampled_from(["push", "pop", "discard", "improve"]))))
def test_what_goes_first_has_the_highest_grown_priority_and_then_came_first(
    steps: list[tuple[int, str]],
) -> None:
    queue: AgingQueue[Item] = AgingQueue()
    waiting: list[Item] = []
    ranks: dict[Item, float] = {}
    for now, (priority, action) in enumerate(steps):
        if action == "push" or not waiting:
            item = Item(now, priority)
            waiting.append(item)
            ranks[item] = aged_rank(now, priority, AGING_S)
            queue.push(item, ranks[item])
        elif action == "improve":
            item = waiting[now % len(waiting)]
            rank = aged_rank(now, priority, AGING_S)
            queue.push(item, rank)
            if rank < ranks[item]:
                ranks[item] = rank
        elif action == "discard":
            item = waiting.pop(now % len(waiting))
            queue.discard(item)
            assert item not in queue
        else:
            first = queue.pop()
            waiting.remove(first)
            assert ranks[first] == min(ranks[item] for item in [first, *waiting])
        assert len(queue) == len(waiting)
        if waiting:
            assert queue.oldest() is waiting[0]
    by_rank = [queue.pop() for _ in waiting]
    assert [ranks[item] for item in by_rank] == sorted(ranks[item] for item in by_rank)


def test_equals_go_in_the_order_they_came() -> None:
    queue: AgingQueue[str] = AgingQueue()
    for name in "abcdefgh":
        queue.push(name, 1.0)

    assert [queue.pop() for _ in range(8)] == list("abcdefgh")
    with pytest.raises(IndexError):
        queue.pop()


def test_the_lowest_priority_goes_before_the_highest_that_comes_late_enough() -> None:
    bound = 2 * MAX_PRIORITY * AGING_S

    low = aged_rank(0.0, -MAX_PRIORITY, AGING_S)
    assert low > aged_rank(bound - 0.01, MAX_PRIORITY, AGING_S)
    assert low < aged_rank(bound + 0.01, MAX_PRIORITY, AGING_S)
    with pytest.raises(InvalidRequestError, match=r"-10\.\.10, got 11"):
        aged_rank(0.0, 11, AGING_S)


def test_what_came_and_went_takes_no_memory() -> None:
    queue: AgingQueue[int] = AgingQueue()
    queue.push(-1, 0.0)
    for number in range(10_000):
        queue.push(number, 1.0)
        queue.discard(number)

    assert len(queue._heap) < 100
    assert queue.pop() == -1
