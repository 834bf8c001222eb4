"""The top of a report as one picture: python -m dtrag_core.report.picture RESULT PICTURE."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtrag_core.bench.results import read_result
from dtrag_core.report.drawing import FAIL, GRID, INK, MUTED, OPEN, PASS, STYLE, Drawing
from dtrag_core.report.figures_speed import draw_forest
from dtrag_core.report.formats import Result
from dtrag_core.report.verdicts import summary, verdicts

_COLORS = {"PASS": PASS, "FAIL": FAIL, "INCONCLUSIVE": OPEN}
_COLUMNS = (("name", 0.0), ("target", 0.19), ("value", 0.37), ("interval", 0.56), ("verdict", 0.8))
_HEADINGS = ("target", "promised", "measured", "95 % interval", "verdict")


def picture(result: Result) -> Drawing:
    """Draw the verdict table above the latency ratios."""
    data = result["dataset"]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 7.2), layout="constrained")
        top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=[1.0, 1.1]))
        top.suptitle(summary(result), x=0.005, ha="left", fontsize=14, fontweight="bold")
        about = f"{data['spec']}, {data['chunks']:,} chunks, run {result['run_id']}"
        _verdict_rows(top.subplots(), result, about)
        draw_forest(bottom.subplots(), result)
    return Drawing("report", "The verdict table and the latency ratios of a run", figure)


def _verdict_rows(axes: Axes, result: Result, title: str) -> None:
    axes.set_axis_off()
    axes.set_title(title, color=MUTED)
    rows = verdicts(result)
    axes.set_ylim(len(rows) + 0.2, -0.8)
    axes.set_xlim(0, 1)
    for (_, x), heading in zip(_COLUMNS, _HEADINGS, strict=True):
        axes.text(x, -0.35, heading, color=MUTED, fontsize=9)
    for y, row in enumerate(rows):
        axes.axhline(y + 0.02, color=GRID, linewidth=0.8)
        for column, x in _COLUMNS:
            bold = column in ("value", "verdict")
            color = _COLORS[row.verdict] if column == "verdict" else INK
            text = getattr(row, column)
            weight = "bold" if bold else "normal"
            axes.text(x, y + 0.65, text, color=color, fontweight=weight, fontsize=10.5)


def main() -> None:
    """Draw the picture named on the command line; its suffix says SVG or PNG."""
    parser = argparse.ArgumentParser(
        prog="python -m dtrag_core.report.picture", description=__doc__
    )
    parser.add_argument("result", type=Path, help="result.json, or the folder of a run")
    parser.add_argument("picture", type=Path, help="file to write: .png or .svg")
    given = parser.parse_args()
    if given.picture.suffix not in (".png", ".svg"):
        parser.error(f"a picture ends in .png or .svg, not {given.picture.suffix!r}")
    drawn = picture(read_result(given.result))
    data = drawn.png() if given.picture.suffix == ".png" else drawn.svg().encode()
    given.picture.write_bytes(data)


if __name__ == "__main__":
    main()
