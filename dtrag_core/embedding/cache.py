"""Document vectors on disk, for embedders that cost more than looking a vector up (ONNX)."""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from dtrag_core.embedding.base import Embedder, State
from dtrag_core.embedding.vectors import batches, text_hash
from dtrag_core.errors import EmbeddingError
from dtrag_core.types import FloatArray

_BATCH = 512
_WAIT_SECONDS = 60.0


class CachedEmbedder:
    """An embedder that remembers document vectors across runs and processes.

    One SQLite file an embedder (`<fingerprint>.sqlite3`), keyed by the hash of the text, in
    write-ahead mode: several processes may read and write at once, and one that is killed loses at
    most the 512 vectors it was working on. Queries are passed through.
    """

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self._embedder = embedder
        self.path = folder / f"{embedder.fingerprint}.sqlite3"

    @property
    def spec(self) -> str:
        """The spec of the embedder behind."""
        return self._embedder.spec

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the embedder behind."""
        return self._embedder.fingerprint

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return self._embedder.dimension

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), d]: read where known, else embedded and written.

        Raises EmbeddingError if the file cannot be used.
        """
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        with self._open() as connection:
            for start, batch in batches(texts, _BATCH):
                keys = [text_hash(text) for text in batch]
                known = self._read(connection, keys)
                missing = {
                    key: text for key, text in zip(keys, batch, strict=True) if key not in known
                }
                made = self._embedder.embed_documents(list(missing.values())) if missing else ()
                new = dict(zip(missing, made, strict=True))
                _write(connection, new)
                known.update(new)
                vectors[start : start + len(batch)] = [known[key] for key in keys]
        return vectors

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[d] from the embedder behind."""
        return self._embedder.embed_query(text)

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), d] from the embedder behind."""
        return self._embedder.embed_queries(texts)

    def state(self) -> State:
        """Return the state of the embedder behind."""
        return self._embedder.state()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS)) as connection:
                _write_ahead(connection)
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS vectors"
                    " (text_hash BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
                )
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise EmbeddingError(
                f"the vector cache {self.path} cannot be used ({error}); "
                f"free the disk, or delete the file to embed anew"
            ) from error

    def _read(
        self, connection: sqlite3.Connection, keys: Sequence[bytes]
    ) -> dict[bytes, FloatArray]:
        marks = ",".join("?" * len(keys))
        rows = connection.execute(
            f"SELECT text_hash, vector FROM vectors WHERE text_hash IN ({marks})", keys
        )
        known = {key: np.frombuffer(blob, dtype="<f4") for key, blob in rows}
        for vector in known.values():
            if len(vector) != self.dimension:
                raise EmbeddingError(
                    f"the vector cache {self.path} holds {len(vector)} dimensions where "
                    f"embedder {self.spec!r} gives {self.dimension}; delete the file to embed anew"
                )
        return known


def cached(embedder: Embedder, folder: Path) -> CachedEmbedder:
    """Return the embedder with its document vectors kept in `folder`, which is made if absent."""
    return CachedEmbedder(embedder, folder)


def _write(connection: sqlite3.Connection, vectors: Mapping[bytes, FloatArray]) -> None:
    with connection:
        connection.executemany(
            "INSERT OR IGNORE INTO vectors VALUES (?, ?)",
            ((key, vector.astype("<f4").tobytes()) for key, vector in vectors.items()),
        )


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead mode, in turn: here SQLite itself does not wait."""
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until:
                raise
            time.sleep(0.01)
        else:
            return
