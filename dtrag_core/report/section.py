"""What a section of a report is."""

from dataclasses import dataclass

from dtrag_core.report.drawing import Drawing
from dtrag_core.report.table import Table


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report: `anchor` is its place on the page."""

    anchor: str
    title: str
    text: tuple[str, ...]
    blocks: tuple[Drawing | Table, ...]
