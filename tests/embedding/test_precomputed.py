from pathlib import Path

import numpy as np
import pytest

from dtrag_core.embedding.base import CorpusTexts
from dtrag_core.embedding.precomputed import fit_precomputed
from dtrag_core.errors import DataError, EmbeddingError, InvalidRequestError

TEXTS = CorpusTexts(["first", "second", "third"], ["ask", "tell"])
DOCS = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
QUERIES = np.array([[1.0, 0.0], [0.0, 5.0]])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vectors.npz"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_found_by_their_text_in_any_order(file: Path, dtype: type) -> None:
    np.savez(file, docs=DOCS.astype(dtype), queries=QUERIES.astype(dtype))
    embedder = fit_precomputed(str(file), TEXTS)
    found = embedder.embed_documents(["third", "first"])
    np.testing.assert_allclose(found, np.array([[1, 0], [0.6, 0.8]]), atol=1e-3)
    np.testing.assert_allclose(embedder.embed_query("tell"), [0, 1])


def test_a_text_without_vector_is_named(file: Path) -> None:
    np.savez(file, docs=DOCS, queries=QUERIES)
    embedder = fit_precomputed(str(file), TEXTS)
    with pytest.raises(EmbeddingError, match="no precomputed vector for text 'something new'"):
        embedder.embed_query("something new")
    with pytest.raises(EmbeddingError, match="no precomputed vector for text 'ask'"):
        embedder.embed_documents(["ask"])


@pytest.mark.parametrize(
    ("docs", "queries", "message"),
    [
        (DOCS[:2], QUERIES, "'docs' has 2 rows, the dataset has 3 texts"),
        (DOCS, QUERIES[:1], "'queries' has 1 rows, the dataset has 2 texts"),
        (np.where(DOCS == 2, np.nan, DOCS), QUERIES, r"'docs'.*NaN.*first: row 1"),
        (DOCS, QUERIES + np.inf, r"'queries'.*NaN or infinite"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    file: Path, docs: np.ndarray, queries: np.ndarray, message: str
) -> None:
    np.savez(file, docs=docs, queries=queries)
    with pytest.raises(EmbeddingError, match=message):
        fit_precomputed(str(file), TEXTS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"docs": DOCS}, r"'docs' and 'queries', found \['docs'\]"),
        ({"docs": DOCS[0], "queries": QUERIES}, r"'docs' is float64\[2\]"),
        ({"docs": DOCS.astype(int), "queries": QUERIES}, "'docs' is int64"),
        ({"docs": DOCS, "queries": QUERIES[:, :1]}, "2 dimensions, 'queries' 1"),
        ({"docs": np.array([[None]]), "queries": QUERIES}, "not a readable"),
    ],
)
def test_arrays_of_another_shape_are_refused(
    file: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(file, allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=message):
        fit_precomputed(str(file), TEXTS)


def test_a_missing_and_a_truncated_file_are_told_apart(file: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no file"):
        fit_precomputed(str(file), TEXTS)
    np.savez(file, docs=DOCS, queries=QUERIES)
    whole = file.read_bytes()
    np.save(file.with_suffix(".npy"), DOCS)
    plain = file.with_suffix(".npy").read_bytes()
    for content in (whole[:200], whole[200:], b"", b"plain text", plain):
        file.write_bytes(content)
        with pytest.raises(DataError, match="not a readable"):
            fit_precomputed(str(file), TEXTS)


def test_the_fingerprint_follows_the_documents(file: Path) -> None:
    np.savez(file, docs=DOCS, queries=QUERIES)
    before = fit_precomputed(str(file), TEXTS).fingerprint
    np.savez(file, docs=DOCS[::-1], queries=QUERIES)
    assert fit_precomputed(str(file), TEXTS).fingerprint != before
