"""LanceDB: full-text search and IVF_HNSW_SQ in one table, its own hybrid search."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dtrag_core.bench.peers.base import PeerCorpus, PeerQuery, Settings
from dtrag_core.bench.peers.fusing import RRF_K
from dtrag_core.bench.peers.packages import needed, versions_of
from dtrag_core.types import Candidates, FloatArray, IdArray, Progress

_BATCH: Final = 8192
_PARTITION_ROWS: Final = 1 << 20
_EFFORTS: Final = (75, 100, 150, 200, 300, 400, 600, 800, 1200)


class LancePeer:
    """LanceDB with the index its documentation calls the best trade of recall and latency."""

    name = "lancedb"
    index = "lancedb"

    def __init__(self) -> None:
        # It warns once a hybrid search of what a later release will do, which costs time.
        os.environ.setdefault("LANCEDB_LOG", "error")
        self._lancedb = needed(self.name, "lancedb", "lancedb")

    def versions(self) -> Mapping[str, str]:
        """Return the version."""
        return versions_of("lancedb")

    def settings(self) -> Settings:
        """Return the settings; what is not listed is LanceDB's default."""
        return {
            "vectors.index": "IVF_HNSW_SQ, cosine, m 20, ef_construction 300",
            "vectors.num_partitions": "rows // 1,048,576, at least 1 (LanceDB's advice)",
            "vectors.search": "nprobes by default",
            "vectors.ef": f"tuned, of {', '.join(map(str, _EFFORTS))} (its default: 1.5 x limit)",
            "text.index": "FTS, whitespace tokens, no stemming, folding or positions",
            "text.bm25": "k1 1.2 and b 0.75, fixed; repeated query terms as LanceDB takes them",
            "fusion": "its own asynchronous hybrid query, RRFReranker(60), legs at the depth",
            "columns": "row alone is returned; texts and vectors are stored",
        }

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Write the table, then both indexes, then compact."""
        kinds = needed(self.name, "lancedb.index", "lancedb")
        schema = pa.schema(
            [
                ("row", pa.int32()),
                ("text", pa.string()),
                ("vector", pa.list_(pa.float32(), corpus.dimension)),
            ]
        )
        table = self._lancedb.connect(str(directory)).create_table(
            "chunks", _batches(corpus, schema, progress), schema=schema
        )
        table.optimize()
        progress("lancedb: text index", 0, None)
        table.create_index(
            "text",
            config=kinds.FTS(
                base_tokenizer="whitespace",
                lower_case=False,
                stem=False,
                remove_stop_words=False,
                ascii_folding=False,
                max_token_length=1 << 20,
                with_position=False,
            ),
        )
        progress("lancedb: vector index", 0, None)
        partitions = max(1, corpus.chunks // _PARTITION_ROWS)
        table.create_index(
            "vector", config=kinds.HnswSq(distance_type="cosine", num_partitions=partitions)
        )

    def open(self, corpus: PeerCorpus, directory: Path) -> "OpenLance":
        """Name the table; it is opened by the first search, on the loop that searches."""
        return OpenLance(self._lancedb, directory)


def _batches(corpus: PeerCorpus, schema: pa.Schema, progress: Progress) -> Iterator[pa.RecordBatch]:
    texts = corpus.texts()
    for start in range(0, corpus.chunks, _BATCH):
        progress("lancedb: rows", start, corpus.chunks)
        end = min(start + _BATCH, corpus.chunks)
        flat = pa.array(np.asarray(corpus.vectors[start:end]).ravel())
        yield pa.record_batch(
            [
                pa.array(np.arange(start, end, dtype=np.int32)),
                pa.array([next(texts) for _ in range(start, end)]),
                pa.FixedSizeListArray.from_arrays(flat, corpus.dimension),
            ],
            schema=schema,
        )


class OpenLance:
    """A table, searched through the asynchronous interface, the faster of the two.

    `effort` is ef.
    """

    efforts = _EFFORTS

    def __init__(self, lancedb: Any, directory: Path) -> None:  # noqa: ANN401 (a module)
        self._lancedb = lancedb
        self._directory = directory
        self._match = lancedb.query.MatchQuery
        self._reranker = lancedb.rerankers.RRFReranker(RRF_K)
        self._table: Any = None
        self.effort = _EFFORTS[0]

    async def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Return the `k` best chunks by BM25."""
        query = (await self._query()).nearest_to_text(self._match(" ".join(terms), "text"))
        answer = await query.select(["row", "_score"]).limit(k).to_arrow()
        return Candidates(_rows(answer), answer["_score"].to_numpy())

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Return the `k` nearest chunks by cosine."""
        query = (await self._query()).nearest_to(vector).distance_type("cosine")
        query = query.ef(max(self.effort, k))
        return _rows(await query.select(["row", "_distance"]).limit(k).to_arrow())

    async def hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Return what LanceDB's hybrid query does; its limit is also the legs' depth."""
        found = (
            (await self._query())
            .nearest_to(query.vector)
            .distance_type("cosine")
            .ef(max(self.effort, depth))
            .nearest_to_text(self._match(" ".join(query.terms), "text"))
            .select(["row"])
            .rerank(self._reranker)
            .limit(depth)
        )
        return _rows(await found.to_arrow())[:k]

    async def _query(self) -> Any:  # noqa: ANN401 (LanceDB's builder)
        if self._table is None:
            database = await self._lancedb.connect_async(str(self._directory))
            self._table = await database.open_table("chunks")
        return self._table.query()

    def close(self) -> None:
        """Nothing to release: the table goes with this object."""
        self._table = None


def _rows(answer: pa.Table) -> IdArray:
    rows: IdArray = answer["row"].to_numpy()
    return rows
