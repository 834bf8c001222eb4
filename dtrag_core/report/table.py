"""A table of finished text: what a report prints, and what a notebook shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import pandas as pd


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with their units, rows of text, and notes on what is missing and why.

    `align` has a letter a column: "l" for text, "r" for numbers.
    """

    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        columns: str,
        align: str,
        rows: Iterable[Iterable[str]],
        notes: Iterable[str] = (),
    ) -> "Table":
        """Make a table; `columns` are separated by "|"."""
        made = tuple(tuple(row) for row in rows)
        return cls(tuple(columns.split("|")), align, made, tuple(dict.fromkeys(notes)))

    def frame(self) -> pd.DataFrame:
        """Return the same as a DataFrame of text."""
        return pd.DataFrame(list(self.rows), columns=list(self.columns))

    def _repr_html_(self) -> str:
        def cells(tag: str, row: Iterable[str]) -> str:
            side = {"l": "left", "r": "right"}
            return "".join(
                f'<{tag} style="text-align:{side[where]}">{escape(cell)}</{tag}>'
                for cell, where in zip(row, self.align, strict=True)
            )

        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows)
        notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in self.notes)
        return f"<table><tr>{cells('th', self.columns)}</tr>{body}</table>{notes}"
