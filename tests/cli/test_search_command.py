"""`dtrag search`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.cli import ExitCode

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


def results(ran: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert ran.returncode == 0, ran.stderr
    found: list[dict[str, Any]] = json.loads(ran.stdout)["results"]
    return found


def titles(result: dict[str, Any]) -> list[str]:
    return [hit["chunk"]["title"] for hit in result["hits"]]


def test_both_paths_side_by_side_agree(dtrag: Dtrag, index: Path) -> None:
    legacy, optimized = results(
        dtrag("search", "a fragrant herb", "--index", index, "--mode", "both", "--json")
    )

    assert (legacy["mode"], optimized["mode"]) == ("legacy", "optimized")
    assert titles(legacy) == titles(optimized)
    assert titles(legacy)[0] == "Thyme"
    assert {"embed", "bm25", "vector"} <= {span["name"] for span in legacy["timings"]}


def test_hits_show_title_path_text_and_the_scores_of_both_legs(dtrag: Dtrag, index: Path) -> None:
    asked = ("search", "small brown bird", "--index", index, "--mode", "legacy", "--topk", "1")
    (result,) = results(dtrag(*asked, "--json"))
    hit = result["hits"][0]

    said = dtrag(*asked).stdout

    assert "Wren" in said
    assert "animals/birds" in said
    assert "A very small brown bird that sings" in said
    assert f"{hit['score']:.3f}  bm25 {hit['bm25']:.2f}  cosine {hit['cosine']:.3f}" in said
    assert "legacy: 1 hits" in said
    assert "embed " in said.splitlines()[-1]


def test_filters_hold(dtrag: Dtrag, index: Path) -> None:
    asked = ("search", "water and rivers", "--index", index, "--topk", "8", "--json")
    (inside,) = results(dtrag(*asked, "--path", "animals/fish", "--path", "plants/trees"))
    (letters,) = results(dtrag(*asked, "--path", "animals", "--doc-type", "letter"))

    assert set(titles(inside)) == {"Pike", "Salmon", "Oak", "Birch"}
    assert titles(letters) == ["Salmon"]


def test_fusion_is_what_was_asked_for(dtrag: Dtrag, index: Path) -> None:
    asked = ("search", "a herb of dry slopes", "--index", index, "--topk", "8", "--json")
    (weighted,) = results(dtrag(*asked, "--bm25-weight", "1"))
    (cosine,) = results(dtrag(*asked, "--bm25-weight", "0"))
    (rrf,) = results(dtrag(*asked, "--fusion", "rrf"))

    by_bm25 = [hit["bm25"] for hit in weighted["hits"]]
    by_cosine = [hit["cosine"] for hit in cosine["hits"]]
    assert by_bm25 == sorted(by_bm25, reverse=True)
    assert by_cosine == sorted(by_cosine, reverse=True)
    assert rrf["hits"][0]["score"] == pytest.approx(2 / 61)


@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
def test_certified_hits_come_with_what_it_took(dtrag: Dtrag, index: Path, fusion: str) -> None:
    query = ("search", "a herb of dry slopes", "--index", index, "--topk", "2")
    asked = (*query, "--fusion", fusion, "--mode", "both", "--certified")

    legacy, optimized = results(dtrag(*asked, "--json"))

    assert titles(legacy) == titles(optimized)
    assert titles(legacy)[0] == "Thyme"
    assert legacy["certificate"]["vectors"] == "float32"
    assert optimized["certificate"]["vectors"] == "int8 codes"
    assert "certified: the full corpus' best by float32; " in dtrag(*asked).stdout


def test_a_dataset_is_indexed_on_first_use(dtrag: Dtrag, notes: Path, tmp_path: Path) -> None:
    spec = f"jsonl:{notes}"
    first = results(dtrag("search", "acorns", "--dataset", spec, "--json"))
    (manifest,) = (tmp_path / "home" / "indexes").glob("*/manifest.json")
    written = manifest.stat().st_mtime_ns
    again = results(dtrag("search", "acorns", "--dataset", spec, "--json"))

    assert titles(first[0]) == titles(again[0])
    assert manifest.stat().st_mtime_ns == written


def test_text_that_would_steer_the_terminal_is_tamed(dtrag: Dtrag, tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 wiped screens"
    file = tmp_path / "evil.jsonl"
    lines = [{"title": f"Doc {n}{evil}", "text": f"number {n} {evil}"} for n in range(5)]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    said = dtrag("search", "wiped screens", "--dataset", f"jsonl:{file}").stdout

    assert "wiped screens" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_a_corpus_smaller_than_a_page_is_searched_whole(dtrag: Dtrag, tmp_path: Path) -> None:
    file = tmp_path / "three.jsonl"
    lines = [{"text": f"{word} frost in the garden"} for word in ("early", "late", "hard")]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    (found,) = results(dtrag("search", "late frost", "--dataset", f"jsonl:{file}", "--json"))

    assert len(found["hits"]) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["", "--index", "INDEX"], "the query is empty ('')"),
        ([" \t\n", "--index", "INDEX"], "the query is empty"),
        (["word " * 20_000, "--index", "INDEX"], "the query has 99,999 characters, at most 10,000"),
        (["bird", "--index", "INDEX", "--topk", "0"], "topk must be in 1..8 (the corpus has 8"),
        (["bird", "--index", "INDEX", "--topk", "9"], "topk must be in 1..8 (the corpus has 8"),
        (
            ["bird", "--index", "INDEX", "--path", "animals/brids"],
            "no chunk has the taxonomy path 'animals/brids'; nearest under 'animals': animals/b",
        ),
        (
            ["bird", "--index", "INDEX", "--doc-type", "memo"],
            "unknown doc_type 'memo'; known: letter, note",
        ),
        (["bird", "--index", "INDEX", "--bm25-weight", "1.5"], "must be in 0..1, got 1.5"),
        (
            ["bird", "--index", "INDEX", "--fusion", "rrf", "--bm25-weight", "0"],
            "rrf has no weight",
        ),
        (["bird"], "--dataset SPEC, or --index DIR"),
        (["bird", "--index", "INDEX", "--dataset", "pydocs"], "--dataset SPEC, or --index DIR"),
        (["bird", "--dataset", "pydoc"], "unknown dataset 'pydoc'; known: beir:DIR"),
        (["bird", "--dataset", "NOTES", "--embedder", "bert"], "unknown embedder 'bert'; known:"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    dtrag: Dtrag, notes: Path, index: Path, options: list[str], said: str
) -> None:
    places = {"INDEX": str(index), "NOTES": f"jsonl:{notes}"}

    ran = dtrag("search", *(places.get(option, option) for option in options))

    assert ran.returncode == ExitCode.USAGE
    assert ran.stdout == ""
    assert ran.stderr.startswith("dtrag: ")
    assert said in ran.stderr
