"""What every embedder promises, whatever is behind it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.embedding.base import CorpusTexts, Embedder
from dtrag_core.embedding.cache import cached
from dtrag_core.embedding.registry import fit_embedder, restore_embedder
from dtrag_core.errors import EmbeddingError, MissingExtraError

TOPICS = {
    "bakery": "bread flour dough oven yeast crust butter salt sugar knead",
    "astronomy": "star planet orbit telescope galaxy comet nebula moon light gravity",
    "sailing": "boat sail mast harbour wind rope anchor tide keel captain",
    "chess": "queen rook pawn bishop castle mate gambit board king tempo",
}
EMBEDDERS = ("static", "lsa", "synthetic", "precomputed", "minilm", "onnx", "cached")


@dataclass(frozen=True)
class Case:
    embedder: Embedder
    documents: Sequence[str]
    queries: Sequence[str]
    texts: CorpusTexts
    restores_documents: bool = True


def make_texts() -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(7)
    vocabularies = [words.split() for words in TOPICS.values()]
    documents = [
        " ".join(rng.choice(vocabularies[row % len(vocabularies)], size=rng.integers(3, 30)))
        for row in range(300)
    ]
    queries = [" ".join(rng.choice(words, size=3)) for words in vocabularies]
    return ["", *documents, " \t\n "], [*queries, ""]


def link_minilm(folder: Path) -> str:
    from dtrag_core.embedding.onnx_files import packaged_minilm

    files = packaged_minilm()
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").symlink_to(files.model)
    (folder / "tokenizer.json").symlink_to(files.tokenizer)
    return f"onnx:{folder}"


@pytest.fixture(scope="module", params=EMBEDDERS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    documents, queries = make_texts()
    texts = CorpusTexts(documents, queries)
    spec = "static" if request.param == "cached" else request.param
    try:
        if request.param == "onnx":
            spec = link_minilm(folder / "model")
        if request.param == "precomputed":
            rng = np.random.default_rng(0)
            file = folder / "vectors.npz"
            shapes = {"docs": (len(documents), 24), "queries": (len(queries), 24)}
            np.savez(
                file,
                allow_pickle=False,
                **{name: rng.normal(size=shape) for name, shape in shapes.items()},
            )
            spec = f"precomputed:{file}"
        embedder = fit_embedder(spec, texts)
    except MissingExtraError as error:
        pytest.skip(str(error))
    if request.param == "cached":
        embedder = cached(embedder, folder)
    return Case(embedder, documents, queries, texts, request.param != "precomputed")


@pytest.fixture(scope="module")
def vectors(case: Case) -> np.ndarray:
    return case.embedder.embed_documents(case.documents)


def test_shape_and_type(case: Case, vectors: np.ndarray) -> None:
    assert vectors.shape == (len(case.documents), case.embedder.dimension)
    assert vectors.dtype == np.float32
    query = case.embedder.embed_query(case.queries[0])
    assert query.shape == (case.embedder.dimension,)
    assert query.dtype == np.float32


def test_vectors_have_length_one_and_empty_texts_the_zero_vector(
    case: Case, vectors: np.ndarray
) -> None:
    empty = np.array([not text.strip() for text in case.documents])
    assert empty.sum() == 2
    assert not vectors[empty].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[~empty], axis=1), 1, rtol=1e-5)
    assert np.linalg.norm(case.embedder.embed_query(case.queries[0])) == pytest.approx(1, rel=1e-5)
    assert not case.embedder.embed_query("").any()


def test_no_texts_give_no_rows(case: Case) -> None:
    assert case.embedder.embed_documents([]).shape == (0, case.embedder.dimension)


def test_a_batch_gives_what_single_texts_give(case: Case, vectors: np.ndarray) -> None:
    for row in (0, 1, 150, len(case.documents) - 1):
        single = case.embedder.embed_documents([case.documents[row]])
        np.testing.assert_allclose(single[0], vectors[row], atol=2e-5)


def test_a_batch_of_queries_gives_what_single_queries_give(case: Case) -> None:
    queries = [*case.queries[:5], "", case.queries[0]]
    together = case.embedder.embed_queries(queries)
    assert together.dtype == np.float32
    for row, query in zip(together, queries, strict=True):
        np.testing.assert_allclose(row, case.embedder.embed_query(query), atol=2e-5)
    assert case.embedder.embed_queries([]).shape == (0, case.embedder.dimension)


def test_fitting_again_gives_the_same(case: Case, vectors: np.ndarray) -> None:
    again = fit_embedder(case.embedder.spec, case.texts)
    assert again.fingerprint == case.embedder.fingerprint
    np.testing.assert_array_equal(again.embed_documents(case.documents[:40]), vectors[:40])


def test_restored_from_its_state_it_is_the_same(case: Case, vectors: np.ndarray) -> None:
    restored = restore_embedder(case.embedder.spec, case.embedder.state())
    assert restored.spec == case.embedder.spec
    assert restored.fingerprint == case.embedder.fingerprint
    assert restored.dimension == case.embedder.dimension
    for query in case.queries:
        np.testing.assert_array_equal(restored.embed_query(query), case.embedder.embed_query(query))
    if case.restores_documents:
        np.testing.assert_array_equal(restored.embed_documents(case.documents[:40]), vectors[:40])
    else:
        with pytest.raises(EmbeddingError, match="not kept with an index"):
            restored.embed_documents(case.documents[:1])


def test_the_state_survives_a_file_without_pickle(case: Case, tmp_path: Path) -> None:
    np.savez(tmp_path / "state.npz", allow_pickle=False, **case.embedder.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as archive:
        state = {name: archive[name] for name in archive.files}
    assert state
    restored = restore_embedder(case.embedder.spec, state)
    assert restored.fingerprint == case.embedder.fingerprint


def test_queries_may_be_embedded_from_several_threads(case: Case) -> None:
    queries = list(case.queries) * 8
    expected = [case.embedder.embed_query(query) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(case.embedder.embed_query, queries))
    np.testing.assert_array_equal(found, expected)
