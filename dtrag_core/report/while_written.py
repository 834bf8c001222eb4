"""The section on latency while the index is written."""

from dtrag_core.report.formats import TIMES, Result, bounds, count, decimals, significant
from dtrag_core.report.section import Section
from dtrag_core.report.table import Table
from dtrag_core.report.tables_speed import carried_notes


def while_written(result: Result) -> Section:
    """Return the section; it says so where nothing was measured."""
    ingest = result.get("ingest")
    title = "While chunks are added"
    if ingest is None:
        nothing = "Not measured in this run, or the embedder knows the dataset's own texts only."
        return Section("ingest", title, (nothing,), ())
    plan, ratio, seen = ingest["plan"], ingest["p95_ratio"], ingest["visible_after_s"]
    text = (
        f"Another process adds, replaces and deletes chunks at {plan['rate']:g} a second (it "
        f"reached {significant(ingest['rate_reached'])}) on a copy of the index, and merges its "
        "segments, "
        f"while searches arrive at {plan['search_rate']:g} a second; periods with and without it "
        f"take turns. P95 is {decimals(ratio['value'])} {TIMES} as long then ({bounds(ratio)}).",
        f"A change is searched {significant(1e3 * seen['median'])} ms after it was acknowledged "
        f"(median; at most {significant(1e3 * seen['max'])} ms). There were "
        f"{ingest['generations_written']:,} generations and up to {ingest['segments']['most']} "
        "segments.",
    )
    return Section("ingest", title, text, (latencies(result),))


def latencies(result: Result) -> Table:
    """Latency with and without a writer beside; empty where it was not measured."""
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    ingest = result.get("ingest") or {}
    for key, name in (("idle", "index at rest"), ("during", "index being written")):
        if key not in ingest:
            continue
        held = ingest[key]
        shown = held["percentiles_ms"]
        rows.append((name, count(held["n"]), *(significant(shown[p]) for p in ("p50", "p95"))))
        notes += carried_notes(held["n"], {p: shown[p] for p in ("p50", "p95")})
    return Table.of("searches|n|P50, ms|P95, ms", "lrrr", rows, notes)
