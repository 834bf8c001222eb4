"""Chunks on disk: an Arrow file, memory-mapped, read only for the rows that are shown."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from dtrag_core.errors import IndexCorruptError
from dtrag_core.types import Chunk

ROWS_A_BATCH: Final = 4096
_SEPARATOR: Final = "\x1f"  # between the parts of a path: ASCII's own unit separator
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("path", pa.string()),
        ("doc_type", pa.string()),
        ("attributes", pa.string()),
    ]
)


class ChunkWriter:
    """Streams chunks into an Arrow file, a fixed number of rows a record batch."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, _SCHEMA)
        self._pending: list[Chunk] = []

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Append chunks."""
        self._pending.extend(chunks)
        while len(self._pending) >= ROWS_A_BATCH:
            self._write(self._pending[:ROWS_A_BATCH])
            del self._pending[:ROWS_A_BATCH]

    def close(self) -> None:
        """Write what is left and finish the file."""
        if self._pending:
            self._write(self._pending)
        self._writer.close()
        self._file.close()

    def _write(self, chunks: Sequence[Chunk]) -> None:
        columns = [
            [chunk.id for chunk in chunks],
            [chunk.title for chunk in chunks],
            [chunk.text for chunk in chunks],
            [_SEPARATOR.join(chunk.path) for chunk in chunks],
            [chunk.doc_type for chunk in chunks],
            [json.dumps(dict(chunk.attributes)) if chunk.attributes else "" for chunk in chunks],
        ]
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))


class _Strings:
    """One string column of a record batch, read without a detour over Arrow scalars."""

    def __init__(self, column: pa.StringArray) -> None:
        _, ends, data = column.buffers()
        self._ends = memoryview(ends).cast("i") if len(column) else memoryview(b"")
        self._data = memoryview(data) if data is not None else memoryview(b"")
        self._empty = not len(self._data)

    def __getitem__(self, row: int) -> str:
        if self._empty:
            return ""
        start, end = self._ends[row], self._ends[row + 1]
        return str(self._data[start:end], "utf-8") if end > start else ""

    def raw(self, row: int) -> bytes:
        """Return a row's bytes."""
        return bytes(self._data[self._ends[row] : self._ends[row + 1]])

    def longest(self) -> int:
        """Return the size of the longest row, in bytes."""
        return int(np.diff(np.frombuffer(self._ends, np.int32)).max(initial=0))

    def size(self, row: int) -> int:
        """Return how many bytes a row's text has."""
        return int(self._ends[row + 1] - self._ends[row])


class ChunkStore:
    """Reads chunks by row number from the memory-mapped file."""

    def __init__(self, path: Path) -> None:
        try:
            self._map = pa.memory_map(str(path))
            reader = pa.ipc.open_file(self._map)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except (pa.ArrowInvalid, OSError) as error:
            raise IndexCorruptError(
                f"{path} is no readable Arrow file ({error}); build it again: dtrag index build"
            ) from error
        self._batches = [tuple(map(_Strings, batch.columns)) for batch in batches]
        self._rows = sum(batch.num_rows for batch in batches)
        self._paths: dict[bytes, tuple[str, ...]] = {}
        self.longest_text = max((columns[2].longest() for columns in self._batches), default=0)
        """Bytes of the longest text."""

    def __len__(self) -> int:
        return int(self._rows)

    def chunk(self, number: int) -> Chunk:
        """Return the chunk of a row."""
        batch, row = divmod(number, ROWS_A_BATCH)
        id_, title, text, path, doc_type, attributes = self._batches[batch]
        written = attributes[row]
        return Chunk(
            id_[row],
            title[row],
            text[row],
            self._path(path.raw(row)),
            doc_type[row],
            json.loads(written) if written else {},
        )

    def _path(self, written: bytes) -> tuple[str, ...]:
        """Return the path; there are far fewer of them than rows, so each is cut up once."""
        if written not in self._paths:
            text = str(written, "utf-8")
            self._paths[written] = tuple(text.split(_SEPARATOR)) if text else ()
        return self._paths[written]

    def name(self, number: int) -> str:
        """Return the dataset's id of a row's chunk."""
        batch, row = divmod(number, ROWS_A_BATCH)
        return self._batches[batch][0][row]

    def ids(self) -> list[str]:
        """Return the dataset's id of every chunk, by row."""
        places = (divmod(row, ROWS_A_BATCH) for row in range(len(self)))
        return [self._batches[batch][0][row] for batch, row in places]

    def text_bytes(self, number: int) -> int:
        """Return the size in bytes of a row's text, without reading it."""
        batch, row = divmod(number, ROWS_A_BATCH)
        return self._batches[batch][2].size(row)

    def __iter__(self) -> Iterator[Chunk]:
        return map(self.chunk, range(len(self)))

    def close(self) -> None:
        """Release the file."""
        self._batches = []
        self._map.close()
