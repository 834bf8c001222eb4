"""The section on the service beyond what it sustains, and on computing in batches."""

from typing import Any

from dtrag_core.report.formats import (
    TIMES,
    Result,
    bounds,
    count,
    decimals,
    milliseconds,
    percent,
    short,
    significant,
)
from dtrag_core.report.section import Section
from dtrag_core.report.table import Table


def beyond(result: Result) -> Section:
    """Return the section; it says so where nothing was measured."""
    stress = result.get("stress")
    title = "Beyond what it sustains"
    if stress is None:
        nothing = "Not measured in this run (dtrag bench --suite full measures it)."
        return Section("beyond", title, (nothing,), ())
    batching = stress["batching"]
    ratio, connections = batching["ratio"], batching["connections"]
    text = (
        "Arrivals at a multiple of the sustainable rate, then at a fifth of it. Goodput is what "
        "was answered within 100 ms of when it was due; what is refused should be told so soon.",
        f"Saturated by {connections} connections, the service answers {decimals(ratio['value'])} "
        f"{TIMES} as much as the same one that computes every search by itself ({bounds(ratio)}).",
    )
    return Section("beyond", title, text, (overload(result),))


def overload(result: Result) -> Table:
    """Return a row for each overload."""
    rows = [_row(each) for each in (result.get("stress") or {}).get("overload", [])]
    columns = (
        "load|goodput/s|of sustainable, %|admitted|P95, ms|refused|P95, ms|failed otherwise|"
        "recovered after, s|resident memory, KiB/s"
    )
    return Table.of(columns, "rrrrrrrrrr", rows)


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    slope = each["memory_slope"]
    moved = "\N{EN DASH}" if slope is None else _kibibytes(slope)
    return (
        f"{each['plan']['factor']:g} {TIMES} {short(each['plan']['sustainable'])}/s",
        short(each["goodput"]),
        percent(each["goodput_share"]),
        count(each["admitted"]),
        milliseconds(each["admitted_p95_ns"]),
        count(each["refused"]),
        milliseconds(each["refused_p95_ns"]),
        count(sum(each["failed"].values())),
        significant(each["recovered_s"]),
        moved,
    )


def _kibibytes(slope: dict[str, float]) -> str:
    ends = (slope["value"], slope["ci_low"], slope["ci_high"])
    value, low, high = (significant(end / 1024) for end in ends)
    return f"{value} ({low} … {high})"
