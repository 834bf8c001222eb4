"""The report as one self-contained page, with its figures as files beside it."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from markupsafe import Markup

from dtrag_core.report.drawing import Drawing
from dtrag_core.report.formats import NOTHING, Result
from dtrag_core.report.rendering import rendered, text_of
from dtrag_core.report.section import Section
from dtrag_core.report.sections import command, sections
from dtrag_core.report.verdicts import summary, verdicts

PAGE: Final = "report.html"
FIGURES: Final = "figures"
ICONS: Final = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?"}


def write_report(result: Result, folder: Path) -> Path:
    """Write `folder/report.html` and `folder/figures/*.svg, *.png`; return the page's path.

    The page needs nothing else: styles and figures are inside, there are no scripts. An earlier
    report in the folder is replaced as a whole.
    """
    parts = sections(result)
    return write_page(folder, render(result, parts), drawings(parts))


def write_page(folder: Path, page: str, pictures: Sequence[Drawing]) -> Path:
    """Write a page and its figures as files; an earlier report there is replaced as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder, prefix=".report-"))
    try:
        figures = fresh / FIGURES
        figures.mkdir()
        for drawing in pictures:
            (figures / f"{drawing.name}.svg").write_text(drawing.svg(), encoding="utf-8")
            (figures / f"{drawing.name}.png").write_bytes(drawing.png())
        (fresh / PAGE).write_text(page, encoding="utf-8")
        shutil.rmtree(folder / FIGURES, ignore_errors=True)
        figures.rename(folder / FIGURES)
        (fresh / PAGE).replace(folder / PAGE)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / PAGE


def drawings(parts: tuple[Section, ...]) -> list[Drawing]:
    """Return the figures of all sections, in order."""
    return [block for part in parts for block in part.blocks if isinstance(block, Drawing)]


def render(result: Result, parts: tuple[Section, ...]) -> str:
    """Return the page."""
    return rendered(
        "report.html.j2",
        result=result,
        summary=summary(result),
        verdicts=verdicts(result),
        icons=ICONS,
        sections=parts,
        command=command(result),
        nothing=NOTHING,
        css=Markup(text_of("report.css")),
    )


def verdicts_html(result: Result) -> str:
    """Return summary and verdict table alone, for a notebook."""
    table = rendered("verdicts.html.j2", verdicts=verdicts(result), icons=ICONS)
    sentence = Markup('<p class="summary">{}</p>').format(summary(result))
    return f'<style>{text_of("report.css")}</style><div class="dtrag">{sentence}{table}</div>'
