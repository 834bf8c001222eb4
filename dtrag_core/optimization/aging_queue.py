"""A priority queue in which nothing starves."""

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Final, Generic, TypeVar

from dtrag_core.errors import InvalidRequestError

T = TypeVar("T", bound=Hashable)

MAX_PRIORITY: Final = 10


def aged_rank(now: float, priority: int, aging_s: float) -> float:
    """Return where something queued at `now` stands; lower goes first.

    A priority that grows by one each `aging_s` seconds grows alike for everything that waits, so
    the order never changes, and nothing is overtaken by what comes `2 * MAX_PRIORITY * aging_s`
    later. Raises InvalidRequestError for a priority beyond MAX_PRIORITY either way.
    """
    if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidRequestError(
            f"priority must be in {-MAX_PRIORITY}..{MAX_PRIORITY}, got {priority}"
        )
    return now - priority * aging_s


class AgingQueue(Generic[T]):
    """Items by rank, first come first served among equals; each is held once.

    All operations take O(log n), amortised.
    """

    def __init__(self) -> None:
        self._ranks: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, item: T) -> bool:
        return item in self._ranks

    def push(self, item: T, rank: float) -> None:
        """Add an item, or move one that waits to a better rank; a worse one changes nothing."""
        held = self._ranks.get(item)
        if held is not None and held <= rank:
            return
        self._ranks[item] = rank
        heapq.heappush(self._heap, (rank, next(self._order), item))
        if len(self._heap) > 2 * len(self._ranks) + 64:  # mostly left-overs of those that went
            self._heap = [entry for entry in self._heap if self._ranks.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def pop(self) -> T:
        """Remove and return the first item; raises IndexError if there is none."""
        while True:
            rank, _, item = heapq.heappop(self._heap)
            if self._ranks.get(item) == rank:
                del self._ranks[item]
                return item

    def discard(self, item: T) -> None:
        """Remove an item if it waits."""
        self._ranks.pop(item, None)

    def oldest(self) -> T:
        """Return what has waited longest; raises StopIteration if nothing waits."""
        return next(iter(self._ranks))
