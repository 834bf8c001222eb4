"""Any corpus as JSON lines, with judged queries beside it or known-item queries made from it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dtrag_core.config import AnalyzerSettings
from dtrag_core.datasets import known_item
from dtrag_core.datasets.base import DatasetInfo
from dtrag_core.datasets.judgments import (
    fingerprint,
    judged_queries,
    read_judgments,
    read_queries,
    stable_split,
)
from dtrag_core.datasets.known_item import KnownItem, find_known_items, without_summaries
from dtrag_core.datasets.records import Record, read_records, unique_ids
from dtrag_core.errors import DataError
from dtrag_core.types import Chunk, JudgedQuery, Split

CAVEAT = "with your own judgments, evidence on quality as far as they reach; without: " + (
    known_item.CAVEAT
)
_JUDGED_CAVEAT = "judged by its owner: evidence on quality as far as the judgments reach"
_SPLITS: tuple[Split, ...] = ("train", "test")


class JsonlDataset:
    """A corpus of one JSON object a line: `text`, and as you like `title`, `path`, `id`, ...

    `path` is "a/b/c" or a list; `id` defaults to the line number; `doc_type` is a string;
    `attributes` an object. Beside NAME.jsonl there may be NAME.queries.jsonl (`text`, and `id` or
    the line number) and NAME.qrels.tsv (query, chunk, gain, and perhaps `train` or `test`; without
    it a query's split follows from a hash of its id). If neither is there, queries are known items.

    Raises `DataError` for a missing file or an empty corpus, `MalformedLineError` for bad JSON,
    duplicate ids and judgments that name a chunk or a query that does not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        if not file.is_file():
            raise DataError(f"no such file: {file}; jsonl:FILE names a file of JSON lines")
        files = [file, file.with_suffix(".queries.jsonl"), file.with_suffix(".qrels.tsv")]
        ids = unique_ids((record, _chunk(record).id) for record in read_records(file))
        if not ids:
            raise DataError(f"{file}: no chunks")
        self._size = len(ids)
        self._items: Mapping[int, KnownItem] = {}
        if judged := files[1].exists() or files[2].exists():
            self._texts, self._queries = _judged(files[1], files[2], ids)
        else:
            files = [file]
            self._items = find_known_items(self._records)
            self._texts, self._queries = known_item.queries(self._items)
        version = "" if judged else f"known-item-{known_item.VERSION}:"
        self.info = DatasetInfo(
            spec=f"jsonl:{file}",
            fingerprint=version + fingerprint(*files),
            analyzer=AnalyzerSettings("english"),
            embedder="static",
            caveat=_JUDGED_CAVEAT if judged else known_item.CAVEAT,
        )

    def __len__(self) -> int:
        return self._size

    def _records(self) -> Iterator[Chunk]:
        return map(_chunk, read_records(self._file))

    def chunks(self) -> Iterator[Chunk]:
        """Stream the chunks in file order, without the summaries that became queries."""
        return without_summaries(self._records(), self._items)

    def queries(self, split: Split) -> Sequence[JudgedQuery]:
        """Return the queries of one split, in the order of their file or of their chunks."""
        return self._queries[split]

    def query_texts(self) -> Sequence[str]:
        """Return every query's text, judged or not, in order."""
        return self._texts


def read_chunks(file: Path) -> Iterator[Chunk]:
    """Stream the chunks of a file in this form; each line must say its `id`.

    Raises `DataError` for a missing file, `MalformedLineError` for a line that cannot be read.
    """
    for record in read_records(file):
        record.identifier("id")
        yield _chunk(record)


def _judged(
    queries: Path, qrels: Path, ids: set[str]
) -> tuple[Sequence[str], Mapping[Split, Sequence[JudgedQuery]]]:
    texts = read_queries(queries, "id")
    judgments = list(read_judgments(qrels, texts, ids))
    return tuple(texts.values()), {
        split: judged_queries(
            texts, (j for j in judgments if (j.split or stable_split(j.query)) == split)
        )
        for split in _SPLITS
    }


def _chunk(record: Record) -> Chunk:
    return Chunk(
        id=record.identifier("id", str(record.line)),
        title=record.text("title", ""),
        text=record.text("text"),
        path=record.taxonomy_path(),
        doc_type=record.text("doc_type", ""),
        attributes=record.attributes(record.values.get("attributes") or {}),
    )
