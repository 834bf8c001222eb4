"""`dtrag certified`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


def test_agreement_depths_and_latency_are_reported(dtrag: Dtrag, corpus_file: Path) -> None:
    corpus = ("--dataset", f"jsonl:{corpus_file}", "--embedder", "lsa")
    asked = ("certified", *corpus, "--queries", "30", "--rounds", "2")

    said = dtrag(*asked)
    ran = dtrag(*asked, "--json")

    assert (said.returncode, ran.returncode) == (0, 0), ran.stderr
    assert "with exact legs" in said.stdout
    assert "certified at the usual depth: " in said.stdout
    cost = json.loads(ran.stdout)
    assert cost["queries"] == sum(cost["vector_depths"].values()) == 30
    assert set(cost["agreement"]) == {"optimized", "int8"}
    assert 0 <= cost["agreement"]["int8"]["same_ranking"]["value"] <= 1


def test_too_few_queries_are_refused(dtrag: Dtrag) -> None:
    ran = dtrag("certified", "--dataset", "pydocs", "--queries", "3")

    assert ran.returncode == 2
    assert "'3' is no number in 20..100000" in ran.stderr
