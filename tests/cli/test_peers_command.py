"""`dtrag peers`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]
FEW = ("--rounds", 1, "--queries", 3)


def corpus(folder: Path) -> Path:
    lines = [
        json.dumps({"id": str(number), "text": f"note number{number} about some plain matter"})
        for number in range(120)
    ]
    file = folder / "notes.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_measures_and_keeps_the_result(dtrag: Dtrag, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    asked = ("peers", "--dataset", f"jsonl:{corpus(tmp_path)}", "--embedder", "lsa", *FEW)

    ran = dtrag(*asked, "--engines", "dtrag,numpy,lucene", "--out", out, "--json")
    assert ran.returncode == ExitCode.DONE, ran.stderr
    result = json.loads(ran.stdout)
    (kept,) = out.glob("*/peers.json")
    assert json.loads(kept.read_text()) == result
    assert set(result["comparisons"]) == {"bm25", "hybrid"}
    assert [engine["name"] for engine in result["engines"]] == ["dtrag", "numpy"]

    again = dtrag(*asked, "--engines", "numpy", "--only", "bm25", "--out", out)
    assert again.returncode == ExitCode.DONE, again.stderr
    assert "numpy" in again.stdout
    assert "hybrid\n" not in again.stdout


def test_an_unknown_engine_is_a_usage_error_that_lists_the_known(
    dtrag: Dtrag, tmp_path: Path
) -> None:
    ran = dtrag("peers", "--dataset", f"jsonl:{corpus(tmp_path)}", "--engines", "elastic")

    assert ran.returncode == ExitCode.USAGE
    assert "unknown engine 'elastic'; known: bm25s+faiss" in ran.stderr


def test_depths_that_cannot_be_are_a_usage_error(dtrag: Dtrag) -> None:
    ran = dtrag("peers", "--dataset", "pydocs", "--k", 20, "--depth", 10)

    assert ran.returncode == ExitCode.USAGE
    assert "depth 10 and k 20" in ran.stderr
