"""Chunks on disk: an Arrow file, memory-mapped, read only for the rows that are shown."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from dtrag_core.errors import IndexCorruptError
from dtrag_core.types import Chunk, IdArray

ROWS_A_BATCH: Final = 4096
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("path", pa.list_(pa.string())),
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
            [list(chunk.path) for chunk in chunks],
            [chunk.doc_type for chunk in chunks],
            [json.dumps(dict(chunk.attributes)) if chunk.attributes else "" for chunk in chunks],
        ]
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))


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
        self._columns = [batch.columns for batch in batches]
        self._rows = sum(batch.num_rows for batch in batches)
        self._text_ends = [
            np.frombuffer(batch.column(2).buffers()[1], np.int32)[: batch.num_rows + 1]
            for batch in batches
        ]

    def __len__(self) -> int:
        return int(self._rows)

    def fetch(self, ids: IdArray) -> list[Chunk]:
        """Return the chunks of these rows, in this order."""
        return [self._chunk(*divmod(row, ROWS_A_BATCH)) for row in ids.tolist()]

    def ids(self) -> list[str]:
        """Return the dataset's id of every chunk, by row."""
        return [id_ for columns in self._columns for id_ in columns[0].to_pylist()]

    def text_bytes(self, ids: IdArray) -> list[int]:
        """Return the size in bytes of each of these rows' texts, without reading them."""
        places = [divmod(row, ROWS_A_BATCH) for row in ids.tolist()]
        return [
            int(self._text_ends[batch][row + 1] - self._text_ends[batch][row])
            for batch, row in places
        ]

    def __iter__(self) -> Iterator[Chunk]:
        return (
            self._chunk(batch, row)
            for batch, columns in enumerate(self._columns)
            for row in range(len(columns[0]))
        )

    def close(self) -> None:
        """Release the file."""
        self._columns = []
        self._text_ends = []
        self._map.close()

    def _chunk(self, batch: int, row: int) -> Chunk:
        id_, title, text, path, doc_type, attributes = (
            column[row].as_py() for column in self._columns[batch]
        )
        return Chunk(
            id_,
            title,
            text,
            tuple(path),
            doc_type,
            json.loads(attributes) if attributes else {},
        )
