"""tantivy (Rust, in Lucene's manner) as a text index."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dtrag_core.bench.peers.base import PeerCorpus, Settings
from dtrag_core.bench.peers.packages import needed
from dtrag_core.types import Candidates, Progress

_WRITER_BYTES: Final = 512 << 20


class TantivyText:
    """One segment, frequencies without positions, rows in a fast field."""

    name = "tantivy"
    package = "tantivy"

    def __init__(self) -> None:
        self._tantivy = needed(self.name, "tantivy", self.package)

    def settings(self) -> Settings:
        """Return the settings; k1 = 1.2 and b = 0.75 are tantivy's own and cannot be set."""
        return {
            "text.tokenizer": "whitespace",
            "text.index_option": "freq",
            "text.stored": False,
            "text.query": "one Should clause a term, count off",
            "text.bm25": "k1 1.2 and b 0.75, fixed; chunk lengths in one byte",
            "text.segments": "as the default merge policy leaves them",
        }

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Index the texts with a writer thread a core."""
        schema = self._schema()
        index = self._tantivy.Index(schema, str(directory))
        writer = index.writer(_WRITER_BYTES, os.cpu_count() or 1)
        for row, text in enumerate(corpus.texts()):
            document = self._tantivy.Document()
            document.add_unsigned("row", row)
            document.add_text("text", text)
            writer.add_document(document)
            if row % 10_000 == 0:
                progress("tantivy: text", row, corpus.chunks)
        writer.commit()
        writer.wait_merging_threads()

    def open(self, directory: Path) -> "OpenTantivy":
        """Open the index, read-only."""
        return OpenTantivy(self._tantivy, self._schema(), directory)

    def _schema(self) -> object:
        builder = self._tantivy.SchemaBuilder()
        builder.add_unsigned_field("row", fast=True)
        builder.add_text_field("text", tokenizer_name="whitespace", index_option="freq")
        return builder.build()


class OpenTantivy:
    """A tantivy searcher."""

    def __init__(self, tantivy: object, schema: object, directory: Path) -> None:
        self._query = tantivy.Query  # type: ignore[attr-defined]
        self._should = tantivy.Occur.Should  # type: ignore[attr-defined]
        self._schema = schema
        self._searcher = tantivy.Index.open(str(directory)).searcher()  # type: ignore[attr-defined]

    def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Return the `k` best chunks by BM25."""
        clauses = [
            (self._should, self._query.term_query(self._schema, "text", term, "freq"))
            for term in terms
        ]
        found = self._searcher.search(self._query.boolean_query(clauses), k, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in found])
        scores = np.array([score for score, _ in found], np.float32)
        return Candidates(np.array(rows, np.int32), scores)
