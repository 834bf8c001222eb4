"""The comparison: every engine on the same chunks, vectors and queries, in turns, in one run.

Native thread pools are left as they are: both legs of an engine, and every kernel, may use all
cores. The environment's thread settings are recorded with the result.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, TypeVar

from dtrag_core.bench.clock import RealClock, Service
from dtrag_core.bench.environment import HostWatch, capture_environment
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.peers.base import OpenPeer, Peer, PeerCorpus, PeerQuery
from dtrag_core.bench.peers.corpus import Prepared
from dtrag_core.bench.peers.dtrag import NAME
from dtrag_core.bench.peers.plan import BM25, COMPARISONS, HYBRID, PeerPlan
from dtrag_core.bench.peers.quality import Judge
from dtrag_core.bench.peers.queries import judged_queries, timed_queries, tuning_queries
from dtrag_core.bench.peers.ratios import p95_ratio
from dtrag_core.bench.peers.recall import ExactNearest
from dtrag_core.bench.peers.results import KIND, SCHEMA_VERSION
from dtrag_core.bench.peers.store import Built, built
from dtrag_core.bench.peers.template import NumpyPeer
from dtrag_core.bench.peers.tuning import Tuned, TunedSearch, tune
from dtrag_core.bench.result_file import header
from dtrag_core.bench.rounds import RoundsResult, ratio, reference_kernel, run_rounds
from dtrag_core.bench.workload import workload_hash
from dtrag_core.datasets.base import Dataset
from dtrag_core.types import Progress

T = TypeVar("T")

AGAIN: Final = "baseline, again"
"""The A/A arm: the engine that ratios are to, under another name."""
THREADS: Final = "native thread pools are not held at one thread; see environment"


@dataclass(frozen=True, slots=True)
class _Member:
    peer: Peer
    built: Built
    open: OpenPeer


def compare_peers(
    dataset: Dataset,
    prepared: Prepared,
    peers: tuple[Sequence[Peer], Mapping[str, str]],
    plan: PeerPlan,
    progress: Progress,
) -> dict[str, Any]:
    """Build what is missing, measure, and return the result (`peers.schema.json`).

    `peers` is what `load_peers` returned. Ratios are those of each engine to `dtrag`, or to the
    first named if that is not among them. Raises MeasuringError if a search fails, BuildError if a
    build does.
    """
    engines, reasons = peers
    queries = timed_queries(dataset, prepared, plan)
    asked = judged_queries(dataset, prepared, queries, plan)
    corpus = prepared.corpus
    # One after the other, so that no two builds are in memory at once.
    indexes = [built(peer, corpus, progress) for peer in engines]
    numpy_index = built(NumpyPeer(), corpus, progress)
    with ExitStack() as stack, HostWatch() as watch:
        members = []
        for peer, index in zip(engines, indexes, strict=True):
            progress(f"opening {peer.name}", 0, None)
            opened = peer.open(corpus, index.directory)
            stack.callback(opened.close)
            members.append(_Member(peer, index, opened))
        exact = NumpyPeer().open(corpus, numpy_index.directory)
        judge = Judge(corpus, exact, asked, progress)
        tuned: dict[str, Tuned] = {}
        if HYBRID in plan.comparisons and plan.recall_floor:
            held_out = tuning_queries(dataset, prepared) or queries[: plan.warmup]
            tuned = _run(_tune(members, held_out, prepared.corpus, plan, progress))
        measured = _run(_measure(members, judge, queries, plan, corpus.chunks, progress))
        environment = capture_environment()
    return {
        **header(KIND, SCHEMA_VERSION, environment, watch.report.to_json()),
        "dataset": {
            "spec": dataset.info.spec,
            "fingerprint": dataset.info.fingerprint,
            "caveat": dataset.info.caveat,
            "chunks": corpus.chunks,
        },
        "vectors": {
            "embedder": prepared.embedder.spec,
            "fingerprint": prepared.embedder.fingerprint,
            "dimension": corpus.dimension,
        },
        "settings": {
            **asdict(plan),
            "bm25": asdict(corpus.bm25),
            "analyzer": dataset.info.analyzer.profile,
            "queries_hash": workload_hash([query.text for query in queries]),
            "threads": THREADS,
        },
        "engines": [_about(member, tuned.get(member.peer.name)) for member in members],
        "unavailable": [{"name": name, "reason": why} for name, why in reasons.items()],
        "comparisons": measured,
    }


def _run(job: Coroutine[Any, Any, T]) -> T:
    """Run on a loop of its own; in a notebook, whose loop runs already, on another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(job)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, job).result()


async def _measure(
    members: Sequence[_Member],
    judge: Judge,
    queries: Sequence[PeerQuery],
    plan: PeerPlan,
    chunks: int,
    progress: Progress,
) -> dict[str, Any]:
    k, depth = min(plan.k, chunks), min(plan.depth, chunks)
    found = {}
    for comparison in COMPARISONS:
        if comparison not in plan.comparisons:
            continue
        make = _bm25_service if comparison == BM25 else partial(_hybrid_service, depth=depth)
        arms = {member.peer.name: make(member.open, k) for member in members}
        baseline = NAME if NAME in arms else members[0].peer.name
        arms[AGAIN] = arms[baseline]
        rounds = await _rounds(comparison, arms, queries, plan, progress)
        found[comparison] = {
            "k": k,
            "depth": None if comparison == BM25 else depth,
            **_latencies(rounds, baseline),
            "quality": {
                member.peer.name: await judge.bm25(member.peer.name, member.open)
                if comparison == BM25
                else await judge.hybrid(member.peer.name, member.open, depth)
                for member in members
            },
        }
    return found


async def _rounds(
    comparison: str,
    arms: Mapping[str, Service[PeerQuery]],
    queries: Sequence[PeerQuery],
    plan: PeerPlan,
    progress: Progress,
) -> RoundsResult:
    timed = queries[plan.warmup :]
    stage = f"{comparison} rounds"
    progress(stage, 0, plan.rounds)
    return await run_rounds(
        arms,
        [timed[start : start + plan.queries] for start in range(0, len(timed), plan.queries)],
        RealClock(),
        warmup=queries[: plan.warmup],
        kernel=reference_kernel(),
        on_round=lambda number: progress(stage, number + 1, plan.rounds),
    )


def _bm25_service(peer: OpenPeer, k: int) -> Service[PeerQuery]:
    search = peer.bm25

    async def answer(query: PeerQuery) -> None:
        await search(query.terms, k)

    return answer


def _hybrid_service(peer: OpenPeer, k: int, depth: int) -> Service[PeerQuery]:
    search = peer.hybrid

    async def answer(query: PeerQuery) -> None:
        await search(query, k, depth)

    return answer


def _latencies(rounds: RoundsResult, baseline: str) -> dict[str, Any]:
    return {
        "baseline": baseline,
        "noise_floor": _ratios(rounds, AGAIN, baseline),
        "engines": {
            name: {**_summary(rounds, name), **_ratios(rounds, name, baseline)}
            for name in rounds.latencies
            if name != AGAIN
        },
        "rounds": rounds.to_json(),
    }


def _summary(rounds: RoundsResult, name: str) -> dict[str, Any]:
    histogram = Histogram.of(rounds.latencies[name])
    return {
        "n": histogram.count,
        "mean_ms": float(rounds.latencies[name].mean()) / 1e6,
        "percentiles_ms": histogram.percentiles_ms(),
    }


def _ratios(rounds: RoundsResult, name: str, baseline: str) -> dict[str, Any]:
    if name == baseline or rounds.rounds < 2:
        return {"mean_ratio": None, "p95_ratio": None}
    tail = p95_ratio(rounds, name, baseline)
    return {
        "mean_ratio": ratio([rounds], name, baseline).to_json(),
        "p95_ratio": None if tail is None else tail.to_json(),
    }


async def _tune(
    members: Sequence[_Member],
    queries: Sequence[PeerQuery],
    corpus: PeerCorpus,
    plan: PeerPlan,
    progress: Progress,
) -> dict[str, Tuned]:
    searches = {each.peer.name: each.open for each in members if isinstance(each.open, TunedSearch)}
    if not searches:
        return {}
    exact = ExactNearest(corpus, [query.vector for query in queries], progress)
    depth, tuned = min(plan.depth, corpus.chunks), {}
    for name, search in searches.items():
        progress(f"tuning {name}", 0, None)
        tuned[name] = await tune(search, exact, depth, plan.recall_floor)
    return tuned


def _about(member: _Member, tuned: Tuned | None) -> dict[str, Any]:
    return {
        "name": member.peer.name,
        "versions": dict(member.peer.versions()),
        "settings": dict(member.peer.settings()),
        "index_bytes": member.built.nbytes,
        "build_seconds": member.built.seconds,
        "reused": member.built.reused,
        "tuned": None if tuned is None else asdict(tuned),
    }
