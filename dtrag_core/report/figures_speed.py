"""Figures of single searches: latency of the arms, where the time goes, and the ratios."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes

from dtrag_core.bench.histogram import Histogram
from dtrag_core.report.drawing import (
    ARM_COLORS,
    GRID,
    INK,
    MUTED,
    PAPER,
    STEP_COLORS,
    STYLE,
    Drawing,
    canvas,
    legend_above,
    mark_line,
    plain_log,
    swatches,
)
from dtrag_core.report.formats import ARMS, TIMES, Result, decimals, significant, target_of
from dtrag_core.report.tables_speed import ratios


def ecdf(result: Result) -> Drawing:
    """Draw the share of searches answered within a time, and its tail, for each arm."""
    with rc_context(STYLE):
        figure, (body, tail) = canvas(9, 3.6, 1, 2)
        low, high = np.inf, 0.0
        for arm in ARMS:
            histogram = Histogram.from_json(result["modes"][arm]["histogram"])
            x = np.array(histogram.thresholds()) / 1e6
            below = np.cumsum(histogram.counts) / histogram.count
            low, high = min(low, histogram.min / 1e6), max(high, histogram.max / 1e6)
            color = ARM_COLORS[arm]
            body.step(x, below, where="post", color=color, linewidth=1.7)
            tail.step(x[:-1], 1 - below[:-1], where="post", color=color, linewidth=1.7)
        span = (low * 0.95, high * 1.05)
        for axes in (body, tail):
            plain_log(axes, "x", span)
            axes.set_xlabel("latency, ms (log scale)")
        body.set_ylim(0, 1.02)
        body.set_ylabel("share of searches within")
        tail.set_yscale("log")
        tail.set_ylabel("share of searches slower (log scale)")
        legend_above(body, [(name, ARM_COLORS[arm]) for arm, name in ARMS.items()])
        tail.set_title("the tail", color=MUTED)
    alt = "Share of searches answered within a latency, one curve for each arm, and the tail"
    return Drawing("latency-ecdf", alt, figure)


def timelines(result: Result) -> Drawing:
    """Draw the steps of a typical and of a P95 search of each arm, a lane for each thread."""
    labels = {"typical": "typical search", "p95": "P95 search"}
    with rc_context(STYLE):
        lanes = {arm: _lanes_of(result["modes"][arm]["timeline"]) for arm in ARMS}
        height = 0.42 * sum(lanes.values()) + 0.42 * len(ARMS) + 0.9
        relative = [0.4 + count for count in lanes.values()]
        figure, grid = canvas(9, height, len(ARMS), 2, sharex="col", height_ratios=relative)
        names: list[str] = []
        for axes, (arm, label) in zip(
            grid, [(arm, label) for arm in ARMS for label in labels], strict=True
        ):
            found = [one for one in result["modes"][arm]["timeline"] if one["label"] == label]
            total = f": {significant(found[0]['total_ms'])} ms" if found else ": not recorded"
            axes.set_title(f"{ARMS[arm]}, {labels[label]}{total}", color=INK)
            for one in found:
                names += _lanes(axes, one)
            axes.set_ylim(lanes[arm] - 0.5, -0.5)
            axes.grid(visible=False, axis="y")
        for axes in grid[-2:]:
            axes.set_xlabel("ms from the start of the search")
            axes.set_xlim(left=0)
        shown = swatches((name, _step_color(name)) for name in dict.fromkeys(names))
        figure.legend(handles=shown, loc="outside upper left", ncols=max(len(shown), 1))
    alt = "When each step of a typical and of a P95 search ran, one lane for each thread"
    return Drawing("timeline", alt, figure)


def _lanes_of(timeline: Sequence[Mapping[str, Any]]) -> int:
    """Return on how many threads the searches of an arm ran at most."""
    return max((len({span["thread"] for span in one["spans"]}) for one in timeline), default=1)


def _step_color(name: str) -> str:
    return STEP_COLORS.get(name, "#56b4e9")


def _lanes(axes: Axes, timeline: Mapping[str, Any]) -> list[str]:
    """Draw one search's spans; return their names."""
    spans = timeline["spans"]
    threads = sorted({span["thread"] for span in spans})
    for span in spans:
        start, end = span["start_us"] / 1000, span["end_us"] / 1000
        lane = threads.index(span["thread"])
        axes.barh(
            lane,
            end - start,
            left=start,
            height=0.62,
            color=_step_color(span["name"]),
            edgecolor=PAPER,
            linewidth=0.6,
        )
    axes.set_yticks(range(len(threads)), [f"thread {thread}" for thread in threads])
    return [span["name"] for span in spans]


def forest(result: Result) -> Drawing:
    """Draw every latency ratio with its interval, against the target and the noise floor."""
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 0.36 * len(ratios(result)) + 1.3)
        draw_forest(axes, result)
    alt = "Latency ratios with 95 % intervals against the target and the noise floor"
    return Drawing("speedup-forest", alt, figure)


def draw_forest(axes: Axes, result: Result) -> None:
    """Draw the ratios of `forest` on axes of the caller's."""
    rows = ratios(result)
    goal = target_of(result, "parallel_speedup")["target"]
    bound = result["speedup"]["overlap"]["bound"]
    floor = result["noise_floor"]["floor"]
    ends = [goal, bound, 1.0]
    for place, (_, label, ratio) in enumerate(rows):
        value = ratio["value"]
        low = value if ratio["ci_low"] is None else ratio["ci_low"]
        high = value if ratio["ci_high"] is None else ratio["ci_high"]
        ends += [low, high]
        color = {"whole": ARM_COLORS["optimized"], "noise": MUTED}.get(label, INK)
        axes.plot([low, high], [place, place], color=color, linewidth=2.2)
        axes.plot(value, place, "o", color=color, markersize=6)
        axes.annotate(
            decimals(value),
            (1.0, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
        )
    axes.axvspan(1 - floor, 1 + floor, color=GRID, zorder=0)
    axes.axvline(1, color=MUTED, linewidth=0.9)
    mark_line(axes, goal, f"target {goal:g} {TIMES}", across=False)
    mark_line(axes, bound, f"overlap at most {significant(bound)} {TIMES}", MUTED, across=False)
    axes.set_yticks(range(len(rows)), [label for _, label, _ in rows], color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.6)
    plain_log(axes, "x", (min(ends) * 0.97, max(ends) * 1.03))
    axes.set_xlabel("ratio of mean latencies (log scale); above 1 is faster; grey: noise floor")
    axes.grid(visible=False, axis="y")


def rounds(result: Result) -> Drawing:
    """Draw legacy / optimised of every single round, process by process."""
    whole = result["speedup"]["end_to_end"]
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 2.5)
        start, ticks = 0, []
        for number, process in enumerate(result["speedup"]["rounds"]):
            means = process["arms"]
            ratio = np.array(means["legacy"]) / np.array(means["optimized"])
            places = np.arange(start, start + len(ratio))
            color = (ARM_COLORS["optimized"], ARM_COLORS["optimized_sequential"])[number % 2]
            axes.plot(places, ratio, "o", color=color, markersize=4)
            ticks.append((float(places.mean()), f"process {process['process']}"))
            start += len(ratio)
        axes.axhline(whole["value"], color=INK, linewidth=1)
        if whole["ci_low"] is not None and whole["ci_high"] is not None:
            axes.axhspan(whole["ci_low"], whole["ci_high"], color=GRID, zorder=0)
        axes.axhline(1, color=MUTED, linewidth=0.9)
        axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(f"legacy / optimised, {TIMES}")
    alt = "The ratio of the arms in every round, with the mean and its interval"
    return Drawing("rounds", alt, figure)
