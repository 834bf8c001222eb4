"""Words with a vector each: what the embedders fitted on a corpus add up."""

import re
from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dtrag_core.embedding.base import State
from dtrag_core.embedding.row_sums import add_halves, add_singles
from dtrag_core.embedding.vectors import pack_words, unpack_words
from dtrag_core.types import FloatArray

_WORD = re.compile(r"[^\W_]+")


def split_words(text: str) -> list[str]:
    """Return the runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


class WordTable:
    """`words`, and `vectors` float[words, d], one row each. Nothing changes after construction."""

    def __init__(self, words: Sequence[str], vectors: NDArray[np.floating]) -> None:
        self.vectors = vectors
        self.dimension = int(vectors.shape[1])
        self._rows = {word: row for row, word in enumerate(words)}
        self.added(())  # loads the kernel, so that no query waits for it

    def look_up(self, text: str) -> tuple[list[int], list[str]]:
        """Return the rows of the text's words, repeated as they are, and the words without one."""
        rows, unknown = [], []
        for word in split_words(text):
            row = self._rows.get(word)
            if row is None:
                unknown.append(word)
            else:
                rows.append(row)
        return rows, unknown

    def sum_of(self, rows: Sequence[int]) -> FloatArray:
        """Return float32[d], the sum of some rows."""
        return np.asarray(self.added([rows])[0])

    def added(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        """Return float32[len(texts), d], what `sum_of` gives for each of some texts."""
        rows = np.fromiter(chain.from_iterable(texts), np.int64)
        ends = np.fromiter(accumulate(map(len, texts)), np.int64)
        if self.vectors.dtype == np.float16:
            sums = add_halves(self.vectors.view(np.uint16), rows, ends)
        else:
            sums = add_singles(self.vectors, rows, ends)
        return np.asarray(sums)

    def sums_of(self, texts: Sequence[Sequence[int]], sublinear: bool = False) -> FloatArray:
        """Return float32[len(texts), d], the sum of the rows of each.

        `sublinear`: a row that comes n times counts 1 + ln(n) times.
        """
        used, columns = np.unique(
            np.fromiter(chain.from_iterable(texts), dtype=np.int64), return_inverse=True
        )
        ends = np.cumsum([0, *map(len, texts)])
        counts = csr_array(
            (np.ones(len(columns), dtype=np.float32), columns, ends), shape=(len(texts), len(used))
        )
        if sublinear:
            counts.sum_duplicates()
            counts.data = 1 + np.log(counts.data)
        return np.asarray(counts @ self.vectors[used].astype(np.float32, copy=False))

    def arrays(self) -> State:
        """Return `words` (uint8: UTF-8, one a line) and `vectors`."""
        return {"words": pack_words(self._rows), "vectors": self.vectors}

    @classmethod
    def from_arrays(cls, arrays: State) -> "WordTable":
        """Return the table whose `arrays()` these are."""
        return cls(unpack_words(arrays["words"]), np.asarray(arrays["vectors"]))
