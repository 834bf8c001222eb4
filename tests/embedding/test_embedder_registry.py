import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.embedding.base import CorpusTexts
from dtrag_core.embedding.cache import CachedEmbedder
from dtrag_core.embedding.registry import (
    describe_embedders,
    fit_cached_embedder,
    fit_embedder,
    restore_embedder,
)
from dtrag_core.errors import (
    EmbeddingError,
    InvalidRequestError,
    MissingExtraError,
    UnknownNameError,
)

TEXTS = CorpusTexts(["some words", "other words"], [])


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'bert'.*lsa.*onnx:DIR.*static"):
        fit_embedder("bert", TEXTS)
    with pytest.raises(UnknownNameError):
        restore_embedder("", {})


@pytest.mark.parametrize("spec", ["onnx", "onnx:", "precomputed", "static:fast", "minilm:x"])
def test_an_argument_too_few_or_too_many_names_the_form(spec: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected the form"):
        fit_embedder(spec, TEXTS)


def test_descriptions_start_with_the_default_and_name_the_extra() -> None:
    found = {each.name: each for each in describe_embedders()}
    assert list(found) == ["static", "lsa", "minilm", "onnx", "precomputed", "synthetic"]
    assert found["onnx"].form == "onnx:DIR"
    assert found["minilm"].extra == "minilm"
    assert found["static"].extra == ""


def test_only_costly_embedders_keep_vectors_on_disk(tmp_path: Path) -> None:
    assert not isinstance(fit_cached_embedder("static", TEXTS, tmp_path), CachedEmbedder)
    try:
        minilm = fit_cached_embedder("minilm", TEXTS, tmp_path)
    except MissingExtraError as error:
        pytest.skip(str(error))
    minilm.embed_documents(list(TEXTS.documents))
    assert [path.stem for path in tmp_path.glob("*.sqlite3")] == [minilm.fingerprint]


def test_an_altered_state_is_refused() -> None:
    embedder = fit_embedder("lsa", TEXTS)
    state = dict(embedder.state())
    state["vectors"] = np.asarray(state["vectors"]) * 2
    with pytest.raises(EmbeddingError, match=f"state was made with {embedder.fingerprint}"):
        restore_embedder("lsa", state)


def test_a_state_of_another_embedder_is_refused() -> None:
    state = fit_embedder("synthetic", TEXTS).state()
    with pytest.raises(EmbeddingError, match="no array 'words'"):
        restore_embedder("lsa", state)


def test_asking_for_one_embedder_loads_no_other_library() -> None:
    script = (
        "import sys; from dtrag_core.embedding.registry import describe_embedders as d; d();"
        "print([m for m in ('sklearn', 'onnxruntime', 'numba', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
