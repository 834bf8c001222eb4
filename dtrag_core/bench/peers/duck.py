"""DuckDB: its fts and vss extensions, from wheels, since its own download needs the network."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dtrag_core.bench.peers.base import PeerCorpus, PeerQuery, PeerUnavailableError, Settings
from dtrag_core.bench.peers.fusing import RRF_K, rrf
from dtrag_core.bench.peers.packages import needed, versions_of
from dtrag_core.types import Candidates, FloatArray, IdArray, Progress

_FILE: Final = "chunks.duckdb"
_EXTENSIONS: Final = ("fts", "vss")
_BATCH: Final = 20_000
_MEMORY: Final = "8GB"
_BM25: Final = """
SELECT id, score FROM (
  SELECT id, fts_main_chunks.match_bm25(id, ?, k := {k1}, b := {b}) AS score FROM chunks
) WHERE score IS NOT NULL ORDER BY score DESC, id LIMIT ?
"""
_NEAREST: Final = """
SELECT id FROM chunks ORDER BY array_cosine_distance(vector, ?::FLOAT[{dimension}]) LIMIT ?
"""


class DuckPeer:
    """match_bm25 and an HNSW index over one table."""

    name = "duckdb"
    index = "duckdb"

    def __init__(self) -> None:
        self._duckdb = needed(self.name, "duckdb", "duckdb")
        release = f"v{version('duckdb')}"
        self._files = []
        for extension in _EXTENSIONS:
            package = needed(
                self.name, f"duckdb_extension_{extension}", f"duckdb-extension-{extension}"
            )
            folder = Path(package.__path__[0]) / "extensions" / release
            self._files.append(folder / f"{extension}.duckdb_extension")
        absent = [file.name for file in self._files if not file.is_file()]
        if absent:
            raise PeerUnavailableError(
                f"DuckDB {release} needs {', '.join(absent)} of the same release, the installed "
                "wheels hold others; install matching duckdb and duckdb-extension-* versions"
            )

    def versions(self) -> Mapping[str, str]:
        """Return the versions."""
        return versions_of("duckdb", *(f"duckdb-extension-{name}" for name in _EXTENSIONS))

    def settings(self) -> Settings:
        """Return the settings; what is not listed is DuckDB's default."""
        return {
            "text.index": "fts: no stemmer, no stop words, split at white space alone",
            "text.bm25": "k1 and b as everywhere",
            "vectors.index": "vss: HNSW, cosine, M 16, ef_construction 128",
            "vectors.ef_search": "max(64, depth)",
            "memory_limit": _MEMORY,
            "fusion": f"RRF, k = {RRF_K}, in NumPy; one query a leg",
        }

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Write the table, then both indexes."""
        database = self._connect(directory)
        database.execute("SET hnsw_enable_experimental_persistence = true")
        database.execute(
            f"CREATE TABLE chunks (id INTEGER, text VARCHAR, vector FLOAT[{corpus.dimension}])"
        )
        texts = corpus.texts()
        for start in range(0, corpus.chunks, _BATCH):
            progress("duckdb: rows", start, corpus.chunks)
            end = min(start + _BATCH, corpus.chunks)
            flat = pa.array(np.asarray(corpus.vectors[start:end]).ravel())
            rows = pa.table(
                {
                    "id": np.arange(start, end, dtype=np.int32),
                    "text": [next(texts) for _ in range(start, end)],
                    "vector": pa.FixedSizeListArray.from_arrays(flat, corpus.dimension),
                }
            )
            database.register("incoming", rows)
            database.execute("INSERT INTO chunks SELECT * FROM incoming")
            database.unregister("incoming")
        progress("duckdb: text index", 0, None)
        database.execute(
            "PRAGMA create_fts_index('chunks', 'id', 'text', stemmer = 'none', "
            r"stopwords = 'none', ignore = '\s+', strip_accents = 0, lower = 0)"
        )
        progress("duckdb: vector index", 0, None)
        database.execute("CREATE INDEX near ON chunks USING HNSW (vector) WITH (metric = 'cosine')")
        database.execute("CHECKPOINT")
        database.close()

    def open(self, corpus: PeerCorpus, directory: Path) -> "OpenDuck":
        """Open the file."""
        return OpenDuck(self._connect(directory), corpus)

    def _connect(self, directory: Path) -> Any:  # noqa: ANN401 (DuckDB's connection)
        # Extensions are loaded before the file is attached, whose index needs them.
        database = self._duckdb.connect()
        for file in self._files:
            database.execute(f"LOAD {_quoted(file)}")
        database.execute(f"SET memory_limit = '{_MEMORY}'")
        database.execute(f"SET temp_directory = {_quoted(directory / 'spill')}")
        database.execute(f"ATTACH {_quoted(directory / _FILE)} AS peers")
        database.execute("USE peers")
        return database


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


class OpenDuck:
    """An open database."""

    def __init__(self, database: Any, corpus: PeerCorpus) -> None:  # noqa: ANN401
        self._database = database
        self._bm25 = _BM25.format(k1=corpus.bm25.k1, b=corpus.bm25.b)
        self._nearest = _NEAREST.format(dimension=corpus.dimension)
        self._ef = 0

    async def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Return the `k` best chunks by BM25."""
        found = self._database.execute(self._bm25, [" ".join(terms), k]).fetchnumpy()
        ids, scores = found["id"], found["score"]
        return Candidates(np.asarray(ids, np.int32), np.asarray(scores, np.float32))

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Return the `k` nearest chunks by cosine."""
        ef = max(64, k)
        if ef != self._ef:
            self._database.execute(f"SET hnsw_ef_search = {ef}")
            self._ef = ef
        found = self._database.execute(self._nearest, [vector, k]).fetchnumpy()
        return np.asarray(found["id"], np.int32)

    async def hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Fuse both legs."""
        text = await self.bm25(query.terms, depth)
        return rrf(text.ids, await self.nearest(query.vector, depth), k)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
