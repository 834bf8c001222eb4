"""Latencies compare at equal recall: each vector leg gets the least effort that holds a floor.

This package chooses its own operating point so at build; a peer's is chosen here, by the same rule
and on other queries than the measured ones, so that none is measured doing less work, or more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dtrag_core.bench.peers.base import OpenPeer
from dtrag_core.bench.peers.recall import ExactNearest
from dtrag_core.errors import MeasuringError


@runtime_checkable
class TunedSearch(OpenPeer, Protocol):
    """An engine whose vector leg finds more the more effort it is allowed."""

    effort: int
    """How many candidates a search keeps (ef); may be set at any time."""

    @property
    def efforts(self) -> Sequence[int]:
        """What may be tried, ascending, from what its documentation recommends."""
        ...


@dataclass(frozen=True, slots=True)
class Tuned:
    """The effort chosen, and the recall@10 it has on the queries it was chosen on."""

    effort: int
    recall_at_10: float
    queries: int


async def tune(search: TunedSearch, exact: ExactNearest, depth: int, floor: float) -> Tuned:
    """Set and return the least effort whose recall@10 reaches `floor`; the most if none does.

    Raises MeasuringError if no query has a vector.
    """
    recall = 0.0
    for effort in search.efforts:
        search.effort = effort
        near = [await search.nearest(vector, depth) for vector in exact.vectors]
        found = exact.recall(near)
        if found is None:
            raise MeasuringError("no query to tune on has a vector: recall cannot be measured")
        recall = found
        if recall >= floor:
            break
    return Tuned(search.effort, recall, len(exact.vectors))
