"""Imported sparse vectors (SPLADE, DeepImpact, ...) through BM25's kernel.

Such a model gives every text weights of terms; the score of a chunk is the inner product with the
query's. Its impacts take the place of BM25's saturations: quantised to 1..255 of the largest one in
the collection, as is usual (Anserini, PISA), which moves a score by at most
(sum of the query's weights) * largest / 510.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.config import BM25Settings
from dtrag_core.datasets.records import Record, read_records, unique_ids
from dtrag_core.errors import BuildError, DataError, IndexCorruptError, InvalidRequestError
from dtrag_core.index.arrays import mapped, mapped_group, write_group
from dtrag_core.index.bm25_segments import BM25Index, SegmentPostings
from dtrag_core.index.forward import ForwardIndex
from dtrag_core.index.postings import Postings
from dtrag_core.index.postings_building import build_postings
from dtrag_core.index.replacing import replacing
from dtrag_core.index.vocabulary import Vocabulary

SEGMENT_ROWS: Final = 1 << 18
LEVELS: Final = 255

_GIVEN: Final = BM25Settings(-1.0, 0.0)  # see `Postings`
_NAMES, _SCALE = "names_", "scale.npy"
_EVERYTHING: Final = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A text's id and the weights, above 0, of its terms."""

    id: str
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScoredId:
    """A hit: the vector's id and the inner product with the query."""

    id: str
    score: float


def read_vectors(file: Path) -> Iterator[SparseVector]:
    """Stream `{"id": ..., "vector": {term: weight}}`, one a line; weights of 0 are left out.

    Raises DataError for a missing file, MalformedLineError for a line that cannot be read or a
    weight that is negative or no number.
    """
    for record in read_records(file):
        yield SparseVector(record.identifier("id"), _weights(record))


def _weights(record: Record) -> dict[str, float]:
    given = record.values.get("vector")
    if not isinstance(given, dict):
        raise record.error(f"'vector' must be an object of weights by term, not {given!r}")
    for term, weight in given.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < math.inf:
            raise record.error(f"the weight of {term!r} must be a number from 0 up, not {weight!r}")
    return {term: float(weight) for term, weight in given.items() if weight > 0}


def build_sparse_index(file: Path, directory: Path, segment_rows: int = SEGMENT_ROWS) -> int:
    """Build an index of a file's vectors in a directory; return how many there are.

    The file is read twice: the largest weight comes first. Raises as `read_vectors`, DataError for
    a file without weights, BuildError if the disk is full or other files are in the directory.
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / _SCALE).exists():
        raise BuildError(f"{directory} holds files but no sparse index; name a new directory")
    ids = unique_ids((record, record.identifier("id")) for record in read_records(file))
    largest = max(
        (max(each.weights.values(), default=0.0) for each in read_vectors(file)), default=0.0
    )
    if largest == 0.0:
        raise DataError(f"{file}: no vector has a weight above 0; there is nothing to search")
    status = file.stat()
    plan = f"sparse {file.resolve()} {status.st_size} {status.st_mtime_ns} {segment_rows}"
    with replacing(directory, plan) as fresh:
        vectors, number = read_vectors(file), 0
        while part := list(islice(vectors, segment_rows)):
            number += 1
            folder = fresh / f"{number:06d}"
            folder.mkdir(exist_ok=True)
            terms, forward = _forward(part, largest)
            write_group(folder, "vocabulary_", Vocabulary.of(terms).arrays())
            postings = build_postings(forward, len(terms), _GIVEN, 1.0)
            write_group(folder, "postings_", postings.arrays())
            names = Vocabulary.of([each.id for each in part])
            write_group(folder, _NAMES, names.arrays())
        np.save(fresh / _SCALE, np.array(largest))
    return len(ids)


def _forward(vectors: Sequence[SparseVector], largest: float) -> tuple[list[str], ForwardIndex]:
    numbers: dict[str, int] = {}
    terms: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    levels: list[NDArray[np.uint16]] = [np.zeros(0, np.uint16)]
    counts = [0]
    for each in vectors:
        row = sorted(
            (numbers.setdefault(term, len(numbers)), weight)
            for term, weight in each.weights.items()
        )
        terms.append(np.array([term for term, _ in row], np.int32))
        scaled = np.array([weight for _, weight in row], np.float64) / largest * LEVELS
        levels.append(np.rint(scaled).clip(1, LEVELS).astype(np.uint16))
        counts.append(len(row))
    lengths = np.zeros(len(vectors), np.int32)
    return list(numbers), ForwardIndex(
        np.cumsum(counts), np.concatenate(terms), np.concatenate(levels), lengths
    )


class SparseIndex:
    """Searches what `build_sparse_index` built, memory-mapped.

    Raises InvalidRequestError if there is none at `directory`, IndexCorruptError if it cannot be
    read.
    """

    def __init__(self, directory: Path) -> None:
        if not (directory / _SCALE).is_file():
            raise InvalidRequestError(
                f"{directory} holds no sparse index; build one: dtrag sparse build"
            )
        self._names: list[str] = []
        segments = []
        try:
            self._largest = float(mapped(directory / _SCALE))
            for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
                names = Vocabulary.from_arrays(mapped_group(folder, _NAMES, _WORDS)).terms()
                postings = Postings.from_arrays(mapped_group(folder, "postings_", _FIELDS))
                words = Vocabulary.from_arrays(mapped_group(folder, "vocabulary_", _WORDS))
                first, rows = len(self._names), len(names)
                segments.append(SegmentPostings(words, postings, first, None, None, rows, 0))
                self._names += names
        except FileNotFoundError as error:
            raise IndexCorruptError(
                f"{error.filename} is missing; build it again: dtrag sparse build"
            ) from error
        self._index = BM25Index(segments, BM25Settings())

    def __len__(self) -> int:
        return len(self._names)

    def search(self, weights: Mapping[str, float], depth: int) -> list[ScoredId]:
        """Return the `depth` best by inner product with a query's weights, ties in file order.

        Raises InvalidRequestError for a depth below 1 or a weight that is not above 0.
        """
        wrong = [term for term, weight in weights.items() if not 0 < weight < math.inf]
        if depth < 1 or wrong:
            raise InvalidRequestError(
                f"depth must be at least 1 and weights above 0, got depth {depth} and "
                f"{ {term: weights[term] for term in wrong} }"
            )
        query = self._index.weighted_terms(weights)
        found = self._index.search(query, depth, _EVERYTHING)
        scores = found.scores * np.float32(self._largest)
        return [
            ScoredId(self._names[row], score)
            for row, score in zip(found.ids.tolist(), scores.tolist(), strict=True)
        ]


_FIELDS: Final = tuple(Postings.__dataclass_fields__)
_WORDS: Final = tuple(Vocabulary.__dataclass_fields__)
