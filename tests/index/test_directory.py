"""Index directories: the same bytes again, damage that is noticed, other settings refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.config import BM25Settings
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import (
    BuildError,
    IndexCorruptError,
    IndexDirectoryError,
    IndexMismatchError,
    InvalidRequestError,
)
from dtrag_core.index.manifest import FORMAT_VERSION, read_manifest, verify_files
from dtrag_core.workbench import open_dao, prepare

SEGMENT = "segments/000001"


@pytest.fixture
def copy(small_index: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_index, tmp_path / "copy"))


def test_an_intact_index_verifies(small_index: Path) -> None:
    manifest = verify_files(small_index)
    assert manifest.chunks > 500
    assert manifest.dimension > 0
    assert manifest.content_hash == read_manifest(small_index).content_hash


def test_building_again_gives_the_same_index(
    corpus_file: Path, small_index: Path, tmp_path: Path
) -> None:
    again = prepare(open_dataset(f"jsonl:{corpus_file}"), "lsa", directory=tmp_path / "again")
    assert read_manifest(again).files == read_manifest(small_index).files


def test_a_present_index_is_not_built_again(corpus_file: Path, small_index: Path) -> None:
    before = (small_index / "manifest.json").stat().st_mtime_ns
    prepare(open_dataset(f"jsonl:{corpus_file}"), "lsa", directory=small_index)
    assert (small_index / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["postings_ids.npy", "vectors_halves.npy", "chunks.arrow"])
def test_a_truncated_file_is_named_with_both_sizes(copy: Path, name: str) -> None:
    path = copy / SEGMENT / name
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2)
    with pytest.raises(IndexCorruptError, match=rf"{name} has {size // 2:,} bytes.*{size:,}"):
        EmbeddedEngine(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / SEGMENT / "vocabulary_letters.npy").unlink()
    with pytest.raises(IndexCorruptError, match=r"vocabulary_letters\.npy is missing"):
        EmbeddedEngine(copy)


def test_one_altered_byte_is_found_by_verify(copy: Path) -> None:
    path = copy / SEGMENT / "postings_saturations.npy"
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(IndexCorruptError, match=r"postings_saturations\.npy was altered"):
        verify_files(copy)


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(IndexDirectoryError, match="dtrag index build"):
        open_dao(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", f'{{"format_version": {FORMAT_VERSION}}}'])
def test_an_unreadable_manifest_is_corrupt(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(IndexCorruptError, match=r"manifest\.json"):
        read_manifest(copy)


def test_another_format_is_refused_with_both_versions(copy: Path) -> None:
    raw = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**raw, "format_version": 99}))
    with pytest.raises(IndexMismatchError, match=f"format 99, this version reads {FORMAT_VERSION}"):
        read_manifest(copy)


def test_an_index_of_another_embedder_is_refused_with_both(corpus_file: Path, copy: Path) -> None:
    with pytest.raises(IndexMismatchError, match=r"embedder lsa, asked for is static"):
        prepare(open_dataset(f"jsonl:{corpus_file}"), "static", directory=copy)


def test_other_parameters_are_refused_and_rebuilt_when_asked(corpus_file: Path, copy: Path) -> None:
    dataset = open_dataset(f"jsonl:{corpus_file}")
    with pytest.raises(IndexMismatchError, match="bm25"):
        prepare(dataset, "lsa", BM25Settings(0.9, 0.4), directory=copy)
    prepare(dataset, "lsa", BM25Settings(0.9, 0.4), directory=copy, rebuild=True)
    assert read_manifest(copy).bm25 == BM25Settings(0.9, 0.4)


def test_a_folder_of_other_files_is_never_replaced(corpus_file: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BuildError, match="holds files but no index"):
        prepare(open_dataset(f"jsonl:{corpus_file}"), "lsa", directory=tmp_path, rebuild=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(("k1", "b"), [(float("nan"), 0.5), (-1.0, 0.5), (1.2, 7.0)])
def test_impossible_parameters_are_refused(
    corpus_file: Path, tmp_path: Path, k1: float, b: float
) -> None:
    with pytest.raises(InvalidRequestError, match="k1 >= 0"):
        prepare(
            open_dataset(f"jsonl:{corpus_file}"), "lsa", BM25Settings(k1, b), directory=tmp_path
        )


def test_an_empty_corpus_is_refused_and_leaves_what_was_there(copy: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    before = read_manifest(copy)
    with pytest.raises(Exception, match=r"empty|no chunks") as caught:
        prepare(open_dataset(f"jsonl:{empty}"), "lsa", directory=copy, rebuild=True)
    assert isinstance(caught.value, BuildError | ValueError)
    assert read_manifest(copy) == before


def test_no_array_needs_pickle(small_index: Path) -> None:
    for path in small_index.rglob("*.npy"):
        np.load(path, allow_pickle=False)
    with np.load(small_index / "embedder.npz", allow_pickle=False) as state:
        assert all(state[name].dtype != object for name in state)
