"""Figures of the cache, memory and quality."""

import numpy as np
from matplotlib import rc_context

from dtrag_core.report.drawing import (
    ARM_COLORS,
    FAIL,
    GRID,
    INK,
    MUTED,
    PAPER,
    PART_COLORS,
    STYLE,
    Drawing,
    canvas,
    mark_line,
    swatches,
)
from dtrag_core.report.formats import Result, decimals, mebibytes, percent, target_of


def cache(result: Result) -> Drawing:
    """Draw hit rate and ceiling over the skew of the queries, and every stream of the mix."""
    found = result["cache"]
    goal = target_of(result, "cache_hit_rate")["target"]
    curve = sorted(found["curve"], key=lambda point: float(point["s"]))
    s = [point["s"] for point in curve]
    blue = ARM_COLORS["optimized"]
    with rc_context(STYLE):
        figure, (over, streams) = canvas(9, 3.2, 1, 2, width_ratios=[2, 1])
        over.plot(s, [100 * p["ceiling"] for p in curve], color=MUTED, linewidth=1.5)
        over.plot(s, [100 * p["hit_rate"] for p in curve], "o-", color=blue, linewidth=1.8)
        for key, name, color, up in (
            ("ceiling", "no limit", MUTED, 6),
            ("hit_rate", f"capacity {found['settings']['capacity']:,}", blue, -6),
        ):
            if curve:
                over.annotate(
                    name,
                    (s[-1], 100 * curve[-1][key]),
                    xytext=(6, up),
                    textcoords="offset points",
                    va="center",
                    color=color,
                )
        over.margins(x=0.02)
        over.set_xlabel("Zipf exponent s of the queries")
        over.set_ylabel("hit rate, %")
        mark_line(over, 100 * goal, f"target {percent(goal, 0)} %", across=True)
        rates = 100 * np.array(found["streams"])
        streams.plot(np.arange(1, len(rates) + 1), rates, "o", color=blue, markersize=4)
        streams.axhline(100 * found["hit_rate"]["value"], color=INK, linewidth=1)
        streams.axhline(100 * goal, color=FAIL, linewidth=1, linestyle=(0, (4, 3)))
        streams.set_title(f"each stream, s = {found['settings']['zipf_s']:g}", color=MUTED)
        streams.set_xlabel("stream")
    alt = "Cache hit rate over the skew of the queries, and of each stream of the frozen mix"
    return Drawing("cache", alt, figure)


def memory(result: Result) -> Drawing:
    """Draw the bytes of each part of the index in both arms."""
    inside = result["memory"]["inside"]
    arms = {"legacy": inside["legacy"], "optimized": inside["optimized"]}
    parts = list(dict.fromkeys(part for arm in arms.values() for part in arm))
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 2.3)
        for place, sizes in enumerate(arms.values()):
            left = 0.0
            for number, part in enumerate(parts):
                width = sizes.get(part, 0) / 2**20
                color = PART_COLORS[number % len(PART_COLORS)]
                axes.barh(place, width, 0.58, left, color=color, edgecolor=PAPER, linewidth=0.8)
                left += width
            axes.annotate(
                f"{mebibytes(sum(sizes.values()))} MiB",
                (left, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks([0, 1], ["legacy", "optimised"], color=INK)
        axes.set_ylim(1.5, -0.5)
        axes.margins(x=0.14)
        axes.set_xlim(left=0)
        axes.set_xlabel("MiB, counted by the engine")
        axes.grid(visible=False, axis="y")
        handles = swatches(
            (part, PART_COLORS[number % len(PART_COLORS)]) for number, part in enumerate(parts)
        )
        figure.legend(handles=handles, loc="outside upper left", ncols=5)
    alt = "Bytes of each part of the index in the legacy and the optimised arm"
    return Drawing("memory", alt, figure)


def quality(result: Result) -> Drawing | None:
    """Draw nDCG@10 of each method, and over the weight of BM25; None without judgments."""
    judged = result["quality"]["judged"]
    if judged is None:
        return None
    weight = judged["weight"]
    curve = sorted(weight["curve"], key=lambda point: float(point["weight"]))
    methods = sorted(judged["methods"].items(), key=lambda item: float(item[1]["ndcg_at_10"]))
    blue = ARM_COLORS["optimized"]
    with rc_context(STYLE):
        figure, (bars, over) = canvas(9, 2.9, 1, 2)
        for place, (name, of) in enumerate(methods):
            hybrid = name in ("weighted", "rrf")
            value = of["ndcg_at_10"]
            axes_color = blue if hybrid else ARM_COLORS["legacy"]
            bars.plot([0, value], [place, place], color=GRID, linewidth=2)
            bars.plot(value, place, "o", color=axes_color, markersize=8)
            bars.annotate(
                decimals(value),
                (value, place),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
            )
        bars.set_yticks(range(len(methods)), [name for name, _ in methods], color=INK)
        bars.margins(x=0.2, y=0.15)
        bars.set_xlim(left=0)
        bars.grid(visible=False, axis="y")
        bars.set_xlabel("nDCG@10, test queries")
        over.plot([p["weight"] for p in curve], [p["ndcg_at_10"] for p in curve], "o-", color=blue)
        mark_line(over, weight["chosen"], f"chosen: {weight['chosen']:g}", MUTED, across=False)
        over.set_xlabel("weight of BM25 in the sum")
        over.set_ylabel("nDCG@10, train queries")
    alt = "nDCG@10 of each method on test queries, and over the weight of BM25 on train queries"
    return Drawing("quality", alt, figure)
