"""Tables of a comparison of engines: latency beside quality, size and build time."""

from collections.abc import Mapping
from typing import Any

from dtrag_core.report.formats import NOTHING, decimals, mebibytes, significant, span
from dtrag_core.report.table import Table


def comparison(result: Mapping[str, Any], name: str) -> Table | None:
    """Latency of each engine beside what it finds; None if `name` was not measured."""
    found = result["comparisons"].get(name)
    if found is None:
        return None
    about = {engine["name"]: engine for engine in result["engines"]}
    rows = []
    for engine, speed in found["engines"].items():
        quality = found["quality"][engine]
        rows.append(
            (
                engine,
                significant(speed["percentiles_ms"]["p50"]),
                significant(speed["percentiles_ms"]["p95"]),
                _ratio(speed["mean_ratio"]),
                _ratio(speed["p95_ratio"]),
                decimals(quality["ndcg_at_10"]),
                decimals(quality["exact_ndcg_at_10"]),
                decimals(quality["overlap_at_10"]),
                decimals(quality.get("vector_recall_at_10")),
                mebibytes(about[engine]["index_bytes"]),
                significant(about[engine]["build_seconds"]),
            )
        )
    columns = (
        "engine|P50, ms|P95, ms|mean, ratio|P95, ratio|nDCG@10|of exact|overlap@10|"
        "recall@10|MiB|build, s"
    )
    return Table.of(columns, "l" + "r" * 10, rows, _notes(found))


def engines(result: Mapping[str, Any]) -> Table:
    """Versions and settings of each engine, and why one could not run."""
    rows = []
    for engine in result["engines"]:
        versions = ", ".join(f"{name} {number}" for name, number in engine["versions"].items())
        rows.append((engine["name"], "versions", versions))
        rows += [("", name, str(value)) for name, value in engine["settings"].items()]
        if tuned := engine["tuned"]:
            rows.append(("", "tuned to", _tuned(tuned, result["settings"]["recall_floor"])))
    rows += [(one["name"], "unavailable", one["reason"]) for one in result["unavailable"]]
    return Table.of("engine|what|how", "lll", rows)


def _tuned(tuned: Mapping[str, Any], floor: float) -> str:
    recall, queries = tuned["recall_at_10"], tuned["queries"]
    short = "" if recall >= floor else f", short of {floor:g} at the most that was tried"
    return f"{tuned['effort']}: recall@10 {recall:.3f} on {queries} other queries{short}"


def run_line(result: Mapping[str, Any]) -> str:
    """Say in a line what was measured."""
    dataset, settings, vectors = result["dataset"], result["settings"], result["vectors"]
    return (
        f"{dataset['spec']}: {dataset['chunks']:,} chunks ({dataset['caveat']}), "
        f"vectors of {vectors['dimension']} dimensions ({vectors['embedder']}), "
        f"{settings['rounds']} rounds of {settings['queries']} queries; {settings['threads']}"
    )


def _notes(found: Mapping[str, Any]) -> list[str]:
    depth = found["depth"]
    what = (
        f"From analysed terms to ids and scores of the top {found['k']}."
        if depth is None
        else f"From text or tokens and vector to the fused top {found['k']}, legs {depth} deep."
    )
    notes = [
        what,
        f"Ratios are to {found['baseline']}: above 1 is slower. Overlap@10 is with exact rankings, "
        "whose nDCG@10 stands under 'of exact'.",
    ]
    floor = found["noise_floor"]
    if floor["mean_ratio"] is not None:
        notes.append(
            f"{found['baseline']} against itself: mean {_ratio(floor['mean_ratio'])}, P95 "
            f"{_ratio(floor['p95_ratio'])}; no difference below that is one."
        )
    if any(one["percentiles_ms"]["p95"] is None for one in found["engines"].values()):
        notes.append(f"{NOTHING}  P95 is shown from 1,000 searches on.")
    return notes


def _ratio(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOTHING
    low, high = decimals(found["ci_low"], 2), decimals(found["ci_high"], 2)
    return f"{decimals(found['value'], 2)} ({span(low, high)})"
