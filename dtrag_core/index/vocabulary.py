"""The terms of a segment and their numbers: a hash table in arrays that are mapped, not read.

Opening an index of a million chunks would take half a second to fill dictionaries; and a table
that kernels can read resolves a query's terms in all segments in one call. Open addressing with
linear probing (Knuth, TAOCP 3, 6.4), at most half full, over 64-bit FNV-1a of the UTF-8 bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

_FNV_BASIS: Final = np.uint64(14695981039346656037)
_FNV_PRIME: Final = np.uint64(1099511628211)
_NONE: Final = np.int32(-1)

Letters = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Term t is `letters[ends[t - 1]:ends[t]]` (from 0 for the first), in UTF-8.

    letters: uint8[bytes]; ends: int64[terms]; slots: int32[a power of 2], the number of the term
    in each slot of the table, -1 if it is free.
    """

    letters: Letters
    ends: NDArray[np.int64]
    slots: NDArray[np.int32]

    @classmethod
    def of(cls, terms: Sequence[str]) -> "Vocabulary":
        """Return the vocabulary that numbers these distinct terms in their order."""
        encoded = [encode(term) for term in terms]
        ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
        letters = np.frombuffer(b"".join(encoded), np.uint8)
        slots = np.full(1 << (2 * len(encoded)).bit_length(), _NONE)
        _fill(letters, ends, slots)
        return cls(letters, ends, slots)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Vocabulary":
        """Return what `arrays` gave."""
        return cls(**arrays)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def terms(self, first: int = 0) -> list[str]:
        """Return the terms from number `first` on, in the order of their numbers."""
        begin = int(self.ends[first - 1]) if first else 0
        letters = self.letters[begin:].tobytes()
        ends = [0, *(self.ends[first:] - begin).tolist()]
        return [
            letters[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)
        ]


def encode(term: str) -> bytes:
    """Return the bytes that stand for a term."""
    return term.encode("utf-8", "surrogatepass")


@numba.njit(cache=True, nogil=True)
def find(
    letters: Letters,
    ends: NDArray[np.int64],
    slots: NDArray[np.int32],
    text: Letters | bytes,
    start: int,
    end: int,
    hashed: np.uint64,
) -> int:
    """Return the number of the term `text[start:end]`, hashed by `hash_of`; -1 if it is unknown."""
    last, slot = len(slots) - 1, first_slot(slots, hashed)
    while slots[slot] >= 0:
        number = np.int64(slots[slot])
        begin = ends[number - 1] if number > 0 else 0
        if ends[number] - begin == end - start:
            place = 0
            while place < end - start and letters[begin + place] == text[start + place]:
                place += 1
            if place == end - start:
                return int(number)
        slot = (slot + 1) & last
    return -1


@numba.njit(cache=True, nogil=True)
def first_slot(slots: NDArray[np.int32], hashed: np.uint64) -> np.int64:
    """Return the first slot that may have the number of a term."""
    return np.int64(hashed & np.uint64(len(slots) - 1))


@numba.njit(cache=True, nogil=True)
def _fill(letters: Letters, ends: NDArray[np.int64], slots: NDArray[np.int32]) -> None:
    start, last = 0, len(slots) - 1
    for number in range(len(ends)):
        slot = first_slot(slots, hash_of(letters, start, ends[number]))
        while slots[slot] >= 0:
            slot = (slot + 1) & last
        slots[slot] = number
        start = ends[number]


@numba.njit(cache=True, nogil=True)
def hash_of(letters: Letters | bytes, start: int, end: int) -> np.uint64:
    """Return the hash of a term."""
    value = _FNV_BASIS
    for place in range(start, end):
        value = (value ^ np.uint64(letters[place])) * _FNV_PRIME
    # FNV's low bits are its weakest: fold the high ones in.
    return value ^ (value >> np.uint64(32))
