"""Tables of latency, speed-up, capacity and load."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dtrag_core.bench.histogram import CARRIED_FROM, Histogram
from dtrag_core.report.formats import (
    ARMS,
    NOTHING,
    OTHER_ARMS,
    TIMES,
    Result,
    bounds,
    count,
    decimals,
    milliseconds,
    percent,
    short,
    significant,
    target_of,
)
from dtrag_core.report.table import Table

_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def carried_notes(n: int, percentiles: Mapping[str, float | None]) -> Iterator[str]:
    """Say why each percentile that is not shown is not; `n` samples were taken."""
    for name, value in percentiles.items():
        needed = CARRIED_FROM[_PERCENTILES[name]]
        if value is None and n < needed:
            yield f"{NOTHING}  {name.upper()} is shown from {needed:,} samples on; here are {n:,}."
        elif value is None:
            yield f"{NOTHING}  {name.upper()} lies among requests that never came back."


def latency(result: Result) -> Table:
    """Percentiles of every arm of the rounds."""
    modes: Mapping[str, Any] = result["modes"]
    others = [arm for arm in modes if arm not in ARMS]
    names = {**ARMS, **OTHER_ARMS}
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for arm in (*ARMS, *others):
        mode = modes[arm]
        shown = mode["percentiles_ms"]
        share = mode.get("overlapped_share")
        on = [name for name, is_on in mode["switches"].items() if is_on]
        name = names.get(arm, arm.replace("_", " "))
        rows.append(
            (
                name,
                " + ".join(on) or "none",
                count(mode["n"]),
                significant(mode["mean_ms"]),
                *(significant(shown[p]) for p in _PERCENTILES),
                significant(max(mode.get("cold_first_ms", ()), default=None)),
                percent(share),
            )
        )
        notes += carried_notes(mode["n"], shown)
    columns = (
        "arm|switches on|searches|mean, ms|P50, ms|P95, ms|P99, ms|slowest cold, ms|"
        "legs overlapped, %"
    )
    notes.append(
        "Cold is the first search in a fresh process; the arm that comes first pays for the files."
    )
    return Table.of(columns, "llrrrrrrr", rows, notes)


def ratios(result: Result) -> Sequence[tuple[str, str, Mapping[str, Any]]]:
    """Return every latency ratio as (quotient, label, interval), in the order of a report."""
    speedup = result["speedup"]
    steps = [
        (f"{before['rung']} / with {rung['rung']} too", f"adding {rung['rung']}", rung["step"])
        for before, rung in pairwise(speedup["ladder"])
    ]
    without = [
        ("all but this / all", f"leaving out {one['switch']}", one["ratio"])
        for one in speedup["leave_one_out"]
    ]
    return [
        ("legacy / optimised", "whole", speedup["end_to_end"]),
        ("sequential / optimised", "scheduling alone", speedup["scheduling"]),
        *steps,
        *without,
        ("optimised / the same again", "noise", result["noise_floor"]["a_a"]),
    ]


def ladder(result: Result) -> Table:
    """Ratios of mean latency with their intervals."""
    rows = (
        (label, quotient, decimals(ratio["value"]), bounds(ratio), count(ratio["n"]))
        for quotient, label, ratio in ratios(result)
    )
    return Table.of(f"what|ratio of|ratio, {TIMES}|95 % interval|rounds", "llrrr", rows)


def legs(result: Result) -> Table:
    """Mean cost of each step when they run one after the other."""
    costs: Mapping[str, float] = result["speedup"]["overlap"]["legs_us"]
    total = sum(costs.values())
    rows = ((name, significant(us), percent(us / total)) for name, us in costs.items())
    return Table.of("step|mean, µs|share, %", "lrr", rows)


def outcome(step: Mapping[str, Any]) -> str:
    """Return what one rate that was tried showed: holds, fails or saturated."""
    if step["holds"]:
        return "holds"
    return "saturated" if step["saturated"] else "fails"


def capacity(result: Result) -> Table:
    """List the rates that were tried, in the order they were."""
    rows = (
        (
            str(number),
            short(step["rate"]),
            short(step["achieved"]),
            milliseconds(step["p95_ns"]),
            percent(step["failed"] / step["sent"] if step["sent"] else None, 2),
            percent(step["growth"], 1),
            outcome(step),
        )
        for number, step in enumerate(result["capacity"]["steps"], 1)
    )
    columns = "run|rate, 1/s|answered, 1/s|P95, ms|failed, %|backlog growth, %|outcome"
    steps = result["capacity"]["steps"]
    notes = (
        f"{NOTHING}  The failed requests reach into the P95."
        for step in steps
        if step["p95_ns"] is None
    )
    return Table.of(columns, "rrrrrrl", rows, notes)


def segments(result: Result) -> Table:
    """Describe the load, segment by segment."""
    slo_ms = target_of(result, "p95_latency_ms")["target"]
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for number, segment in enumerate(result["load"]["segments"], 1):
        histogram = Histogram.from_json(segment["histogram"])
        failed = sum(segment["errors"].values())
        above = histogram.count_above(int(slo_ms * 1e6)) + failed
        shown = {name: histogram.shown(q, failed) for name, q in _PERCENTILES.items()}
        rows.append(
            (
                str(number),
                count(segment["sent"]),
                count(failed),
                count(above),
                percent(above / segment["sent"] if segment["sent"] else None, 2),
                milliseconds(shown["p50"]),
                milliseconds(shown["p95"]),
                milliseconds(histogram.max if histogram.count else None),
            )
        )
        del shown["p99"]
        notes += carried_notes(segment["sent"], shown)
    columns = (
        f"segment|sent|failed|failed or over {slo_ms:g} ms|their share, %|P50, ms|P95, ms|"
        "slowest, ms"
    )
    first_of_a_kind = {note.split(";")[0]: note for note in reversed(notes)}
    return Table.of(columns, "rrrrrrrr", rows, first_of_a_kind.values())


def generator(result: Result) -> Table:
    """How well the generator kept its schedule, in the load and alone."""
    load = result["load"]
    lag, alone = Histogram.from_json(load["lag"]), load["self_test"]
    rows = [
        (
            "in the load",
            short(load["plan"]["rate"]),
            milliseconds(lag.shown(0.5)),
            milliseconds(lag.percentile(0.9)),
            milliseconds(lag.max),
            percent(load["cpu_share"]),
            count(sum(load["errors"].values())),
        ),
        (
            "alone, self-test",
            short(alone["rate"]),
            milliseconds(alone["lag_p50_ns"]),
            milliseconds(alone["lag_p90_ns"]),
            NOTHING,
            percent(alone["cpu_share"]),
            count(alone["failed"]),
        ),
    ]
    columns = "where|rate, 1/s|lag P50, ms|lag P90, ms|lag max, ms|CPU, % of a core|failed"
    notes = (f"{NOTHING}  The self-test does not keep its largest lag.",)
    return Table.of(columns, "lrrrrrr", rows, notes)
