"""The forward index: the terms of every row, from which postings are made, merged and unmade."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ForwardIndex:
    """Row r's terms are `terms[offsets[r]:offsets[r + 1]]`, ascending and distinct.

    `offsets` int64[rows + 1]; `terms` int32[postings]; `frequencies` uint16[postings], how often
    each occurs in the row (at most 65,535); `lengths` int32[rows], tokens of each row.
    """

    offsets: NDArray[np.int64]
    terms: NDArray[np.int32]
    frequencies: NDArray[np.uint16]
    lengths: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.lengths)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def rows(self, chosen: NDArray[np.int64]) -> "ForwardIndex":
        """Return these rows, in this order."""
        counts = (self.offsets[1:] - self.offsets[:-1])[chosen]
        offsets = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        terms = np.empty(int(offsets[-1]), np.int32)
        frequencies = np.empty(len(terms), np.uint16)
        _copy_rows(self.offsets, self.terms, self.frequencies, chosen, offsets, terms, frequencies)
        return ForwardIndex(offsets, terms, frequencies, self.lengths[chosen])

    def renumbered(self, numbers: NDArray[np.int32]) -> "ForwardIndex":
        """Return the same with term t called `numbers[t]`."""
        terms = numbers[self.terms]
        frequencies = self.frequencies.copy()
        _sort_rows(self.offsets, terms, frequencies)
        return ForwardIndex(self.offsets, terms, frequencies, self.lengths)


def joined(parts: Sequence[ForwardIndex]) -> ForwardIndex:
    """Return the rows of all parts, one part after the other; terms are numbered alike in all."""
    counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)])
    return ForwardIndex(
        np.cumsum(counts),
        np.concatenate([part.terms for part in parts]),
        np.concatenate([part.frequencies for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


@numba.njit(cache=True, nogil=True)
def _copy_rows(
    offsets: NDArray[np.int64],
    terms: NDArray[np.int32],
    frequencies: NDArray[np.uint16],
    chosen: NDArray[np.int64],
    to_offsets: NDArray[np.int64],
    to_terms: NDArray[np.int32],
    to_frequencies: NDArray[np.uint16],
) -> None:
    for place in range(len(chosen)):
        source, target = offsets[chosen[place]], to_offsets[place]
        for step in range(to_offsets[place + 1] - target):
            to_terms[target + step] = terms[source + step]
            to_frequencies[target + step] = frequencies[source + step]


@numba.njit(cache=True, nogil=True)
def _sort_rows(
    offsets: NDArray[np.int64], terms: NDArray[np.int32], frequencies: NDArray[np.uint16]
) -> None:
    """Sort each row by term, in place."""
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        order = np.argsort(terms[start:end])
        terms[start:end] = terms[start:end][order]
        frequencies[start:end] = frequencies[start:end][order]
