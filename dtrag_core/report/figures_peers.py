"""Figures of a comparison of engines: what they find against how long it takes."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes

from dtrag_core.report.drawing import (
    ARM_COLORS,
    INK,
    MUTED,
    PART_COLORS,
    STYLE,
    Drawing,
    canvas,
    plain_log,
)

_SHIFTS: Final = ((6, 4), (6, -10), (6, 14), (6, -20))


def recall_latency(result: Mapping[str, Any]) -> Drawing | None:
    """Draw the vector leg's recall@10 over the latency of a hybrid search; None if unmeasured."""
    title = "recall@10 of the vector leg"
    alt = "Recall of each engine's vector leg against exact search, over its hybrid latency"
    return _scatter(result, "hybrid", "vector_recall_at_10", "peers-recall-latency", title, alt)


def quality_latency(result: Mapping[str, Any], comparison: str = "hybrid") -> Drawing | None:
    """Draw nDCG@10 over latency, or without judgments overlap@10; None if unmeasured."""
    found = result["comparisons"].get(comparison)
    if found is None:
        return None
    judged = all(of["ndcg_at_10"] is not None for of in found["quality"].values())
    measure = "ndcg_at_10" if judged else "overlap_at_10"
    title = "nDCG@10" if judged else "overlap@10 with exact search"
    alt = f"{title} of each engine's {comparison} search over its latency"
    return _scatter(result, comparison, measure, f"peers-quality-{comparison}", title, alt)


def _scatter(
    result: Mapping[str, Any], comparison: str, measure: str, name: str, title: str, alt: str
) -> Drawing | None:
    found = result["comparisons"].get(comparison)
    if found is None:
        return None
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.8)
        ends = []
        for number, (engine, speed) in enumerate(found["engines"].items()):
            height = found["quality"][engine][measure]
            shown = speed["percentiles_ms"]
            low, high = shown["p50"] or speed["mean_ms"], shown["p95"]
            if height is None:
                continue
            ends += [low, high or low]
            color = _color(engine, number)
            if high is not None:
                axes.plot([low, high], [height, height], color=color, linewidth=1.4)
                axes.plot(high, height, "|", color=color, markersize=9)
            axes.plot(low, height, "o", color=color, markersize=7)
            _label(axes, engine, low, height, number)
        if not ends:
            return None
        plain_log(axes, "x", (min(ends) * 0.8, max(ends) * 1.6))
        axes.margins(y=0.18)
        axes.set_xlabel("latency of one search, ms (log scale); dot: P50, bar: P95")
        axes.set_ylabel(title)
        axes.set_title(f"{result['dataset']['spec']}, {comparison}", color=MUTED)
    return Drawing(name, alt, figure)


def _color(engine: str, number: int) -> str:
    own = engine.startswith("dtrag")
    return ARM_COLORS["optimized"] if own else PART_COLORS[1 + number % (len(PART_COLORS) - 1)]


def _label(axes: Axes, engine: str, x: float, y: float, number: int) -> None:
    axes.annotate(
        engine,
        (x, y),
        xytext=_SHIFTS[number % len(_SHIFTS)],
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
    )
