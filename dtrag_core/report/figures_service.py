"""Figures of a load on the service: what came and went, how long it took, what it held."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from numpy.typing import NDArray

from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_result import Segment
from dtrag_core.report.drawing import (
    ARM_COLORS,
    FAIL,
    GRID,
    INK,
    OPEN,
    PART_COLORS,
    PASS,
    STYLE,
    Drawing,
    canvas,
    legend_above,
    mark_line,
    plain_log,
)
from dtrag_core.report.formats import Result
from dtrag_core.targets import PERFORMANCE_TARGETS

SLO_MS: Final = PERFORMANCE_TARGETS["p95_latency_ms"].bound
_BLUE: Final = ARM_COLORS["optimized"]


def stream_segments(stream: Mapping[str, Any]) -> list[Segment]:
    """Return the segments of one stream of a result."""
    return [Segment.from_json(segment) for segment in stream["segments"]]


def merged_segments(result: Result, *, searches: bool = False) -> list[Segment]:
    """Return the segments of all streams side by side; of `searches` alone, if there are any."""
    streams = [s for s in result["streams"] if s["name"] != "batch"] if searches else []
    chosen = [stream_segments(stream) for stream in streams or result["streams"]]
    return [Segment.merge(parts) for parts in zip(*chosen, strict=True)]


def _edges(result: Result, count: int) -> NDArray[np.float64]:
    return np.linspace(0, result["workload"]["seconds"], count + 1)


def arrivals(result: Result) -> Drawing:
    """Draw arrivals, answers, refusals and failures, per s, over time."""
    parts = merged_segments(result)
    edges = _edges(result, len(parts))
    length = edges[1] - edges[0]
    kinds = sorted({kind for part in parts for kind in part.errors})
    colors = {kind: PART_COLORS[place % len(PART_COLORS)] for place, kind in enumerate(kinds)}
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.0)
        answered = np.array([part.histogram.count for part in parts]) / length
        below = np.zeros(len(parts))
        for name, values, color in (
            ("answered", answered, PASS),
            *(
                (kind, np.array([part.errors.get(kind, 0) for part in parts]) / length, color)
                for kind, color in colors.items()
            ),
        ):
            axes.stairs(below + values, edges, baseline=below, fill=True, color=color, label=name)
            below = below + values
        if result["generator"]["open_loop"]:
            points = np.array(result["workload"]["shape"])
            axes.plot(points[:, 0], points[:, 1], color=INK, linewidth=1, label="planned")
        axes.set_ylim(0, None)
        axes.set_xlabel("seconds from the start, by when a request was due")
        axes.set_ylabel("requests per second")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=6)
    alt = "Requests per second over time: planned, answered, and failed by kind"
    return Drawing("arrivals", alt, figure)


def latencies(result: Result) -> Drawing:
    """Draw percentiles of each segment over time, of all that were answered; refusals beside."""
    parts = merged_segments(result, searches=True)
    edges = _edges(result, len(parts))
    middle = (edges[1:] + edges[:-1]) / 2
    refused = [Histogram.merge(part.refused.values()) for part in parts]
    lines = [
        ("median", _BLUE, [part.histogram.shown(0.5) for part in parts]),
        ("P95", OPEN, [part.histogram.shown(0.95) for part in parts]),
        ("slowest", INK, [p.histogram.max if p.histogram.count else None for p in parts]),
        ("refused: median", FAIL, [part.shown(0.5) for part in refused]),
    ]
    drawn = [(name, color, _ms(values)) for name, color, values in lines]
    drawn = [(name, color, ms) for name, color, ms in drawn if not np.isnan(ms).all()]
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.0)
        for _, color, ms in drawn:
            axes.plot(middle, ms, "o-", color=color, markersize=3, linewidth=1)
        known = np.concatenate([*(ms for _, _, ms in drawn), [SLO_MS]])
        plain_log(axes, "y", (float(np.nanmin(known)) / 1.5, float(np.nanmax(known)) * 1.7))
        mark_line(axes, SLO_MS, f"target {SLO_MS:g} ms", across=True)
        legend_above(axes, [(name, color) for name, color, _ in drawn])
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel("seconds from the start")
        axes.set_ylabel("latency, ms (log scale)")
    alt = "Median, P95 and slowest answer of each segment over time, against the target"
    return Drawing("latency-over-time", alt, figure)


def distribution(result: Result) -> Drawing:
    """Draw how latencies are distributed, answered and refused apart."""
    whole = Segment.merge(merged_segments(result, searches=True))
    shown = [
        ("answered", _BLUE, whole.histogram),
        ("refused", FAIL, Histogram.merge(whole.refused.values())),
    ]
    shown = [each for each in shown if each[2].count]
    low = min([h.min for _, _, h in shown] or [10**6]) / 1e6
    high = max([h.max for _, _, h in shown] or [10**6]) / 1e6
    edges = np.geomspace(max(low / 1.2, 1e-3), max(high * 1.2, SLO_MS * 1.2), 60)
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.0)
        for _, color, histogram in shown:
            above = [histogram.count_above(int(edge * 1e6)) for edge in edges]
            counts = np.array([before - after for before, after in pairwise(above)])
            axes.stairs(counts, edges, color=color, fill=True, alpha=0.75)
        plain_log(axes, "x", (float(edges[0]), float(edges[-1])))
        mark_line(axes, SLO_MS, f"target {SLO_MS:g} ms", across=False)
        legend_above(axes, [(name, color) for name, color, _ in shown])
        axes.set_xlabel("latency, ms (log scale)")
        axes.set_ylabel("requests")
    return Drawing("latency-distribution", "Distribution of latencies", figure)


def steps(result: Result) -> Drawing:
    """Draw the P95 at each level of a rising load."""
    found = result["steps"]["levels"]
    known = [level["p95_ns"] / 1e6 for level in found if level["p95_ns"] is not None]
    low, high = min([*known, SLO_MS]) / 1.5, max([*known, SLO_MS]) * 2.2
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.0)
        plain_log(axes, "y", (low, high))
        for level in found:
            lost = level["p95_ns"] is None
            mark, color = ("o", PASS) if level["holds"] else ("X", FAIL)
            p95 = high / 1.25 if lost else level["p95_ns"] / 1e6
            fill = "none" if lost else color
            axes.plot(level["rate"], p95, mark, color=color, markersize=8, markerfacecolor=fill)
        mark_line(axes, SLO_MS, f"service level: P95 {SLO_MS:g} ms", across=True)
        axes.set_xlabel("open-loop arrivals per second; hollow: failures reach into the P95")
        axes.set_ylabel("P95 latency, ms (log scale)")
    return Drawing("steps", "P95 latency at each level of the load", figure)


def usage(result: Result) -> Drawing:
    """Draw resident memory, open descriptors and processor share of the service over time."""
    held = result["service"]["usage"]
    seconds = np.array(held["seconds"])
    with rc_context(STYLE):
        figure, (memory, files) = canvas(9, 2.6, columns=2)
        memory.plot(seconds, np.array(held["resident_bytes"]) / 2**20, color=_BLUE)
        memory.set_title("resident memory, MiB")
        files.plot(seconds, held["descriptors"], color=_BLUE)
        files.set_title("open descriptors")
        for axes in (memory, files):
            axes.set_xlabel("seconds from the start")
            axes.grid(visible=True, color=GRID)
    return Drawing("usage", "Resident memory and descriptors of the service over time", figure)


def _ms(values: Sequence[int | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value / 1e6 for value in values])
