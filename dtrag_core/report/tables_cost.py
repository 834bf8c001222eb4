"""Tables of the cache, memory and quality."""

from collections.abc import Mapping
from typing import Any

from dtrag_core.report.formats import (
    NOTHING,
    Result,
    bounds,
    count,
    decimals,
    mebibytes,
    percent,
    significant,
)
from dtrag_core.report.table import Table
from dtrag_core.report.tables_speed import carried_notes


def cache_latency(result: Result) -> Table:
    """Latency of cache hits and of misses, apart."""
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for name, kind in (("hit", "hits"), ("miss", "misses")):
        answers = result["cache"][name]
        shown: Mapping[str, float | None] = answers["percentiles_ms"]
        cells = (significant(shown[p]) for p in ("p50", "p95", "p99"))
        rows.append((kind, count(answers["n"]), *cells))
        notes += carried_notes(answers["n"], shown)
    return Table.of("answers|n|P50, ms|P95, ms|P99, ms", "lrrrr", rows, notes)


def cache_curve(result: Result) -> Table:
    """Hit rate over the skew of the queries."""
    rows = (
        (f"{point['s']:g}", percent(point["hit_rate"], 2), percent(point["ceiling"], 2))
        for point in result["cache"]["curve"]
    )
    return Table.of("Zipf s|hit rate, %|ceiling without limit, %", "rrr", rows)


def memory_parts(result: Result) -> Table:
    """List what the engine counts, part by part, and the two sums."""
    inside = result["memory"]["inside"]
    legacy, optimized = inside["legacy"], inside["optimized"]
    rows = [
        (part, mebibytes(legacy.get(part)), mebibytes(optimized.get(part)), NOTHING)
        for part in dict.fromkeys((*legacy, *optimized))
    ]
    for name, key in (("vector leg", "vector_leg"), ("whole index, texts apart", "whole_index")):
        of = inside[key]
        rows.append(
            (
                f"= {name}",
                mebibytes(of["legacy_bytes"]),
                mebibytes(of["optimized_bytes"]),
                percent(of["efficiency"]),
            )
        )
    notes = (f"{NOTHING}  The arm has no such part, or the saving is given for the sums only.",)
    return Table.of("part|legacy, MiB|optimised, MiB|saved, %", "lrrr", rows, notes)


def memory_outside(result: Result) -> Table:
    """List what the operating system sees, each arm in a process of its own."""
    outside = result["memory"]["outside"]
    arms = (outside["legacy"], outside["optimized"])
    names = {"uss": "USS: its own", "pss": "PSS: shared pages divided", "rss": "RSS: counted whole"}
    rows = [(name, *(mebibytes(arm[key]) for arm in arms)) for key, name in names.items()]
    files = [[size for size in arm["file_resident"].values() if size is not None] for arm in arms]
    rows.append(
        ("index files in the page cache", *(mebibytes(sum(f) if f else None) for f in files))
    )
    notes = (f"{NOTHING}  The platform does not say.",)
    missing = any(NOTHING in row for row in rows)
    return Table.of("seen from outside|legacy, MiB|optimised, MiB", "lrr", rows, notes * missing)


def quality_methods(result: Result) -> Table:
    """Ranking quality of each method on the judged test queries; empty without judgments."""
    judged = result["quality"]["judged"]
    methods: Mapping[str, Any] = judged["methods"] if judged else {}
    rows = (
        (name, decimals(of["ndcg_at_10"]), decimals(of["recall_at_100"]))
        for name, of in methods.items()
    )
    return Table.of("method|nDCG@10|Recall@100", "lrr", rows)


def quality_differences(result: Result) -> Table:
    """Paired differences of nDCG@10 with their intervals."""
    judged = result["quality"]["judged"]
    same = result["quality"]["optimized_vs_legacy"]
    named = [("optimised minus legacy", same["ndcg_difference"])]
    if judged:
        named = [
            ("weighted hybrid minus BM25", judged["hybrid_minus_bm25"]),
            ("weighted hybrid minus vector", judged["hybrid_minus_vector"]),
            *named,
        ]
    rows = [
        (name, f"{of['value']:+.4f}", bounds(of, 4), count(of["n"]))
        for name, of in named
        if of is not None
    ]
    return Table.of("difference of nDCG@10|value|interval|queries", "lrrr", rows)
