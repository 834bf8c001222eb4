"""Figures of the service under load: the rates that were tried, and the load at the target rate."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context

from dtrag_core.bench.histogram import Histogram
from dtrag_core.report.drawing import (
    ARM_COLORS,
    FAIL,
    GRID,
    INK,
    MUTED,
    OPEN,
    PASS,
    STYLE,
    Drawing,
    canvas,
    legend_above,
    mark_line,
    plain_log,
)
from dtrag_core.report.formats import Result, short, target_of
from dtrag_core.report.tables_speed import outcome

_FAR = 8
_MARKS = {"holds": ("o", PASS), "fails": ("X", FAIL), "saturated": ("^", OPEN)}


def capacity(result: Result) -> Drawing:
    """Draw the P95 at each rate that was tried, the service level, and the bracket."""
    found = result["capacity"]
    slo, wanted = (target_of(result, m)["target"] for m in ("p95_latency_ms", "throughput_qps"))
    known = [step["p95_ns"] / 1e6 for step in found["steps"] if step["p95_ns"] is not None]
    low, high = min([*known, slo]) / 1.5, max([*known, slo]) * 2.2
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.7)
        rates = [step["rate"] for step in found["steps"]] or [wanted]
        if max(rates) / _FAR < wanted < min(rates) * _FAR:
            rates.append(wanted)
        plain_log(axes, "y", (low, high))
        plain_log(axes, "x", (min(rates) / 1.08, max(rates) * 1.08))
        if found["low"] is not None and found["high"] is not None:
            axes.axvspan(found["low"], found["high"], color=GRID, zorder=0)
        for step in found["steps"]:
            mark, color = _MARKS[outcome(step)]
            p95 = high / 1.25 if step["p95_ns"] is None else step["p95_ns"] / 1e6
            fill = "none" if step["p95_ns"] is None else color
            axes.plot(step["rate"], p95, mark, color=color, markersize=8, markerfacecolor=fill)
        mark_line(axes, slo, f"service level: P95 {slo:g} ms", across=True)
        if wanted in rates:
            mark_line(axes, wanted, f"target {wanted:g}/s", MUTED, across=False)
        else:
            side = "left" if wanted < min(rates) else "right"
            axes.set_title(f"target {wanted:g}/s: far to the {side}", color=MUTED, loc="right")
        for end, name, side in ((found["low"], "holds", "right"), (found["high"], "fails", "left")):
            if end is not None:
                axes.annotate(
                    f"{name} at {short(end)}",
                    (end, low),
                    xytext=(-4 if side == "right" else 4, 4),
                    textcoords="offset points",
                    ha=side,
                    color=INK,
                    fontsize=8.5,
                )
        axes.set_xlabel("open-loop arrivals per second (log scale)")
        axes.set_ylabel("P95 latency, ms (log scale)")
        names = [name for name in _MARKS if any(outcome(s) == name for s in found["steps"])]
        handles = [
            axes.plot([], [], _MARKS[name][0], color=_MARKS[name][1], label=name)[0]
            for name in names
        ]
        if None in [step["p95_ns"] for step in found["steps"]]:
            hollow_mark = axes.plot([], [], "o", color=INK, markerfacecolor="none")[0]
            hollow_mark.set_label("hollow: failed requests reach into the P95")
            handles.append(hollow_mark)
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.05), ncols=4)
    alt = "P95 latency at every open-loop rate tried, against the service level"
    return Drawing("capacity", alt, figure)


def load(result: Result) -> Drawing:
    """Draw each segment's median and slowest, with what it carries in between."""
    slo = target_of(result, "p95_latency_ms")["target"]
    parts = [Histogram.from_json(one["histogram"]) for one in result["load"]["segments"]]
    failed = [sum(one["errors"].values()) for one in result["load"]["segments"]]
    places = np.arange(1, len(parts) + 1)
    blue = ARM_COLORS["optimized"]
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.0)
        medians = _ms([part.shown(0.5, lost) for part, lost in zip(parts, failed, strict=True)])
        carried = _ms([part.shown(0.95, lost) for part, lost in zip(parts, failed, strict=True)])
        slowest = _ms([part.max if part.count else None for part in parts])
        axes.vlines(places, medians, slowest, color=GRID, linewidth=3)
        axes.plot(places, medians, "o", color=blue, markersize=5)
        axes.plot(places, carried, "D", color=blue, markerfacecolor="none", markersize=6)
        axes.plot(places, slowest, "_", color=INK, markersize=10)
        known = np.concatenate([medians, slowest, [slo]])
        plain_log(axes, "y", (float(np.nanmin(known)) / 1.5, float(np.nanmax(known)) * 1.7))
        mark_line(axes, slo, f"target {slo:g} ms", across=True)
        entries = [("median", blue), ("slowest", INK)]
        if not np.isnan(carried).all():
            entries.insert(1, ("P95 (diamond)", blue))
        legend_above(axes, entries)
        axes.set_xticks(places)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("segment")
        axes.set_ylabel("latency, ms (log scale)")
    alt = "Median and slowest answer of each segment of the load, against the target"
    return Drawing("load-segments", alt, figure)


def _ms(values: Sequence[int | None]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.array([np.nan if value is None else value / 1e6 for value in values])
