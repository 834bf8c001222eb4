"""Seeded workloads: distinct queries of a corpus, rounds of them, and streams that repeat them.

Judged queries come first; known-item queries, a few successive words of one chunk, fill up the
rest. Equal seeds give equal workloads on any machine.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dtrag_core.datasets.base import Dataset
from dtrag_core.errors import MeasuringError

_WORDS = (3, 8)
_LONGEST = 300
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class CacheMix:
    """The frozen mix a cache is measured under: Zipf repetitions of distinct queries."""

    zipf_s: float = 1.0
    distinct: int = 5_000
    requests: int = 20_000
    capacity: int = 1_000
    streams: int = 20


@dataclass(frozen=True, slots=True)
class RoundQueries:
    """Queries of one process: `warmup` ones, and equally long `batches` of others, one a round."""

    warmup: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]


def _snippet(text: str, rng: np.random.Generator) -> str | None:
    """Return three to eight successive words of a text; None of one with fewer than three."""
    words = text.split()
    length = min(int(rng.integers(_WORDS[0], _WORDS[1], endpoint=True)), len(words))
    if length < _WORDS[0]:
        return None
    start = int(rng.integers(0, len(words) - length, endpoint=True))
    snippet = " ".join(words[start : start + length])
    letters = sum(character.isalnum() for character in snippet)
    return snippet if 2 * letters > len(snippet) and len(snippet) <= _LONGEST else None


def _snippets(dataset: Dataset, wanted: int, rng: np.random.Generator) -> Iterator[str]:
    """Stream the corpus once and yield up to `wanted` snippets, from chunks drawn evenly."""
    total = len(dataset)
    each, rest = divmod(wanted, total)
    extra = set(rng.choice(total, rest, replace=False).tolist())
    last = total - 1 if each else max(extra)
    for row, chunk in enumerate(dataset.chunks()):
        for _ in range(each + (row in extra)):
            snippet = _snippet(chunk.text, rng)
            if snippet is not None:
                yield snippet
        if row >= last:
            return


def distinct_queries(dataset: Dataset, n: int, seed: int, at_least: int | None = None) -> list[str]:
    """Return `n` distinct queries: the judged test queries, then known-item snippets of chunks.

    The corpus is streamed (up to four times, if it yields repetitions), so call this once a run.
    Raises `MeasuringError` if the corpus does not yield `at_least` (default: all `n`).
    """
    if n < 1:
        raise MeasuringError(f"a workload needs 1 query or more, not {n}")
    found = dict.fromkeys(query.text for query in dataset.queries("test"))
    rng = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        if len(found) >= n or not len(dataset):
            break
        found.update(dict.fromkeys(_snippets(dataset, (n - len(found)) * 5 // 4 + 1, rng)))
    needed = n if at_least is None else at_least
    if len(found) < needed:
        raise MeasuringError(
            f"{dataset.info.spec} yields {len(found):,} distinct queries, {needed:,} are needed; "
            "ask for fewer, or bring more text"
        )
    return list(found)[:n]


def round_queries(
    queries: Sequence[str], rounds: int, per_round: int, warmup: int, seed: int
) -> RoundQueries:
    """Draw a warm-up and the rounds from distinct queries; no query is drawn twice.

    Raises `MeasuringError` if there are too few, or if they repeat themselves.
    """
    if min(rounds, per_round) < 1 or warmup < 0:
        raise MeasuringError(
            f"rounds need 1 query or more: {rounds} rounds of {per_round}, {warmup} to warm up"
        )
    needed = warmup + rounds * per_round
    distinct = len(set(queries))
    if distinct < needed or distinct < len(queries):
        raise MeasuringError(
            f"{rounds} rounds of {per_round} queries and {warmup} to warm up take {needed:,} "
            f"distinct queries; there are {distinct:,} distinct ones among {len(queries):,}"
        )
    order = np.random.default_rng(seed).permutation(len(queries))[:needed].tolist()
    drawn = [queries[at] for at in order]
    starts = range(warmup, needed, per_round)
    batches = tuple(tuple(drawn[start : start + per_round]) for start in starts)
    return RoundQueries(tuple(drawn[:warmup]), batches)


def zipf_stream(distinct: Sequence[str], requests: int, s: float, seed: int) -> list[str]:
    """Return a stream of requests in which the query of popularity rank r has weight r**-s.

    Which query has which rank is drawn too, so that streams of different seeds differ in both.
    `s` = 0 is uniform. Raises `MeasuringError` for `s` below 0, no queries or no requests.
    """
    if not (0 <= s < float("inf")) or not distinct or requests < 1:
        raise MeasuringError(
            f"a stream needs s >= 0, queries and requests: s={s}, {len(distinct)} queries, "
            f"{requests} requests"
        )
    rng = np.random.default_rng(seed)
    ranked = rng.permutation(len(distinct))
    weights = np.arange(1, len(distinct) + 1, dtype=np.float64) ** -s
    drawn = rng.choice(ranked, size=requests, p=weights / weights.sum())
    return [distinct[at] for at in drawn.tolist()]


def ceiling(stream: Sequence[str]) -> float:
    """Return the hit rate of a cache without limit from cold: all but first requests are hits."""
    if not stream:
        raise MeasuringError("an empty stream has no hit rate")
    return 1 - len(set(stream)) / len(stream)


def workload_hash(queries: Sequence[str]) -> str:
    """Return the SHA-256, hexadecimal, of the queries in their order."""
    digest = hashlib.sha256()
    for query in queries:
        data = query.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
