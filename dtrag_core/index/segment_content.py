"""What a segment will hold, collected in memory before it is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dtrag_core.embedding.base import Embedder
from dtrag_core.errors import DataError, EmbeddingError
from dtrag_core.index.forward import ForwardIndex
from dtrag_core.index.ivf import assign_lists
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import Chunk, FloatArray

_MOST_FREQUENT = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """The chunks of one segment with their terms and vectors, one row a chunk.

    `vocabulary` names the term numbers of `forward`; `vectors` float32[rows, d]; `lists`
    int32[rows], the number of the nearest centroid.
    """

    chunks: Sequence[Chunk]
    vocabulary: Sequence[str]
    forward: ForwardIndex
    vectors: FloatArray
    lists: NDArray[np.int32]

    def by_list(self) -> "SegmentContent":
        """Return the same with its rows in the order of their lists."""
        if not np.any(self.lists[1:] < self.lists[:-1]):
            return self
        order = np.argsort(self.lists, kind="stable")
        return replace(
            self,
            chunks=[self.chunks[row] for row in order.tolist()],
            forward=self.forward.rows(order),
            vectors=self.vectors[order],
            lists=self.lists[order],
        )

    def without_unused_terms(self) -> "SegmentContent":
        """Return the same with a vocabulary of those terms that occur."""
        used = np.bincount(self.forward.terms, minlength=len(self.vocabulary)) > 0
        if used.all():
            return self
        numbers = (np.cumsum(used) - 1).astype(np.int32)
        words = [self.vocabulary[term] for term in np.flatnonzero(used).tolist()]
        return replace(self, vocabulary=words, forward=self.forward.renumbered(numbers))


class ForwardBuilder:
    """Collects the terms of analysed chunks, row by row."""

    def __init__(self) -> None:
        self.vocabulary: dict[str, int] = {}
        self._counts: list[NDArray[np.int64]] = []
        self._terms: list[NDArray[np.int32]] = []
        self._frequencies: list[NDArray[np.uint16]] = []
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, batch: Sequence[Sequence[str]]) -> None:
        """Add the tokens of the next chunks, one sequence a chunk."""
        lengths = np.array([len(tokens) for tokens in batch], np.int64)
        flat = np.fromiter(self._numbers(batch), np.int64, int(lengths.sum()))
        owners = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        keys, frequencies = np.unique((owners << 32) | flat, return_counts=True)
        self._counts.append(np.bincount(keys >> 32, minlength=len(lengths)))
        self._terms.append((keys & 0xFFFFFFFF).astype(np.int32))
        self._frequencies.append(np.minimum(frequencies, _MOST_FREQUENT).astype(np.uint16))
        self._lengths.append(lengths)

    def finish(self) -> ForwardIndex:
        """Return the forward index of everything added."""
        counts = np.concatenate([np.zeros(1, np.int64), *self._counts])
        return ForwardIndex(
            np.cumsum(counts),
            np.concatenate([np.zeros(0, np.int32), *self._terms]),
            np.concatenate([np.zeros(0, np.uint16), *self._frequencies]),
            np.concatenate([np.zeros(0, np.int64), *self._lengths]).astype(np.int32),
        )

    def _numbers(self, batch: Sequence[Sequence[str]]) -> Iterator[int]:
        vocabulary = self.vocabulary
        for tokens in batch:
            for token in tokens:
                yield vocabulary.setdefault(token, len(vocabulary))


class ContentCollector:
    """Analyses and embeds chunks until they are a segment."""

    def __init__(self, analyzer: Analyzer, embedder: Embedder, centroids: FloatArray) -> None:
        self._analyzer = analyzer
        self._embedder = embedder
        self._centroids = centroids
        self._chunks: list[Chunk] = []
        self._forward = ForwardBuilder()
        self._vectors: list[FloatArray] = []
        self._lists: list[NDArray[np.int32]] = []

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, batch: Sequence[Chunk]) -> None:
        """Add the next chunks.

        Raises EmbeddingError for vectors of another shape, DataError for text that is no Unicode.
        """
        for chunk in batch:
            _check_unicode(chunk)
        contents = [chunk.content for chunk in batch]
        self._forward.add([self._analyzer.tokens(content) for content in contents])
        vectors = embed_documents(self._embedder, contents)
        self._vectors.append(vectors)
        self._lists.append(assign_lists(vectors, self._centroids))
        self._chunks.extend(batch)

    def finish(self) -> SegmentContent:
        """Return everything added."""
        return SegmentContent(
            self._chunks,
            list(self._forward.vocabulary),
            self._forward.finish(),
            np.concatenate(self._vectors),
            np.concatenate(self._lists),
        )


def _check_unicode(chunk: Chunk) -> None:
    """Raise DataError for half a surrogate pair: a string can hold one, UTF-8 cannot."""
    texts = {
        "id": chunk.id,
        "title": chunk.title,
        "text": chunk.text,
        "path": "/".join(chunk.path),
        "doc_type": chunk.doc_type,
    }
    for name, text in texts.items():
        if text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the {name} of chunk {chunk.id!r} is not valid Unicode: it holds "
                f"{text[error.start]!r} at {error.start}, half a surrogate pair; decode it anew "
                "from where it comes, or replace what cannot be: "
                "text.encode('utf-8', 'replace').decode()"
            ) from None


def embed_documents(embedder: Embedder, texts: Sequence[str]) -> FloatArray:
    """Return float32[len(texts), d]. Raises EmbeddingError if the embedder gives another shape."""
    vectors = embedder.embed_documents(texts)
    if vectors.shape != (len(texts), embedder.dimension):
        raise EmbeddingError(
            f"{embedder.spec} returned vectors of shape {vectors.shape}, "
            f"expected {(len(texts), embedder.dimension)}"
        )
    return vectors
