"""Imported sparse vectors: inner products by the BM25 kernel, against numpy."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.cli import main
from dtrag_core.errors import DataError, IndexCorruptError, InvalidRequestError, MalformedLineError
from dtrag_core.index.sparse import LEVELS, SparseIndex, build_sparse_index

TERMS = [f"##t{number}" for number in range(60)]


def written(path: Path, vectors: dict[str, dict[str, float]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for name, vector in vectors.items():
            file.write(json.dumps({"id": name, "vector": vector}) + "\n")
    return path


def drawn(seed: int, count: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    return {
        f"d{row}": {
            term: float(rng.gamma(2.0, 0.6)) for term in rng.choice(TERMS, 12, replace=False)
        }
        for row in range(count)
    }


@pytest.fixture(scope="module")
def vectors() -> dict[str, dict[str, float]]:
    return {**drawn(1, 700), "empty": {}, "zero": {"##t1": 0.0}}


@pytest.fixture(scope="module")
def index(vectors: dict[str, dict[str, float]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparse")
    build_sparse_index(written(folder / "v.jsonl", vectors), folder / "index", segment_rows=300)
    return folder / "index"


@pytest.mark.parametrize("depth", [1, 10, 1_000])
def test_finds_the_largest_inner_products(
    index: Path, vectors: dict[str, dict[str, float]], depth: int
) -> None:
    largest = max(max(vector.values(), default=0.0) for vector in vectors.values())
    opened = SparseIndex(index)
    assert len(opened) == len(vectors)
    for query in drawn(2, 20).values():
        quantised = {
            name: sum(
                query[term] * max(round(weight / largest * LEVELS), 1) / LEVELS * largest
                for term, weight in vector.items()
                if term in query and weight > 0
            )
            for name, vector in vectors.items()
        }
        expected = sorted((score for score in quantised.values() if score > 0), reverse=True)[
            :depth
        ]
        found = opened.search({**query, "unknown": 3.0}, depth)
        np.testing.assert_allclose([hit.score for hit in found], expected, rtol=1e-5)
        np.testing.assert_allclose(
            [hit.score for hit in found], [quantised[hit.id] for hit in found], rtol=1e-5
        )
        true = {
            hit.id: sum(query[t] * w for t, w in vectors[hit.id].items() if t in query)
            for hit in found
        }
        bound = sum(query.values()) * largest / (2 * LEVELS) * 1.01
        assert all(abs(true[hit.id] - hit.score) <= bound for hit in found)


def test_the_command_writes_a_trec_run(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = written(tmp_path / "q.jsonl", {"q1": {"##t3": 1.5}, "q2": {"never": 1.0}})
    assert main(["sparse", "search", str(index), str(queries), "--topk", "3"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] + line[3:4] for line in lines] == [["q1", "Q0", str(r)] for r in (1, 2, 3)]


@pytest.mark.parametrize("vector", ['{"a": -1}', '{"a": "x"}', "[1]", '{"a": NaN}'])
def test_a_bad_weight_is_named_with_its_line(tmp_path: Path, vector: str) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text('{"id": "1", "vector": {"a": 1}}\n{"id": "2", "vector": ' + vector + "}\n")
    with pytest.raises(MalformedLineError, match=r"v\.jsonl:2"):
        build_sparse_index(path, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_what_cannot_be_searched_is_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to search"):
        build_sparse_index(written(tmp_path / "v.jsonl", {"a": {}}), tmp_path / "index")
    with pytest.raises(InvalidRequestError, match="dtrag sparse build"):
        SparseIndex(tmp_path)
    with pytest.raises(InvalidRequestError, match="-1"):
        SparseIndex(index).search({"##t1": -1.0}, 5)
    older = tmp_path / "older"
    shutil.copytree(index, older)
    next(older.rglob("postings_part_peaks.npy")).unlink()
    with pytest.raises(IndexCorruptError, match=r"part_peaks.*dtrag sparse build"):
        SparseIndex(older)
