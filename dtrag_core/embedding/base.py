"""What an embedder is: texts in, unit vectors out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dtrag_core.types import FloatArray

State = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class CorpusTexts:
    """The texts an embedder may be fitted on: both can be iterated more than once.

    `documents` in corpus order; `queries` in the dataset's own order (only `precomputed`, whose
    vectors are given row by row, looks at them).
    """

    documents: Iterable[str]
    queries: Iterable[str]


class Embedder(Protocol):
    """Maps texts to L2-normalised float32 vectors. An empty text gives the zero vector."""

    @property
    def spec(self) -> str:
        """What opens this embedder again: `static`, `lsa`, `onnx:DIR`, ..."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies model and fit: equal fingerprints give equal vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), dimension], one row a document."""
        ...

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[dimension] for one query."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), dimension], what `embed_query` returns for each."""
        ...

    def state(self) -> State:
        """Return the arrays that restore this embedder beside its spec (no pickled objects)."""
        ...
