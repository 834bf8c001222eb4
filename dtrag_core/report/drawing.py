"""How every figure looks, and how it becomes SVG or PNG."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

INK, MUTED, GRID, PAPER = "#1d2733", "#5d6875", "#dfe4ea", "#fffffe"
PASS, FAIL, OPEN = "#17784f", "#b93a22", "#8a6300"
ARM_COLORS: Final[Mapping[str, str]] = {
    "legacy": "#7d858f",
    "optimized_sequential": "#12908a",
    "optimized": "#2a6fc9",
}
# Okabe and Ito (2008): told apart by the colour-blind.
STEP_COLORS: Final[Mapping[str, str]] = {
    "embed": "#cc79a7",
    "bm25": "#e69f00",
    "vector": "#0072b2",
    "fuse": "#009e73",
    "fetch": "#7d858f",
}
PART_COLORS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7d858f")

STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "figure.facecolor": PAPER,
    "legend.frameon": False,
    "svg.fonttype": "none",
}
_THEMED: Final = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    PASS: "--pass",
    FAIL: "--fail",
    OPEN: "--open",
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished figure; `name` is its file's stem, `alt` says in words what it shows."""

    name: str
    alt: str
    figure: Figure

    def svg(self) -> str:
        """Return a standalone SVG document, the same for the same figure."""
        out = io.StringIO()
        with rc_context({**STYLE, "svg.hashsalt": self.name}):
            self.figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    def inline_svg(self) -> str:
        """Return the SVG element for an HTML page: ids of its own, colours of the page's theme."""
        svg = self.svg()
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{self.name}-", svg)
        for color, variable in _THEMED.items():
            svg = svg.replace(color, f"var({variable})")
        return svg

    def png(self) -> bytes:
        """Return a PNG of 160 dots per inch."""
        out = io.BytesIO()
        with rc_context(STYLE):
            self.figure.savefig(out, format="png", dpi=160, metadata={"Software": None})
        return out.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.png(), {"width": round(96 * float(self.figure.get_figwidth()))}


def canvas(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    sharex: Literal["none", "col"] = "none",
    width_ratios: Sequence[float] | None = None,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `width` x `height` inches and its axes, row by row.

    Call it, and everything drawn on it, inside `rc_context(STYLE)`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharex=sharex,
        width_ratios=width_ratios,
        height_ratios=height_ratios,
    )
    return figure, list(grid.flat)


def plain_log(axes: Axes, which: str, span: tuple[float, float]) -> None:
    """Make an axis logarithmic over `span`, its ticks plain numbers, however short it is."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(*span)
    ratio = span[1] / max(span[0], 1e-12)
    subs = (1.0,) if ratio > 2000 else (1.0, 3.0) if ratio > 150 else (1.0, 2.0, 5.0)
    axis.set_major_locator(MaxNLocator(7) if ratio < 6 else LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def mark_line(axes: Axes, where: float, text: str, color: str = FAIL, *, across: bool) -> None:
    """Draw a dashed line at `where` with its name; `across` is horizontal."""
    if across:
        axes.axhline(where, color=color, linewidth=1, linestyle=(0, (4, 3)))
        place, move = (0.0, where), (4, 3)
        axes.annotate(
            text,
            place,
            xycoords=axes.get_yaxis_transform(),
            xytext=move,
            textcoords="offset points",
            color=color,
            fontsize=8.5,
        )
    else:
        axes.axvline(where, color=color, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            text,
            (where, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            color=color,
            fontsize=8.5,
            ha="center",
        )


def swatches(entries: Iterable[tuple[str, str]]) -> list[Patch]:
    """Return what a legend shows for names and their colours."""
    return [Patch(color=color, label=name) for name, color in entries]


def legend_above(axes: Axes, entries: Sequence[tuple[str, str]]) -> None:
    """Write names in their colours in one line above the axes, a square before each."""
    handles = [axes.plot([], [], "s", color=color, label=name)[0] for name, color in entries]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(entries),
        handletextpad=0.2,
        columnspacing=1.4,
        borderaxespad=0.2,
        borderpad=0.2,
    )
