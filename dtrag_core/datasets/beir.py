"""A judged collection in BEIR layout: corpus.jsonl, queries.jsonl, qrels/{train,test}.tsv."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dtrag_core.config import AnalyzerSettings
from dtrag_core.datasets.base import DatasetInfo
from dtrag_core.datasets.judgments import (
    fingerprint,
    judged_queries,
    read_judgments,
    read_queries,
)
from dtrag_core.datasets.records import Record, read_records, unique_ids
from dtrag_core.errors import DataError
from dtrag_core.types import Chunk, JudgedQuery, Split

CAVEAT = "judged by people: evidence on quality for text like this, as far as its queries reach"
_SPLITS: tuple[Split, ...] = ("train", "test")


class BeirDataset:
    """A folder in BEIR layout (Thakur et al. 2021), checked as a whole when it is opened.

    `metadata` of a document may hold `path` ("a/b/c" or a list) and `doc_type`; what else it holds
    becomes the chunk's attributes. A split without a file is empty; `test` must be there.

    Raises `DataError` for a missing file or an empty corpus, `MalformedLineError` for bad JSON,
    duplicate ids and judgments that name a document or a query that does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._corpus = folder / "corpus.jsonl"
        queries = folder / "queries.jsonl"
        qrels = {split: folder / "qrels" / f"{split}.tsv" for split in _SPLITS}
        if not qrels["train"].exists():
            del qrels["train"]
        self._texts = read_queries(queries, "_id")
        ids = unique_ids((record, _chunk(record).id) for record in read_records(self._corpus))
        if not ids:
            raise DataError(f"{self._corpus}: no documents")
        self._size = len(ids)
        self._queries: Mapping[Split, Sequence[JudgedQuery]] = {
            split: judged_queries(self._texts, read_judgments(path, self._texts, ids))
            for split, path in qrels.items()
        }
        self.info = DatasetInfo(
            spec=f"beir:{folder}",
            fingerprint=fingerprint(self._corpus, queries, *qrels.values()),
            analyzer=AnalyzerSettings("english"),
            embedder="static",
            caveat=CAVEAT,
        )

    def __len__(self) -> int:
        return self._size

    def chunks(self) -> Iterator[Chunk]:
        """Stream the documents in file order."""
        return map(_chunk, read_records(self._corpus))

    def queries(self, split: Split) -> Sequence[JudgedQuery]:
        """Return the queries with a gain above 0 in that split, in the order of queries.jsonl."""
        return self._queries.get(split, ())

    def query_texts(self) -> Sequence[str]:
        """Return all rows of queries.jsonl, in order."""
        return tuple(self._texts.values())


def _chunk(record: Record) -> Chunk:
    metadata = record.values.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise record.error(f"'metadata' must be an object, not {metadata!r}")
    placed = Record(record.path, record.line, metadata)
    rest = {name: value for name, value in metadata.items() if name not in ("path", "doc_type")}
    return Chunk(
        id=record.identifier("_id"),
        title=record.text("title", ""),
        text=record.text("text"),
        path=placed.taxonomy_path(),
        doc_type=placed.text("doc_type", ""),
        attributes=placed.attributes(rest),
    )
