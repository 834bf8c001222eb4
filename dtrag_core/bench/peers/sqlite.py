"""SQLite: FTS5 and sqlite-vec in one file, fused in one statement."""

import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from dtrag_core.bench.peers.base import PeerCorpus, PeerQuery, Settings
from dtrag_core.bench.peers.packages import needed, versions_of
from dtrag_core.types import Candidates, FloatArray, IdArray, Progress

_FILE: Final = "chunks.sqlite3"
# Quoted twice: once for the tokenizer's argument, once for the statement that holds it.
_TOKENIZER: Final = "ascii tokenchars '{}'".format(string.punctuation.replace("'", "''"))
_OPTION: Final = _TOKENIZER.replace("'", "''")
_BM25: Final = "SELECT rowid, -rank FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT ?"
_NEAREST: Final = "SELECT rowid FROM vectors WHERE vector MATCH ? AND k = ? ORDER BY distance"
_HYBRID: Final = """
WITH near AS (
  SELECT rowid AS id, row_number() OVER (ORDER BY distance) AS place
  FROM vectors WHERE vector MATCH :vector AND k = :depth
), worded AS (
  SELECT rowid AS id, row_number() OVER (ORDER BY rank) AS place
  FROM (SELECT rowid, rank FROM texts WHERE texts MATCH :terms ORDER BY rank LIMIT :depth)
)
SELECT coalesce(near.id, worded.id) AS id
FROM near FULL OUTER JOIN worded ON near.id = worded.id
ORDER BY coalesce(1.0 / (60 + near.place), 0) + coalesce(1.0 / (60 + worded.place), 0) DESC, 1
LIMIT :k
"""


class SqlitePeer:
    """FTS5 and sqlite-vec, through APSW, as Python's own module may refuse extensions."""

    name = "sqlite"
    index = "sqlite"

    def __init__(self) -> None:
        self._apsw = needed(self.name, "apsw", "apsw")
        self._vec = needed(self.name, "sqlite_vec", "sqlite-vec")

    def versions(self) -> Mapping[str, str]:
        """Return the versions of SQLite and what it is used through."""
        return {"sqlite": self._apsw.sqlite_lib_version(), **versions_of("apsw", "sqlite-vec")}

    def settings(self) -> Settings:
        """Return the settings; what is not listed is SQLite's default."""
        return {
            "text.table": "FTS5, contentless, optimized",
            "text.tokenizer": "ascii with all punctuation in tokens; A-Z match a-z",
            "text.bm25": "k1 1.2 and b 0.75, fixed; a term in over half the chunks counts nothing",
            "vectors.table": "vec0, float32, cosine: sqlite-vec compares with every vector",
            "fusion": "RRF, k = 60, in one statement (full outer join)",
            "pragmas": "mmap_size 8 GiB, cache_size 256 MiB, query_only",
        }

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Fill both tables in one transaction."""
        database = self._connect(directory)
        database.execute("PRAGMA journal_mode = OFF")
        database.execute(
            f"CREATE VIRTUAL TABLE texts USING fts5(text, content='', tokenize='{_OPTION}')"
        )
        database.execute(
            "CREATE VIRTUAL TABLE vectors USING "
            f"vec0(vector float[{corpus.dimension}] distance_metric=cosine)"
        )
        texts = enumerate(corpus.texts())
        with database:
            database.executemany(
                "INSERT INTO texts(rowid, text) VALUES (?, ?)",
                _counted("sqlite: text", texts, corpus.chunks, progress),
            )
            vectors = ((row, corpus.vectors[row].tobytes()) for row in range(corpus.chunks))
            database.executemany(
                "INSERT INTO vectors(rowid, vector) VALUES (?, ?)",
                _counted("sqlite: vectors", vectors, corpus.chunks, progress),
            )
        database.execute("INSERT INTO texts(texts) VALUES ('optimize')")
        database.close()

    def open(self, corpus: PeerCorpus, directory: Path) -> "OpenSqlite":
        """Open the file for reading."""
        database = self._connect(directory)
        for pragma in ("mmap_size = 8589934592", "cache_size = -262144", "query_only = 1"):
            database.execute(f"PRAGMA {pragma}")
        return OpenSqlite(database)

    def _connect(self, directory: Path) -> Any:  # noqa: ANN401 (APSW's connection)
        database = self._apsw.Connection(str(directory / _FILE))
        database.enable_load_extension(True)
        database.load_extension(self._vec.loadable_path())
        database.enable_load_extension(False)
        return database


def _counted(
    stage: str, items: Iterator[tuple[int, Any]], total: int, progress: Progress
) -> Iterator[tuple[int, Any]]:
    for row, item in items:
        if row % 10_000 == 0:
            progress(stage, row, total)
        yield row, item


class OpenSqlite:
    """An open database."""

    def __init__(self, database: Any) -> None:  # noqa: ANN401
        self._database = database

    async def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Return the `k` best chunks by BM25."""
        found = list(self._database.execute(_BM25, (_any_of(terms), k)))
        ids = np.array([row for row, _ in found], np.int32)
        return Candidates(ids, np.array([score for _, score in found], np.float32))

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Return the `k` nearest chunks by cosine."""
        found = self._database.execute(_NEAREST, (vector.tobytes(), k))
        return np.array([row for (row,) in found], np.int32)

    async def hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Return what the one statement does."""
        given = {"vector": query.vector.tobytes(), "terms": _any_of(query.terms)}
        found = self._database.execute(_HYBRID, {**given, "k": k, "depth": depth})
        return np.array([row for (row,) in found], np.int32)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _any_of(terms: Sequence[str]) -> str:
    return " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
