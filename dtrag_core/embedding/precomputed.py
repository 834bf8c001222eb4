"""Vectors made elsewhere, read from a file: `precomputed:FILE.npz`.

The file holds `docs`, float[documents, d], and `queries`, float[queries, d], rows in the dataset's
order. Rows are found again by the hash of their text, in which white space and the composition of
characters do not count: searches normalise both.
"""

import hashlib
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtrag_core.embedding.base import CorpusTexts, State
from dtrag_core.embedding.vectors import fingerprint_of, sealed, text_hash, unit_rows
from dtrag_core.errors import DataError, EmbeddingError, InvalidRequestError
from dtrag_core.types import FloatArray


class PrecomputedEmbedder:
    """Looks vectors up by text.

    `query_hashes` uint8[q, 16] and `query_vectors` float32[q, d] belong together, as do
    `document_rows` (text hash -> row) and `documents` float[n, d]. Only the queries are kept in the
    state: an index holds the documents' vectors already.
    """

    def __init__(
        self,
        spec: str,
        query_hashes: NDArray[np.uint8],
        query_vectors: FloatArray,
        source: NDArray[np.uint8],
        document_rows: Mapping[bytes, int] | None = None,
        documents: NDArray[np.floating] | None = None,
    ) -> None:
        self.spec = spec
        self.dimension = int(query_vectors.shape[1])
        self._queries = query_vectors
        self._query_rows = {key.tobytes(): row for row, key in enumerate(query_hashes)}
        self._document_rows = document_rows
        self._documents = documents
        self._arrays: State = {
            "query_hashes": query_hashes,
            "query_vectors": query_vectors,
            "source": source,
        }
        self.fingerprint = fingerprint_of("precomputed", self._arrays)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), d]; EmbeddingError if a text was not among the documents."""
        if self._documents is None or self._document_rows is None:
            raise EmbeddingError(
                f"{self.spec}: the documents' vectors are not kept with an index, only the "
                f"queries'; to embed documents, fit the embedder again from the file"
            )
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            if text.strip():
                vectors[row] = self._documents[self._row_of(text, self._document_rows, "document")]
        return unit_rows(vectors, self.spec)

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[d]; EmbeddingError if the text was not among the dataset's queries."""
        if not text.strip():
            return np.zeros(self.dimension, dtype=np.float32)
        return np.array(self._queries[self._row_of(text, self._query_rows, "query")])

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), d]."""
        rows = [np.zeros((0, self.dimension), np.float32)]
        return np.concatenate([*rows, *(self.embed_query(text)[np.newaxis] for text in texts)])

    def state(self) -> State:
        """Return `query_hashes`, `query_vectors`, `source` (digest of the file's arrays), ..."""
        return sealed(self._arrays, self.fingerprint)

    def _row_of(self, text: str, rows: Mapping[bytes, int], kind: str) -> int:
        row = rows.get(_key(text))
        if row is None:
            raise EmbeddingError(
                f"no precomputed vector for text {text[:80]!r}: {self.spec} holds those of the "
                f"dataset's {len(rows)} distinct {kind} texts only; for free text use an embedder "
                f"that computes (static, lsa, minilm, onnx:DIR)"
            )
        return row


def fit_precomputed(file: str, texts: CorpusTexts) -> PrecomputedEmbedder:
    """Read the file and match its rows with the texts.

    Raises InvalidRequestError if there is no such file, DataError if it is no such archive or its
    arrays have the wrong shape, EmbeddingError if rows and texts differ in number or a
    value is NaN.
    """
    documents, queries = _read(Path(file))
    spec = f"precomputed:{file}"
    query_hashes = _hashes(texts.queries)
    document_hashes = _hashes(texts.documents)
    for name, given, wanted in (
        ("docs", len(documents), len(document_hashes)),
        ("queries", len(queries), len(query_hashes)),
    ):
        if given != wanted:
            raise EmbeddingError(
                f"{spec}: {name!r} has {given} rows, the dataset has {wanted} texts; "
                f"the file was made from another dataset or another version of it"
            )
    source = hashlib.sha256(np.ascontiguousarray(documents).data)
    source.update(np.ascontiguousarray(document_hashes).data)
    unit_rows(documents, f"{spec} ('docs')")
    return PrecomputedEmbedder(
        spec,
        query_hashes,
        unit_rows(queries, f"{spec} ('queries')"),
        np.frombuffer(source.digest(), dtype=np.uint8),
        {key.tobytes(): row for row, key in enumerate(document_hashes)},
        documents,
    )


def restore_precomputed(file: str, state: State) -> PrecomputedEmbedder:
    """Return the embedder whose `state()` this is; it embeds queries only."""
    return PrecomputedEmbedder(
        f"precomputed:{file}",
        np.asarray(state["query_hashes"], dtype=np.uint8),
        np.asarray(state["query_vectors"], dtype=np.float32),
        np.asarray(state["source"], dtype=np.uint8),
    )


def _hashes(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Return uint8[n, 16], one row a text."""
    return np.frombuffer(b"".join(map(_key, texts)), dtype=np.uint8).reshape(-1, 16)


def _key(text: str) -> bytes:
    return text_hash(" ".join(unicodedata.normalize("NFC", text).split()))


def _read(path: Path) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    if not path.is_file():
        raise InvalidRequestError(f"no file {str(path)!r}; precomputed:FILE.npz needs one")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, TypeError) as error:
        raise DataError(f"{path}: not a readable .npz archive ({error})") from error
    if not {"docs", "queries"} <= arrays.keys():
        raise DataError(
            f"{path}: expected arrays 'docs' and 'queries', found {sorted(arrays)}; "
            f"save with numpy.savez(FILE, docs=..., queries=...)"
        )
    documents, queries = arrays["docs"], arrays["queries"]
    for name, array in (("docs", documents), ("queries", queries)):
        if array.ndim != 2 or array.dtype.kind != "f":
            raise DataError(
                f"{path}: {name!r} is {array.dtype}{list(array.shape)}, expected float[rows, d]"
            )
    if documents.shape[1] != queries.shape[1]:
        raise DataError(
            f"{path}: 'docs' has {documents.shape[1]} dimensions, 'queries' {queries.shape[1]}"
        )
    return documents, queries
