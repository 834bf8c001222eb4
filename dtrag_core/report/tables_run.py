"""Tables of the run itself: the machine, and what exactly was measured."""

from collections.abc import Mapping
from typing import Any

from dtrag_core.report.formats import (
    NOTHING,
    Result,
    count,
    decimals,
    mebibytes,
    percent,
    significant,
)
from dtrag_core.report.table import Table


def environment(result: Result) -> Table:
    """Describe the machine and the software."""
    env = result["environment"]
    host: Mapping[str, Any] = env.get("host", {})
    git = env["git"]
    commit = (
        f"{git['commit']}{' with uncommitted changes' if git['dirty'] else ''}" if git else None
    )
    load = env["load_average"]
    limits = env["container"]
    pools = [f"{p['library']} {p['version'] or ''}: {p['threads']}" for p in env["thread_pools"]]
    unset = "not set"
    rows: list[tuple[str, str | None]] = [
        ("processor", env["cpu_model"]),
        ("architecture", env["architecture"]),
        ("cores", count(env["cores"])),
        ("memory, GiB", decimals(env["memory_bytes"] / 2**30, 1)),
        ("container limit, cores", limits["cpu_limit"] and f"{limits['cpu_limit']:g}"),
        ("container limit, MiB", mebibytes(limits["memory_limit_bytes"])),
        ("operating system", f"{env['os']}, kernel {env['kernel']}"),
        ("Python", env["python"]),
        ("commit", commit),
        ("native threads", "; ".join(pools)),
        ("thread settings", "; ".join(f"{k}={v or unset}" for k, v in env["thread_env"].items())),
        ("load average, 1/5/15 min", " / ".join(f"{value:.2f}" for value in load or ())),
        ("steal during the run, %", percent(host.get("steal_share"))),
        ("processor busy during the run, %", percent(host.get("busy_share"))),
        ("load at start / end", _pair(host.get("load_start"), host.get("load_end"))),
        ("length of the run, s", significant(host.get("seconds"), 4)),
        ("packages", ", ".join(f"{name} {v}" for name, v in env["packages"].items())),
    ]
    return Table.of("what|value", "ll", ((name, value or NOTHING) for name, value in rows))


def _pair(first: float | None, second: float | None) -> str | None:
    return None if first is None or second is None else f"{first:.2f} / {second:.2f}"


def identity(result: Result) -> Table:
    """Say what exactly was measured: data, engine and workload, with their hashes."""
    dataset, engine, work = result["dataset"], result["engine"], result["workload"]
    embedder, fusion = engine["embedder"], engine["fusion"]
    plan, caching = result["load"]["plan"], result["cache"]["settings"]
    depths = (work["topk"], work["bm25_topk"], work["vector_topk"], work["rerank_candidates"])
    rows = [
        ("dataset", f"{dataset['spec']}, {dataset['chunks']:,} chunks", dataset["fingerprint"]),
        ("index", f"engine {engine['name']}", engine["content_hash"]),
        ("embedder", f"{embedder['spec']}, {embedder['dimension']} d", embedder["fingerprint"]),
        ("queries", f"{work['queries_per_round']:,} a round", work["queries_hash"]),
        (
            "BM25",
            f"k1 {engine['bm25']['k1']:g}, b {engine['bm25']['b']:g}, {engine['analyzer']}",
            "",
        ),
        (
            "fusion",
            f"{fusion['method']}, BM25 weight {fusion['bm25_weight']:g}, RRF k {fusion['rrf_k']}, "
            f"cosine minimum {engine['cosine_min']:.4g}",
            "",
        ),
        ("topk / BM25 / vector / rerank depth", " / ".join(map(count, depths)), ""),
        (
            "rounds",
            f"{work['rounds']:,} in {work['processes']} fresh processes, {work['warmup']:,} "
            "warm-up queries in each",
            "",
        ),
        (
            "load",
            f"{plan['rate']:g}/s for {plan['seconds']:g} s, {plan['arrivals']} arrivals, "
            f"{plan['segments']} segments, time-out {plan['timeout_s']:g} s, at most "
            f"{plan['max_in_flight']:,} in flight",
            "",
        ),
        (
            "cache mix",
            f"Zipf s = {caching['zipf_s']:g}, {caching['distinct']:,} distinct queries, "
            f"{caching['requests']:,} requests, capacity {caching['capacity']:,}, "
            f"{caching['streams']} streams",
            "",
        ),
        ("seed", str(work["seed"]), ""),
    ]
    return Table.of("what|value|hash", "lll", rows)
