"""Filters as bitmaps: which chunks a taxonomy path or a document type allows."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrag_core.datasets.taxonomy import Taxonomy
from dtrag_core.errors import IndexCorruptError, InvalidRequestError
from dtrag_core.types import Chunk, Filters, IdArray, Mask

_NAMES, _PATH_CODES, _TYPE_CODES = "filters.json", "path_codes.npy", "type_codes.npy"


class FilterBuilder:
    """Collects each chunk's path and type as it streams by."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, ...], int] = {}
        self._types: dict[str, int] = {}
        self._path_codes: list[int] = []
        self._type_codes: list[int] = []

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Add the next chunks."""
        for chunk in chunks:
            self._path_codes.append(self._paths.setdefault(chunk.path, len(self._paths)))
            self._type_codes.append(self._types.setdefault(chunk.doc_type, len(self._types)))

    def write(self, directory: Path) -> None:
        """Write names and codes into the index directory."""
        names = {"paths": list(self._paths), "doc_types": list(self._types)}
        (directory / _NAMES).write_text(json.dumps(names), encoding="utf-8")
        np.save(directory / _PATH_CODES, np.array(self._path_codes, np.int32))
        np.save(directory / _TYPE_CODES, np.array(self._type_codes, np.int32))


class FilterIndex:
    """Compiles filters into bool[chunks]."""

    def __init__(self, directory: Path) -> None:
        try:
            names = json.loads((directory / _NAMES).read_text(encoding="utf-8"))
        except ValueError as error:
            raise IndexCorruptError(
                f"{directory / _NAMES} cannot be read ({error}); build it again: dtrag index build"
            ) from error
        self._paths = [tuple(path) for path in names["paths"]]
        self._types: list[str] = names["doc_types"]
        self._path_codes: IdArray = np.load(directory / _PATH_CODES, mmap_mode="r")
        self._type_codes: IdArray = np.load(directory / _TYPE_CODES, mmap_mode="r")

    @property
    def taxonomy(self) -> Taxonomy:
        """The tree of paths with its counts."""
        return Taxonomy.from_paths(self._paths[code] for code in self._path_codes.tolist())

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self._path_codes.nbytes + self._type_codes.nbytes

    @property
    def doc_types(self) -> tuple[str, ...]:
        """The document types there are."""
        return tuple(sorted(self._types))

    def compile(self, filters: Filters | None) -> Mask | None:
        """Return bool[chunks] of what the filters allow; None if they do not restrict.

        Raises InvalidRequestError for a path or type the corpus does not have.
        """
        if filters is None or (filters.canonical_in is None and filters.doc_type is None):
            return None
        mask = np.ones(len(self._path_codes), np.bool_)
        if filters.canonical_in is not None:
            mask &= self._allowed_paths(filters.canonical_in)[self._path_codes]
        if filters.doc_type is not None:
            mask &= self._allowed_types(filters.doc_type)[self._type_codes]
        return mask

    def _allowed_paths(self, wanted: tuple[tuple[str, ...], ...]) -> NDArray[np.bool_]:
        allowed = np.zeros(len(self._paths), np.bool_)
        for prefix in wanted:
            inside = [path[: len(prefix)] == prefix for path in self._paths]
            if not any(inside):
                self.taxonomy.count(prefix)  # raises, and names what is near
            allowed |= np.array(inside)
        return allowed

    def _allowed_types(self, wanted: tuple[str, ...]) -> NDArray[np.bool_]:
        for doc_type in wanted:
            if doc_type not in self._types:
                raise InvalidRequestError(
                    f"unknown doc_type {doc_type!r}; known: {', '.join(self.doc_types)}"
                )
        return np.array([doc_type in wanted for doc_type in self._types])
