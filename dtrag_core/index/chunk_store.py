"""Chunks on disk: an Arrow file, memory-mapped, read only for the rows that are shown."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from dtrag_core.errors import IndexCorruptError
from dtrag_core.types import Chunk, IdArray

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

    def __getitem__(self, row: int) -> str:
        return str(self._data[self._ends[row] : self._ends[row + 1]], "utf-8")

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

    def __len__(self) -> int:
        return int(self._rows)

    def fetch(self, ids: IdArray) -> list[Chunk]:
        """Return the chunks of these rows, in this order."""
        return [self._chunk(row) for row in ids.tolist()]

    def ids(self) -> list[str]:
        """Return the dataset's id of every chunk, by row."""
        places = (divmod(row, ROWS_A_BATCH) for row in range(len(self)))
        return [self._batches[batch][0][row] for batch, row in places]

    def text_bytes(self, ids: IdArray) -> list[int]:
        """Return the size in bytes of each of these rows' texts, without reading them."""
        places = (divmod(row, ROWS_A_BATCH) for row in ids.tolist())
        return [self._batches[batch][2].size(row) for batch, row in places]

    def __iter__(self) -> Iterator[Chunk]:
        return map(self._chunk, range(len(self)))

    def close(self) -> None:
        """Release the file."""
        self._batches = []
        self._map.close()

    def _chunk(self, number: int) -> Chunk:
        batch, row = divmod(number, ROWS_A_BATCH)
        id_, title, text, path, doc_type, attributes = self._batches[batch]
        written = attributes[row]
        return Chunk(
            id_[row],
            title[row],
            text[row],
            tuple(path[row].split(_SEPARATOR)) if path[row] else (),
            doc_type[row],
            json.loads(written) if written else {},
        )
