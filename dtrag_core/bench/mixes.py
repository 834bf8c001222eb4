"""Query mixes: what the requests of a load ask for, made from a dataset's queries.

Bodies are JSON bytes made beforehand, so that sending one costs the generator nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from dtrag_core.bench.workload import zipf_stream
from dtrag_core.errors import MeasuringError, UnknownNameError

SEARCH: Final = "/search"
BATCH: Final = "/api/v1/batch/search"

StreamName = Literal["unique", "zipf", "filtered", "batch"]

MIXES: Final[Mapping[str, Mapping[StreamName, float]]] = MappingProxyType(
    {
        "unique": {"unique": 1.0},
        "zipf": {"zipf": 1.0},
        "filtered": {"filtered": 1.0},
        "batch": {"batch": 1.0},
        "mixed": {"unique": 0.40, "zipf": 0.40, "filtered": 0.18, "batch": 0.02},
    }
)
"""Of each mix, the share of arrivals of each stream. A batch job is one arrival."""

BATCH_QUERIES: Final = 20
ZIPF_S: Final = 1.0
ZIPF_REQUESTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one kind: `share` of all arrivals, POSTed to `path` with these bodies in turn."""

    name: StreamName
    share: float
    path: str
    bodies: tuple[bytes, ...]

    @property
    def batches(self) -> bool:
        """Whether a request is a job whose answers are asked for afterwards."""
        return self.path == BATCH


def make_mix(
    name: str,
    queries: Sequence[str],
    filters: Sequence[Mapping[str, Any]] = (),
    *,
    options: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
) -> tuple[Stream, ...]:
    """Return the streams of a mix.

    `unique`: the queries in a drawn order, none again before all were sent. `zipf`: the query of
    popularity rank r with weight 1/r. `filtered`: as unique, under one filter each. `batch`: jobs
    of 20 queries. `options` go into every search. Raises UnknownNameError for another mix,
    MeasuringError without queries, or without filters where they are needed.
    """
    if name not in MIXES:
        raise UnknownNameError("mix", name, MIXES)
    if not queries:
        raise MeasuringError("a load needs queries to send, got 0")
    return tuple(
        _stream(kind, share, queries, filters, options, seed + place)
        for place, (kind, share) in enumerate(MIXES[name].items())
    )


def _stream(
    kind: StreamName,
    share: float,
    queries: Sequence[str],
    filters: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    seed: int,
) -> Stream:
    order = np.random.default_rng(seed).permutation(len(queries)).tolist()
    drawn = [queries[at] for at in order]
    if kind == "batch":
        starts = range(0, len(drawn), BATCH_QUERIES)
        jobs = [{**options, "queries": drawn[at : at + BATCH_QUERIES]} for at in starts]
        return Stream(kind, share, BATCH, _bytes(jobs))
    if kind == "zipf":
        drawn = zipf_stream(queries, ZIPF_REQUESTS, ZIPF_S, seed)
    searches: list[dict[str, Any]] = [{**options, "query": query} for query in drawn]
    if kind == "filtered":
        if not filters:
            raise MeasuringError("filtered requests need filters: no hit has a path or a doc_type")
        searches = [
            {**search, "filters": filters[place % len(filters)]}
            for place, search in enumerate(searches)
        ]
    return Stream(kind, share, SEARCH, _bytes(searches))


def _bytes(bodies: Sequence[Mapping[str, Any]]) -> tuple[bytes, ...]:
    return tuple(json.dumps(body, ensure_ascii=False).encode() for body in bodies)


def filters_from(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, list[str]]]:
    """Return filters that each leave something, learned from what searches found.

    Of each first hit, the topmost part of its path; where it has none, its type. Each once.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for answer in answers:
        for hit in answer["hits"][:1]:
            if hit["path"]:
                found[f"path {hit['path'][0]}"] = {"canonical_in": [hit["path"][0]]}
            elif hit["doc_type"]:
                found[f"type {hit['doc_type']}"] = {"doc_type": [hit["doc_type"]]}
    return list(found.values())
