"""Tables of a load on the service."""

from typing import Final

from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.soak import SoakResult
from dtrag_core.report.formats import NOTHING, Result, count, milliseconds, percent, short, span
from dtrag_core.report.table import Table


def streams(result: Result) -> Table:
    """Return a row a stream: what was sent, what came back and how soon."""
    rows = []
    for stream in result["streams"]:
        errors = stream["errors"]
        refused = sum(n for kind, n in errors.items() if kind in stream["refused"])
        failed = sum(errors.values())
        admitted, all_sent = stream["admitted_percentiles_ms"], stream["percentiles_ms"]
        rows.append(
            (
                stream["name"],
                count(stream["sent"]),
                count(stream["sent"] - failed),
                count(refused),
                count(failed - refused),
                short(stream["achieved"]),
                *(short(admitted[name]) for name in ("p50", "p95", "p99")),
                short(all_sent["p95"]),
            )
        )
    columns = (
        "stream|sent|answered|refused|failed otherwise|answers/s|P50, ms|P95, ms|P99, ms|"
        "P95 of all sent, ms"
    )
    notes = ["A batch is one request: its time, to the end of its job, is no search's latency."]
    batches = any(stream["name"] == "batch" for stream in result["streams"])
    return Table.of(columns, "l" + "r" * 9, rows, notes if batches else ())


def failures(result: Result) -> Table:
    """Return a row a kind of failure, with how long refusals took."""
    rows = [
        (
            stream["name"],
            kind,
            count(n),
            percent(n / stream["sent"], 2),
            short(stream["refused"].get(kind, {}).get("p50")),
            short(stream["refused"].get(kind, {}).get("p95")),
        )
        for stream in result["streams"]
        for kind, n in stream["errors"].items()
    ]
    return Table.of("stream|kind|requests|%|P50, ms|P95, ms", "llrrrr", rows)


def generator(result: Result) -> Table:
    """Return what the generator noted about itself."""
    told = result["generator"]
    lag = None if told["lag"] is None else Histogram.from_json(told["lag"])
    test = told["self_test"]
    cores = result["service"]["cores"]
    apart = f"service {cores['service']}, generator {cores['generator']}" if cores else NOTHING
    rows = [
        ("processes", count(told["processes"])),
        ("arrivals", "open loop" if told["open_loop"] else "closed loop"),
        ("cores", apart),
        ("left late, P50 / P90, ms", _pair(lag)),
        ("processor share, busiest process, %", percent(told["cpu_share"])),
        (
            "alone at twice the highest rate: left late, P90, ms",
            milliseconds(test["lag_p90_ns"]) if test else NOTHING,
        ),
        ("host stalls", count(len(told["stalls_ns"]))),
        ("in the way of a verdict", "; ".join(told["obstacles"]) or "nothing"),
    ]
    return Table.of("generator|value", "ll", rows)


def _pair(lag: Histogram | None) -> str:
    if lag is None:
        return NOTHING
    return f"{milliseconds(lag.percentile(0.5))} / {milliseconds(lag.percentile(0.9))}"


def http_cost(result: Result) -> Table:
    """Return the service beside an endpoint that finds nothing, measured in the same run."""
    cost = result["http_cost"]
    names = {"noop": "endpoint that finds nothing", "service": "service"}
    rows = [
        (
            name,
            short(cost[key]["closed_rate"]),
            short(cost[key]["open"]["percentiles_ms"]["p50"]),
            short(cost[key]["open"]["percentiles_ms"]["p95"]),
        )
        for key, name in names.items()
    ]
    share = f"The service reaches {percent(cost['share'])} %"
    if (interval := cost.get("share_interval")) is not None:
        low, high = percent(interval["ci_low"]), percent(interval["ci_high"])
        share += f" [{low}, {high}]"
    share += " of what HTTP alone allows."
    connections = cost["noop"]["connections"]
    rate = cost["noop"]["open"]["rate"]
    columns = (
        f"|saturated by {connections} connections, answers/s|P50 at {rate:g}/s, ms|"
        f"P95 at {rate:g}/s, ms"
    )
    return Table.of(columns, "lrrr", rows, (share,))


_SLOPES: Final = {
    "resident_bytes": ("resident memory, KiB/h", 3600 / 1024),
    "anonymous_bytes": ("of it anonymous, KiB/h", 3600 / 1024),
    "descriptors": ("open descriptors, 1/h", 3600.0),
    "median_ns": ("median latency, ms/h", 3600 / 1e6),
}


def slopes(result: SoakResult) -> Table:
    """Return what changed over a soak: slopes with intervals, and whether they hold 0."""
    rows = []
    for name, slope in result.slopes.items():
        said, unit = _SLOPES[name]
        low, high = short(slope.low * unit), short(slope.high * unit)
        told = "holds 0" if 0.0 in slope else "MOVES"
        rows.append((said, short(slope.value * unit), span(low, high), count(slope.n), told))
    load = result.load
    notes = (
        f"{load.sent:,} requests at {load.plan.rate:g}/s over {load.plan.seconds:g} s, "
        f"{load.failed:,} failed {load.errors or ''}".rstrip(),
    )
    return Table.of("slope of|value|95 % interval, all at once|n|", "lrrrl", rows, notes)
