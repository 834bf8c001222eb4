"""What is read of the chunks that a search found, and made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dtrag_core.engines.base import Session
from dtrag_core.search.ranked import Ranked, hits_of
from dtrag_core.types import Chunk, IdArray, Mode, SearchResult, Span, Switches

C = TypeVar("C")
A = TypeVar("A")
_A_co = TypeVar("_A_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a search ran: as the fields of a `SearchResult`."""

    mode: Mode
    switches: Switches
    timings: tuple[Span, ...]
    plan: str
    degraded: bool


class Reading(Protocol[C, _A_co]):
    """Reads chunks, and makes the answers of one kind."""

    def read(self, session: Session, ids: IdArray) -> Sequence[C]:
        """Return what is shown of each of these chunks."""
        ...

    def answer(self, ranked: Ranked, shown: Sequence[C], ran: Ran) -> _A_co:
        """Return the answer to one search, given what is shown of its hits."""
        ...


class ReadingHits:
    """Makes results as `SearchDAO.hybrid_search` returns them."""

    def read(self, session: Session, ids: IdArray) -> Sequence[Chunk]:
        """Return these chunks."""
        return session.fetch(ids)

    def answer(self, ranked: Ranked, shown: Sequence[Chunk], ran: Ran) -> SearchResult:
        """Return the result of one search."""
        return SearchResult(
            hits_of(ranked, shown), ran.mode, ran.switches, False, ran.timings, ran.plan,
            degraded=ran.degraded,
        )  # fmt: skip
