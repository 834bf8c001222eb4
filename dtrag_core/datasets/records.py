"""Lines of input files as checked records: every complaint names the file and the line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dtrag_core.errors import DataError, MalformedLineError


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object and where it stands."""

    path: Path
    line: int
    values: Mapping[str, object]

    def error(self, problem: str) -> MalformedLineError:
        """Return an error that points here."""
        return MalformedLineError(self.path, self.line, problem)

    def text(self, key: str, default: str | None = None) -> str:
        """Return the string under `key`; without a default it must be there. Null is absent."""
        value = self.values.get(key)
        value = default if value is None else value
        if value is None:
            raise self.error(f"no {key!r}; the line has {sorted(self.values)}")
        if not isinstance(value, str):
            raise self.error(f"{key!r} must be a string, not {value!r}")
        return self._unicode(key, value)

    def query_text(self) -> str:
        """Return `text`, which must hold more than white space."""
        text = self.text("text")
        if not text.strip():
            raise self.error("the query's text is empty; remove the line or give it a text")
        return text

    def identifier(self, key: str, default: str | None = None) -> str:
        """Return the id under `key`; a whole number counts as its digits."""
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        identifier = self.text(key, default)
        if not identifier:
            raise self.error(f"{key!r} is empty")
        return identifier

    def taxonomy_path(self) -> tuple[str, ...]:
        """Return `path`, given as "a/b/c" or as a list of strings; empty where there is none."""
        value = self.values.get("path")
        if value is None:
            return ()
        parts = self.text("path").strip("/").split("/") if isinstance(value, str) else value
        if parts == [""]:
            return ()
        if not isinstance(parts, list) or not all(isinstance(p, str) and p for p in parts):
            raise self.error(
                f"'path' must be 'a/b/c' or a list of non-empty strings, not {value!r}"
            )
        return tuple(self._unicode("path", part) for part in parts)

    def attributes(self, values: object) -> dict[str, str]:
        """Return `values`, which must map names to strings, numbers or booleans, as strings."""
        if not isinstance(values, dict):
            raise self.error(f"attributes must be an object, not {values!r}")
        for name, value in values.items():
            if not isinstance(value, str | int | float):
                raise self.error(f"attribute {name!r} must be a string or a number, not {value!r}")
        return {name: v if isinstance(v, str) else json.dumps(v) for name, v in values.items()}

    def _unicode(self, key: str, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.error(f"{key!r} is not valid Unicode: {error}") from None
        return value


def read_records(path: Path) -> Iterator[Record]:
    """Stream the objects of a JSON-lines file (UTF-8); blank lines are passed over.

    Raises `DataError` if there is no such file, `MalformedLineError` at the first bad line.
    """
    with open_input(path) as file:
        for line, raw in enumerate(file, start=1):
            if raw.isspace():
                continue
            try:
                values = json.loads(raw)
            except (ValueError, RecursionError) as error:
                raise MalformedLineError(path, line, f"not JSON: {error}") from None
            if not isinstance(values, dict):
                raise MalformedLineError(path, line, f"not a JSON object: {str(values)[:80]}")
            yield Record(path, line, values)


def open_input(path: Path) -> BinaryIO:
    """Open an input file; `DataError` says which one is missing."""
    if not path.is_file():
        raise DataError(f"no such file: {path.absolute()}")
    return path.open("rb")


def unique_ids(identified: Iterable[tuple[Record, str]]) -> set[str]:
    """Return the ids of a file's records; `MalformedLineError` where one comes a second time."""
    seen: set[str] = set()
    for record, identifier in identified:
        if identifier in seen:
            raise record.error(f"duplicate id {identifier!r}; ids must be unique in the file")
        seen.add(identifier)
    return seen
