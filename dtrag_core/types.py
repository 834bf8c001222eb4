"""Values that travel between the layers: chunks, queries, candidates, results.

All are immutable; those that every search makes many of are named tuples, which cost a fifth of a
frozen dataclass to make. Ids inside the engine are row numbers (`int32`, 0-based, in corpus order);
the dataset's own ids are strings and appear only in `Chunk`, `JudgedQuery` and `Hit`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
IdArray: TypeAlias = NDArray[np.int32]
Mask: TypeAlias = NDArray[np.bool_]
Starts: TypeAlias = NDArray[np.int64]

Mode = Literal["legacy", "optimized"]
FusionMethod = Literal["weighted", "rrf"]
Split = Literal["train", "test"]


class Chunk(NamedTuple):
    """One retrievable unit of text.

    `path` is its place in the taxonomy, from the root; empty where there is none.
    """

    id: str
    title: str
    text: str
    path: tuple[str, ...] = ()
    doc_type: str = ""
    attributes: Mapping[str, str] = MappingProxyType({})

    @property
    def content(self) -> str:
        """What is indexed and embedded: title and text."""
        return f"{self.title} {self.text}" if self.title else self.text

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, by name."""
        return {**self._asdict(), "attributes": dict(self.attributes)}


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with its relevance judgments: chunk id -> gain (> 0)."""

    id: str
    text: str
    relevant: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Filters:
    """Restricts a search to part of the corpus.

    `canonical_in`: taxonomy paths; a path matches its whole subtree. `doc_type`: allowed types.
    None means no restriction; both given means both hold.
    """

    canonical_in: tuple[tuple[str, ...], ...] | None = None
    doc_type: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a leg found: `ids` int32[n] and `scores` float32[n], descending, ties by id."""

    ids: IdArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class CandidateBatch:
    """What a leg found for n queries, one after the other.

    `ids` int32[m] and `scores` float32[m], those of query i from `starts`[i] up to `starts`[i + 1],
    descending, ties by id; `starts` int64[n + 1].
    """

    ids: IdArray
    scores: FloatArray
    starts: Starts

    def of(self, query: int) -> Candidates:
        """Return what was found for one query."""
        here = slice(self.starts[query], self.starts[query + 1])
        return Candidates(self.ids[here], self.scores[here])


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the two legs' scores become one.

    `weighted`: `bm25_weight` (0 to 1) times the normalised BM25 score plus the rest times the
    normalised cosine. `rrf`: the sum over legs of 1 / (`rrf_k` + rank).
    """

    method: FusionMethod = "weighted"
    bm25_weight: float = 0.5
    rrf_k: int = 60


@dataclass(frozen=True, slots=True)
class SearchParams:
    """Everything about a search but its query text and the mode.

    `bm25_topk` and `vector_topk` are leg depths (raised to `topk` if below it);
    `rerank_candidates` caps the union that is rescored.
    """

    topk: int = 5
    bm25_topk: int = 12
    vector_topk: int = 12
    rerank_candidates: int = 50
    filters: Filters | None = None
    fusion: Fusion | None = None


@dataclass(frozen=True, slots=True)
class Switches:
    """The optimisations, each on its own switch. All off is the legacy path.

    `overlap`: the legs run at the same time where measured costs say it pays.
    `int8`: vectors are searched as int8 codes instead of float32.
    `ann`: only the nearest lists of codes are searched, as many as hold the recall floor.
    `shards`: each leg's rows are cut over the cores where measured costs say it pays.
    """

    overlap: bool = False
    int8: bool = False
    ann: bool = False
    shards: bool = False


LEGACY = Switches()
OPTIMIZED = Switches(overlap=True, int8=True, ann=True, shards=True)


class Span(NamedTuple):
    """When one step of a search ran: `time.perf_counter_ns` at both ends, and the thread's id."""

    name: str
    start_ns: int
    end_ns: int
    thread: int


class Hit(NamedTuple):
    """One result: fused score and the exact score of each leg."""

    rank: int
    id: str
    score: float
    bm25: float
    cosine: float
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found, and how it ran.

    `mode` and `switches` say what *ran*, not what was asked for; `overlapped` whether the legs
    really ran at the same time, `plan` how they were laid out over the cores; `degraded` is True
    if any part of the answer is missing.
    """

    hits: tuple[Hit, ...]
    mode: Mode
    switches: Switches
    overlapped: bool
    timings: tuple[Span, ...]
    plan: str = "in_turn"
    from_cache: bool = False
    degraded: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, by name."""
        hits = [{**hit._asdict(), "chunk": hit.chunk.to_json()} for hit in self.hits]
        spans = [span._asdict() for span in self.timings]
        return {**asdict(replace(self, hits=(), timings=())), "hits": hits, "timings": spans}


class Progress(Protocol):
    """Told how far a long job is: what it does now, units done, and units in all if known."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take note."""
        ...


def no_progress(stage: str, done: int, total: int | None) -> None:
    """Ignore progress."""
