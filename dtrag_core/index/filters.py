"""Filters as bitmaps: which chunks a taxonomy path or a document type allows."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.datasets.taxonomy import Taxonomy
from dtrag_core.errors import IndexCorruptError, UnknownFilterError
from dtrag_core.index.arrays import mapped
from dtrag_core.types import Chunk, Filters, IdArray, Mask

_NAMES, PATH_CODES, TYPE_CODES = "filters.json", "path_codes.npy", "type_codes.npy"

TaxonomyPath = tuple[str, ...]
NO_FILTER: Final = Filters()


def write_filters(chunks: Iterable[Chunk], directory: Path) -> None:
    """Write the paths and types of a segment's chunks into its directory."""
    paths: dict[TaxonomyPath, int] = {}
    types: dict[str, int] = {}
    codes = [
        (paths.setdefault(chunk.path, len(paths)), types.setdefault(chunk.doc_type, len(types)))
        for chunk in chunks
    ]
    names = {"paths": list(paths), "doc_types": list(types)}
    (directory / _NAMES).write_text(json.dumps(names), encoding="utf-8")
    by_row = np.array(codes, np.int32).reshape(-1, 2)
    np.save(directory / PATH_CODES, by_row[:, 0])
    np.save(directory / TYPE_CODES, by_row[:, 1])


class SegmentFilters:
    """The paths and types of one segment's chunks."""

    def __init__(self, directory: Path) -> None:
        try:
            names = json.loads((directory / _NAMES).read_text(encoding="utf-8"))
        except ValueError as error:
            raise IndexCorruptError(
                f"{directory / _NAMES} cannot be read ({error}); build it again: dtrag index build"
            ) from error
        self.paths: list[TaxonomyPath] = [tuple(path) for path in names["paths"]]
        self.doc_types: list[str] = names["doc_types"]
        self._path_codes: IdArray = mapped(directory / PATH_CODES)
        self._type_codes: IdArray = mapped(directory / TYPE_CODES)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self._path_codes.nbytes + self._type_codes.nbytes

    def live_paths(self, live: Mask | None) -> Iterator[TaxonomyPath]:
        """Yield the path of every live row."""
        codes = self._path_codes if live is None else self._path_codes[live]
        return (self.paths[code] for code in codes.tolist())

    def allowed(self, filters: Filters) -> Mask:
        """Return bool[rows] of what the filters allow; nothing has a path that is not here."""
        mask = np.ones(len(self._path_codes), np.bool_)
        if filters.canonical_in is not None:
            inside = [
                any(_is_inside(path, top) for top in filters.canonical_in) for path in self.paths
            ]
            mask &= np.array(inside, np.bool_)[self._path_codes]
        if filters.doc_type is not None:
            wanted: NDArray[np.bool_] = np.isin(self.doc_types, filters.doc_type)
            mask &= wanted[self._type_codes]
        return mask


class FilterIndex:
    """Compiles filters into bool[rows], over all segments of an index."""

    def __init__(self, segments: Sequence[SegmentFilters], live: Sequence[Mask | None]) -> None:
        self._segments = segments
        self._live = live

    @property
    def taxonomy(self) -> Taxonomy:
        """The tree of paths with its counts."""
        pairs = zip(self._segments, self._live, strict=True)
        return Taxonomy.from_paths(
            chain.from_iterable(segment.live_paths(live) for segment, live in pairs)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return sum(segment.nbytes for segment in self._segments)

    @property
    def doc_types(self) -> tuple[str, ...]:
        """The document types there are."""
        return tuple(sorted({name for segment in self._segments for name in segment.doc_types}))

    def compile(self, filters: Filters | None) -> Mask | None:
        """Return bool[rows] of what the filters allow; None if they do not restrict.

        Raises UnknownFilterError for a path or type the corpus does not have.
        """
        if filters is None or filters == NO_FILTER:
            return None
        for prefix in filters.canonical_in or ():
            if not any(_is_inside(path, prefix) for each in self._segments for path in each.paths):
                self.taxonomy.count(prefix)  # raises, and names what is near
        for doc_type in filters.doc_type or ():
            if not any(doc_type in segment.doc_types for segment in self._segments):
                raise UnknownFilterError(
                    f"unknown doc_type {doc_type!r}; known: {', '.join(self.doc_types)}"
                )
        return np.concatenate([segment.allowed(filters) for segment in self._segments])


def _is_inside(path: TaxonomyPath, top: TaxonomyPath) -> bool:
    return path[: len(top)] == top
