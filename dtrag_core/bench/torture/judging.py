"""Does an index hold exactly what it should, and answer exactly? Every complaint is a sentence."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from dtrag_core.bench.torture.reference import Contents, Reference
from dtrag_core.bench.torture.updates import Versions
from dtrag_core.engines.base import Session
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.index.merging import live_rows
from dtrag_core.types import LEGACY, OPTIMIZED, Candidates, Chunk, Filters, Switches

EXACT: Final = 2e-5
"""How far float32 sums may lie from float64 ones."""

CODED: Final = 5e-3
"""How far the cosine of an int8 code may lie from that of its vector."""

_QUERIES: Final = 3
_SHOWN: Final = 3


def stored_chunks(engine: EmbeddedEngine) -> dict[str, Chunk]:
    """Return the live chunks of an index by id."""
    return {chunk.id: chunk for chunk in _live(engine)}


def _live(engine: EmbeddedEngine) -> list[Chunk]:
    return [
        segment.files.store.chunk(row)
        for segment in engine.snapshot.segments
        for row in live_rows(segment).tolist()
    ]


def twice(engine: EmbeddedEngine) -> list[str]:
    """Complain about ids that live twice."""
    times = Counter(chunk.id for chunk in _live(engine))
    names = [name for name, count in times.items() if count > 1]
    return [f"{len(names)} ids live twice: {_few(names)}"] if names else []


def differences(found: Mapping[str, Chunk], wanted: Mapping[str, Chunk]) -> list[str]:
    """Complain about chunks that are missing, altered, or should not be there."""
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    other = [name for name, chunk in wanted.items() if name in found and found[name] != chunk]
    kinds = {"are missing": missing, "should not be there": extra, "have other content": other}
    return [f"{len(names)} chunks {kind}: {_few(names)}" for kind, names in kinds.items() if names]


def judge_answers(
    engine: EmbeddedEngine, versions: Versions, contents: Contents, rng: random.Random
) -> list[str]:
    """Ask an index that should hold these chunks, and compare with exhaustive answers."""
    reference = Reference(versions, contents, engine.manifest.bm25)
    names = list(engine.chunk_ids())
    exact, coded, lists = (
        engine.session(each) for each in (LEGACY, Switches(overlap=True, int8=True), OPTIMIZED)
    )
    complaints = []
    for query in _queries(reference.chunks, rng):
        everything, vector = len(names) + 1, engine.embed_query(query)
        bm25, cosines = reference.bm25(query, names=list(versions)), reference.cosines(vector)
        complaints += _same("BM25", exact.bm25_leg(query, everything, None), names, bm25, EXACT)
        found = exact.vector_leg(vector, everything, None)
        complaints += _same("float32", found, names, cosines, EXACT)
        found = coded.vector_leg(vector, everything, None)
        complaints += _same("int8, all lists", found, names, cosines, CODED)
        found = lists.vector_leg(vector, 10, None)
        of_these = {name: cosines[name] for name in _named(found, names) if name in cosines}
        complaints += _same("int8, nearest lists", found, names, of_these, CODED)
        complaints += _judge_filter(exact, query, names, reference, rng)
    return complaints


def _judge_filter(
    session: Session, query: str, names: Sequence[str], reference: Reference, rng: random.Random
) -> list[str]:
    path = rng.choice(list(reference.chunks.values())).path[: rng.randint(1, 2)]
    inside = [name for name, chunk in reference.chunks.items() if chunk.path[: len(path)] == path]
    mask = session.compile_filters(Filters(canonical_in=(path,)))
    found = session.bm25_leg(query, len(names) + 1, mask)
    return _same(
        f"BM25 inside {'/'.join(path)}", found, names, reference.bm25(query, inside), EXACT
    )


def _queries(chunks: Mapping[str, Chunk], rng: random.Random) -> list[str]:
    """Return words of chunks that live, which come in others too, and one that never was."""
    chosen = rng.choices(list(chunks.values()), k=_QUERIES)
    words = [rng.sample(chunk.text.split(), rng.randint(1, 5)) for chunk in chosen]
    return [" ".join((*each, "never")) for each in words]


def _named(found: Candidates, names: Sequence[str]) -> list[str]:
    return [names[row] for row in found.ids.tolist()]


def _same(
    leg: str, found: Candidates, names: Sequence[str], wanted: Mapping[str, float], most: float
) -> list[str]:
    """Complain unless a leg found these chunks with these scores, the best first."""
    given = dict(zip(_named(found, names), found.scores.tolist(), strict=True))
    if given.keys() != wanted.keys() or len(given) != len(found):
        odd = sorted(given.keys() ^ wanted.keys())
        return [f"{leg} found {len(found)} chunks, {len(wanted)} match; unlike: {_few(odd)}"]
    off = max((abs(given[name] - score) for name, score in wanted.items()), default=0.0)
    if off > most:
        return [f"{leg} scores are off by up to {off:.3g}, {most:g} are allowed"]
    if np.any(np.diff(found.scores) > 0):
        return [f"{leg} is not in descending order"]
    return []


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
