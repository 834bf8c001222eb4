"""Figures of a scaling run: latency, memory, building and shares over the number of chunks."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from dtrag_core.bench.arms import LEGACY_ARM, OPTIMIZED_ARM
from dtrag_core.bench.scaling.growth import curves
from dtrag_core.bench.scaling.plan import BM25_ARM, EXACT_ARM, IVF_ARM
from dtrag_core.report.drawing import (
    ARM_COLORS,
    MUTED,
    STEP_COLORS,
    STYLE,
    Drawing,
    canvas,
    legend_above,
    plain_log,
    swatches,
)
from dtrag_core.report.formats import decimals
from dtrag_core.report.tables_scaling import ARM_NAMES

Result = Mapping[str, Any]
_COLORS: Final[Mapping[str, str]] = {
    BM25_ARM: STEP_COLORS["bm25"],
    EXACT_ARM: "#009e73",
    IVF_ARM: "#56b4e9",
    LEGACY_ARM: ARM_COLORS["legacy"],
    OPTIMIZED_ARM: ARM_COLORS["optimized"],
}
_ROOFLINE: Final = "bm25 roofline p95, ms"
_OTHER: Final = "#c9ced6"


def latency(result: Result) -> Drawing:
    """Draw P50 and P95 of every arm with its fitted line, and BM25's roofline."""
    with rc_context(STYLE):
        figure, panels = canvas(9, 4.2, 1, 2)
        found = curves(result["sizes"])
        for axes, share in zip(panels, ("p50", "p95"), strict=True):
            for arm, color in _COLORS.items():
                _curve(axes, result, f"{arm} {share}, ms", found[f"{arm} {share}, ms"], color)
            axes.set_title(share.upper(), color=MUTED)
            axes.set_ylabel("latency, ms (log scale)")
        roofline = [value or 0.0 for value in found[_ROOFLINE]]
        panels[1].plot(_chunks(result), roofline, ":", color=_COLORS[BM25_ARM], linewidth=1.4)
        for axes in panels:
            _scales(axes, result)
        entries = [(ARM_NAMES[arm], color) for arm, color in _COLORS.items()]
        figure.legend(
            handles=swatches(entries), loc="outside upper left", ncols=3, title=_lines_are()
        )
    alt = "P50 and P95 of legs and paths over the number of chunks, with fitted lines"
    return Drawing("scaling-latency", alt, figure)


def _lines_are() -> str:
    return "dots: measured; lines: fitted power laws; dotted: roofline of BM25"


def exponents(result: Result) -> Drawing:
    """Draw the exponent of each arm's P50 and P95 with its interval; 1 is linear growth."""
    with rc_context(STYLE):
        figure, (axes,) = canvas(9, 3.0)
        names = [f"{arm} {share}, ms" for arm in _COLORS for share in ("p50", "p95")]
        for place, name in enumerate(names):
            fit = result["fits"][name]
            if fit is None:
                continue
            of, color = fit["exponent"], _COLORS[name.split()[0]]
            axes.plot([of["ci_low"], of["ci_high"]], [place, place], color=color, linewidth=1.6)
            axes.plot(of["value"], place, "o", color=color)
            axes.annotate(
                decimals(of["value"], 2),
                (of["value"], place),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.axvline(1.0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        labels = [f"{ARM_NAMES[name.split()[0]]}, {name.split()[1][:3].upper()}" for name in names]
        axes.set_yticks(range(len(names)), labels)
        axes.set_ylim(len(names) - 0.5, -0.7)
        axes.set_xlabel("exponent of growth with its 95 % interval; 1: linear")
    return Drawing("scaling-exponents", "Exponents of growth with their intervals", figure)


def memory(result: Result) -> Drawing:
    """Draw the resident bytes of both paths over the number of chunks."""
    with rc_context(STYLE):
        figure, (axes, per_chunk) = canvas(9, 3.4, 1, 2)
        found = curves(result["sizes"])
        for arm in (LEGACY_ARM, OPTIMIZED_ARM):
            name = f"{arm} memory, bytes"
            _curve(axes, result, name, found[name], _COLORS[arm], unit=2.0**20)
            each = [size["memory"][arm]["bytes_a_chunk"] for size in result["sizes"]]
            per_chunk.plot(_chunks(result), each, "o-", color=_COLORS[arm], markersize=5)
        _scales(axes, result)
        axes.set_ylabel("resident, MiB (log scale)")
        _chunk_axis(per_chunk, result)
        per_chunk.set_ylim(bottom=0)
        per_chunk.set_ylabel("bytes a chunk")
        legend_above(axes, [(arm, _COLORS[arm]) for arm in (LEGACY_ARM, OPTIMIZED_ARM)])
    alt = "Resident memory of both paths over the number of chunks, texts apart"
    return Drawing("scaling-memory", alt, figure)


def building(result: Result) -> Drawing:
    """Draw build time and opening time over the number of chunks."""
    with rc_context(STYLE):
        figure, panels = canvas(9, 3.4, 1, 2)
        found = curves(result["sizes"])
        for axes, name in zip(panels, ("build, s", "opening, s"), strict=True):
            color = _COLORS[OPTIMIZED_ARM]
            _curve(axes, result, name, found[name], color)
            _scales(axes, result)
            axes.set_ylabel(f"{name} (log scale)")
    alt = "Seconds to build an index and to open it, over the number of chunks"
    return Drawing("scaling-building", alt, figure)


def shares(result: Result) -> Drawing:
    """Draw which share of a search each step takes, at every size, on both paths."""
    with rc_context(STYLE):
        figure, panels = canvas(9, 3.4, 1, 2)
        names: list[str] = []
        for axes, arm in zip(panels, (LEGACY_ARM, OPTIMIZED_ARM), strict=True):
            names = list(result["sizes"][0]["steps"][arm]["share"])
            bottom = np.zeros(len(result["sizes"]))
            places = range(len(bottom))
            for name in names:
                part = [size["steps"][arm]["share"][name] * 100 for size in result["sizes"]]
                axes.bar(places, part, 0.7, bottom=bottom, color=STEP_COLORS.get(name, _OTHER))
                bottom += part
            axes.set_xticks(places, [_short(n) for n in _chunks(result)])
            axes.set_title(ARM_NAMES[arm], color=MUTED)
            axes.set_xlabel("chunks")
            axes.set_ylabel("share of the work, %")
            axes.grid(visible=False, axis="x")
        entries = [(name, STEP_COLORS.get(name, _OTHER)) for name in names]
        figure.legend(handles=swatches(entries), loc="outside upper left", ncols=len(entries))
    alt = "Share of each step in the work of a search, at every number of chunks"
    return Drawing("scaling-shares", alt, figure)


def _curve(
    axes: Axes,
    result: Result,
    name: str,
    values: Sequence[float | None],
    color: str,
    unit: float = 1.0,
) -> None:
    """Draw what was measured as dots, and the fitted power law as a line."""
    chunks = _chunks(result)
    points = [(n, y / unit) for n, y in zip(chunks, values, strict=True) if y is not None]
    if points:
        axes.plot(*np.array(points).T, "o", color=color, markersize=5)
    fit = result["fits"][name]
    if fit is not None:
        line = [fit["factor"] * n ** fit["exponent"]["value"] / unit for n in chunks]
        axes.plot(chunks, line, color=color, linewidth=1.1)


def _scales(axes: Axes, result: Result) -> None:
    """Make both axes logarithmic, wide enough for what is drawn."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.lines])
    drawn = drawn[drawn > 0]
    if len(drawn):
        plain_log(axes, "y", (float(drawn.min()) / 1.4, float(drawn.max()) * 1.4))
    _chunk_axis(axes, result)


def _chunk_axis(axes: Axes, result: Result) -> None:
    chunks = _chunks(result)
    plain_log(axes, "x", (chunks[0] / 1.3, chunks[-1] * 1.3))
    axes.xaxis.set_major_locator(FixedLocator(chunks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_xlabel("chunks (log scale)")


def _short(chunks: float) -> str:
    return f"{chunks / 1e6:g}M" if chunks >= 1e6 else f"{chunks / 1e3:g}k"


def _chunks(result: Result) -> list[int]:
    return [size["chunks"] for size in result["sizes"]]
