"""Chunks on disk: an Arrow file, memory-mapped, read only for the rows that are shown."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from dtrag_core.errors import IndexCorruptError
from dtrag_core.types import Chunk

ROWS_A_BATCH: Final = 4096
_SCHEMA = pa.schema(
    [
        # What is shown of a chunk lies in one piece, so that few pages are touched for it, and as
        # what it is sent as.
        ("record", pa.binary()),
        ("text_bytes", pa.int32()),
        ("id", pa.string()),
        ("attributes", pa.string()),
    ]
)
_RECORD, _TEXT_BYTES, _ID, _ATTRIBUTES = range(len(_SCHEMA))


def chunk_record(chunk: Chunk) -> bytes:
    """Return a chunk as JSON: an object of id, title, text, path and doc_type."""
    return orjson.dumps(
        {
            "id": chunk.id,
            "title": chunk.title,
            "text": chunk.text,
            "path": chunk.path,
            "doc_type": chunk.doc_type,
        }
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
            [chunk_record(chunk) for chunk in chunks],
            [len(chunk.text.encode()) for chunk in chunks],
            [chunk.id for chunk in chunks],
            [json.dumps(dict(chunk.attributes)) if chunk.attributes else "" for chunk in chunks],
        ]
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))


class _Column:
    """One column of bytes of a record batch, read without a detour over Arrow scalars."""

    def __init__(self, column: pa.Array) -> None:
        _, ends, data = column.buffers()
        self.parts = (
            memoryview(ends).cast("i") if len(column) else memoryview(b""),
            memoryview(data) if data is not None else memoryview(b""),
        )

    def __getitem__(self, row: int) -> bytes:
        ends, data = self.parts
        return bytes(data[ends[row] : ends[row + 1]])


def _integers(column: pa.Array) -> NDArray[np.int32]:
    """Return a whole column of int32 without nulls; Arrow's own conversion would import pandas."""
    return np.frombuffer(column.buffers()[1], np.int32, len(column))


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
        self._records = [_Column(batch.column(_RECORD)) for batch in batches]
        self._ids = [_Column(batch.column(_ID)) for batch in batches]
        self._attributes = [_Column(batch.column(_ATTRIBUTES)) for batch in batches]
        self._text_bytes = [_integers(batch.column(_TEXT_BYTES)) for batch in batches]
        self._rows = sum(batch.num_rows for batch in batches)
        self.longest_text = max((int(sizes.max()) for sizes in self._text_bytes), default=0)
        """Bytes of the longest text."""

    def __len__(self) -> int:
        return int(self._rows)

    def record(self, number: int) -> bytes:
        """Return the chunk of a row as `chunk_record` wrote it."""
        batch, row = divmod(number, ROWS_A_BATCH)
        return self._records[batch][row]

    def chunk(self, number: int) -> Chunk:
        """Return the chunk of a row."""
        batch, row = divmod(number, ROWS_A_BATCH)
        shown = orjson.loads(self._records[batch][row])
        attributes = self._attributes[batch][row]
        return Chunk(
            shown["id"],
            shown["title"],
            shown["text"],
            tuple(shown["path"]),
            shown["doc_type"],
            json.loads(attributes) if attributes else {},
        )

    def names(self, numbers: Iterable[int]) -> list[str]:
        """Return the dataset's ids of these rows' chunks."""
        found = []
        for number in numbers:
            ends, data = self._ids[number // ROWS_A_BATCH].parts
            row = number % ROWS_A_BATCH
            found.append(str(data[ends[row] : ends[row + 1]], "utf-8"))
        return found

    def ids(self) -> list[str]:
        """Return the dataset's id of every chunk, by row."""
        return self.names(range(len(self)))

    def text_bytes(self, number: int) -> int:
        """Return the size in bytes of a row's text, without reading it."""
        batch, row = divmod(number, ROWS_A_BATCH)
        return int(self._text_bytes[batch][row])

    def __iter__(self) -> Iterator[Chunk]:
        return map(self.chunk, range(len(self)))

    def close(self) -> None:
        """Release the file."""
        self._records, self._ids, self._attributes, self._text_bytes = [], [], [], []
        self._map.close()
