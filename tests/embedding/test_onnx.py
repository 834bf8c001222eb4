import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.embedding.onnx import OnnxEmbedder, load_minilm, load_onnx
from dtrag_core.embedding.onnx_files import find_in, packaged_minilm
from dtrag_core.errors import DataError, InvalidRequestError, MissingExtraError

SCIFACT = Path(__file__).parents[2] / ".." / "shared" / "data" / "scifact"


@pytest.fixture(scope="module")
def minilm() -> OnnxEmbedder:
    try:
        return load_minilm()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        files = packaged_minilm()
    except MissingExtraError as error:
        pytest.skip(str(error))
    (tmp_path / "model.onnx").symlink_to(files.model)
    (tmp_path / "tokenizer.json").symlink_to(files.tokenizer)
    return tmp_path


def write_settings(folder: Path, **settings: object) -> None:
    (folder / "dtrag.json").write_text(json.dumps(settings), "utf-8")


def test_meaning_beats_words(minilm: OnnxEmbedder) -> None:
    query = minilm.embed_query("How do I make my car go faster?")
    near, far = minilm.embed_documents(
        ["Tuning an engine raises a vehicle's top speed.", "How do I make my bread go stale?"]
    )
    assert query @ near > query @ far


@pytest.mark.skipif(not SCIFACT.is_dir(), reason="the SciFact data is not beside the checkout")
def test_minilm_agrees_with_the_reference_vectors(minilm: OnnxEmbedder) -> None:
    with (SCIFACT / "corpus.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(24), strict=False)]
    with np.load(SCIFACT / "minilm-l6-v2.npz") as archive:
        reference = archive["docs"][:24].astype(np.float32)
    found = minilm.embed_documents([f"{row['title']} {row['text']}" for row in rows])
    assert (found * reference).sum(axis=1).min() > 0.99


def test_a_directory_with_a_model_is_opened(folder: Path, minilm: OnnxEmbedder) -> None:
    embedder = load_onnx(str(folder))
    assert embedder.spec == f"onnx:{folder}"
    np.testing.assert_array_equal(embedder.embed_query("hello"), minilm.embed_query("hello"))


def test_prefixes_go_before_their_kind_of_text(folder: Path, minilm: OnnxEmbedder) -> None:
    write_settings(folder, query_prefix="query: ", document_prefix="passage: ")
    embedder = load_onnx(str(folder))
    np.testing.assert_array_equal(embedder.embed_query("bread"), minilm.embed_query("query: bread"))
    np.testing.assert_array_equal(
        embedder.embed_documents(["bread"]), minilm.embed_documents(["passage: bread"])
    )
    assert not embedder.embed_query("  ").any()
    assert embedder.fingerprint != minilm.fingerprint


def test_max_tokens_cuts_the_text(folder: Path) -> None:
    write_settings(folder, max_tokens=5)
    embedder = load_onnx(str(folder))
    np.testing.assert_array_equal(
        embedder.embed_query("one two three four five six"), embedder.embed_query("one two three")
    )


def test_threads_and_the_model_s_name_do_not_change_the_fingerprint(folder: Path) -> None:
    before = find_in(str(folder)).fingerprint()
    (folder / "other.onnx").symlink_to((folder / "model.onnx").resolve())
    write_settings(folder, threads=2, model="other.onnx")
    files = find_in(str(folder))
    assert files.model.name == "other.onnx"
    assert files.fingerprint() == before


def test_the_published_length_counts_unless_told_otherwise(folder: Path) -> None:
    assert find_in(str(folder)).settings.max_tokens == 256
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128}', "utf-8")
    assert find_in(str(folder)).settings.max_tokens == 128
    write_settings(folder, max_tokens=64)
    assert find_in(str(folder)).settings.max_tokens == 64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prefix": "x"}, "'prefix' is 'x'"),
        ({"max_tokens": "many"}, "'max_tokens' is 'many'"),
        ({"threads": 0}, "'threads' is 0"),
        ({"max_tokens": True}, "'max_tokens' is True"),
    ],
)
def test_settings_nobody_knows_are_refused(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    write_settings(tmp_path, **settings)
    with pytest.raises(DataError, match=message):
        find_in(str(tmp_path))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"no model in .*onnx/model\.onnx"):
        find_in(str(tmp_path / "nowhere"))
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InvalidRequestError, match=r"no tokenizer\.json"):
        find_in(str(tmp_path))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    (tmp_path / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(DataError, match=r"model\.onnx: onnxruntime cannot load it"):
        load_onnx(str(tmp_path))
    (tmp_path / "dtrag.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"dtrag\.json: not JSON"):
        load_onnx(str(tmp_path))


def test_without_onnxruntime_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime.*\[minilm\]"):
        load_onnx(str(folder))
