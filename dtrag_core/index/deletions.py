"""The deleted rows of a segment, and what they took with them from its statistics."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.arrays import read_archive, write_archive
from dtrag_core.index.forward import ForwardIndex
from dtrag_core.types import IdArray, Mask


@dataclass(frozen=True, slots=True)
class Deletions:
    """`rows` int32[n], ascending; `frequency` int32[terms], how many of them held each term.

    `length`: how many tokens they had.
    """

    rows: IdArray
    frequency: NDArray[np.int32]
    length: int

    def write(self, path: Path) -> None:
        """Write them to a file; only terms that are held by a deleted row are listed."""
        terms = np.flatnonzero(self.frequency).astype(np.int32)
        sizes = np.array([len(self.frequency), self.length], np.int64)
        counts = self.frequency[terms]
        write_archive(path, {"rows": self.rows, "terms": terms, "counts": counts, "sizes": sizes})

    def live(self, rows: int) -> Mask:
        """Return bool[rows], False for the deleted."""
        mask = np.ones(rows, np.bool_)
        mask[self.rows] = False
        return mask


def read_deletions(path: Path) -> Deletions:
    """Return what `Deletions.write` wrote."""
    held = read_archive(path)
    terms, length = held["sizes"].tolist()
    frequency = np.zeros(terms, np.int32)
    frequency[held["terms"]] = held["counts"]
    return Deletions(held["rows"], frequency, length)


def delete_rows(
    before: Deletions | None, forward: ForwardIndex, rows: IdArray, terms: int
) -> Deletions:
    """Return the deletions of a segment of `terms` terms with these rows, live so far, added."""
    if before is None:
        before = Deletions(np.zeros(0, np.int32), np.zeros(terms, np.int32), 0)
    gone = forward.rows(rows.astype(np.int64))
    return Deletions(
        np.union1d(before.rows, rows).astype(np.int32),
        before.frequency + np.bincount(gone.terms, minlength=terms).astype(np.int32),
        before.length + int(gone.lengths.sum()),
    )
