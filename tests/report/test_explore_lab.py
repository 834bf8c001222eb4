"""The lab answers whatever its widgets say, and says kindly what cannot be."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import papermill
import pytest

from dtrag_core.datasets.taxonomy import Taxonomy
from dtrag_core.report.explore import LabRequest, SearchLab, answer, path_options, search_both
from dtrag_core.report.hits_html import search_html
from dtrag_core.report.run import find_notebook
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import (
    LEGACY,
    OPTIMIZED,
    Chunk,
    Filters,
    Hit,
    SearchParams,
    SearchResult,
    Span,
)
from dtrag_core.workbench import open_dao

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


@pytest.fixture(scope="module")
def dao(small_index: Path) -> Iterator[SearchDAO]:
    made = open_dao(small_index)
    yield made
    made.executor.close()
    made.engine.close()


def found(mode: str, ids: tuple[str, ...], *, overlapped: bool) -> SearchResult:
    hits = tuple(
        Hit(rank, name, 0.9, 12.345, 0.678, Chunk(name, f"<{name}>", "x" * 300, ("a", "b&c")))
        for rank, name in enumerate(ids, 1)
    )
    threads = (1, 2) if overlapped else (1, 1)
    spans = (Span("bm25", 1_000, 401_000, threads[0]), Span("vector", 401_000, 801_000, threads[1]))
    if mode == "legacy":
        return SearchResult(hits, "legacy", LEGACY, overlapped, spans)
    return SearchResult(hits, "optimized", OPTIMIZED, overlapped, spans, "overlapped")


def test_two_results_side_by_side_escaped_and_marked_where_they_differ() -> None:
    page = search_html(
        found("legacy", ("one", "two"), overlapped=False),
        found("optimized", ("one", "three"), overlapped=True),
    )

    assert "&lt;one&gt;" in page
    assert "<one>" not in page
    assert "a / b&amp;c" in page
    assert "12.345" in page
    assert "0.678" in page
    assert page.count('class="only"') == 2
    assert "legs in turn" in page
    assert "legs overlapped" in page
    assert "switches on: overlap, int8, ann, shards" in page
    assert "x" * 220 + "…" in page
    assert "x" * 221 not in page


def test_bars_lie_where_the_steps_ran_a_lane_a_thread() -> None:
    page = search_html(
        found("legacy", ("one",), overlapped=False), found("optimized", ("one",), overlapped=True)
    )

    assert "left:50.000%;width:50.000%;top:2px" in page
    assert "left:50.000%;width:50.000%;top:20px" in page
    assert "Both found the same chunks." in page


def test_a_search_without_hits_or_spans_says_so() -> None:
    nothing = SearchResult((), "optimized", OPTIMIZED, False, ())

    assert "Nothing matches" in search_html(nothing, nothing)


def test_both_paths_really_run(dao: SearchDAO) -> None:
    request = LabRequest("parse json text", SearchParams(topk=3))

    legacy, optimized = run(search_both(dao, request))

    assert (legacy.mode, optimized.mode) == ("legacy", "optimized")
    assert len(legacy.hits) == len(optimized.hits) == 3


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (LabRequest("   ", SearchParams()), "Type a few words"),
        (LabRequest("x" * 20_000, SearchParams()), "20,000 characters"),
        (LabRequest("json", SearchParams(topk=10**6)), "topk must be in"),
        (
            LabRequest("json", SearchParams(filters=Filters(canonical_in=(("<no>",),)))),
            "&lt;no&gt;",
        ),
    ],
)
def test_what_cannot_be_is_said_kindly(dao: SearchDAO, request_: LabRequest, said: str) -> None:
    assert said in run(answer(dao, request_))


def test_the_widgets_ask_for_what_they_show(dao: SearchDAO) -> None:
    async def use() -> tuple[LabRequest, str]:
        lab = SearchLab(dao, "parse text")
        lab.show()
        lab.path.value = ("python", "json")
        lab.doc_type.value = "function"
        lab.method.value = "rrf"
        lab.topk.value = 2
        await lab.settled()
        assert lab.weight.disabled
        return lab.request(), lab.output.value

    request, page = run(use())

    assert request.params.filters == Filters((("python", "json"),), ("function",))
    assert request.params.fusion is not None
    assert request.params.fusion.method == "rrf"
    assert page.count("<li>") == 4
    assert page.count("python / json · function") == 4


def test_the_last_change_wins(dao: SearchDAO) -> None:
    async def use() -> str:
        lab = SearchLab(dao, "queue")
        lab.show()
        await asyncio.sleep(0)
        lab.query.value = ""
        await lab.settled()
        return str(lab.output.value)

    assert "Nothing to search for yet" in run(use())


def test_an_error_is_followed_by_an_answer(dao: SearchDAO) -> None:
    async def use() -> tuple[str, str]:
        lab = SearchLab(dao)
        lab.show()
        await lab.settled()
        empty = lab.output.value
        lab.query.value = "queue"
        await lab.settled()
        return empty, lab.output.value

    empty, answered = run(use())

    assert "Nothing to search for yet" in empty
    assert "Optimised" in answered


def test_a_menu_of_paths_is_indented_counted_and_never_endless() -> None:
    small = Taxonomy({("a",): 1, ("a", "b"): 2, ("c", "d", "e", "f"): 4})

    assert path_options(small) == [
        ("everything (7)", ()),
        ("a (3)", ("a",)),
        ("\N{NO-BREAK SPACE}" * 4 + "b (2)", ("a", "b")),
        ("c (4)", ("c",)),
        ("\N{NO-BREAK SPACE}" * 4 + "d (4)", ("c", "d")),
        ("\N{NO-BREAK SPACE}" * 8 + "e (4)", ("c", "d", "e")),
    ]
    wide = Taxonomy({(f"{top}", f"{sub}"): 1 for top in range(30) for sub in range(30)})
    assert len(path_options(wide)) == 31


def test_the_notebook_shows_the_lab(
    corpus_file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTRAG_HOME", str(home))

    ran = papermill.execute_notebook(
        find_notebook("explore.ipynb"),
        tmp_path / "explore.ipynb",
        {"dataset": f"jsonl:{corpus_file}", "embedder": "lsa"},
        progress_bar=False,
    )

    shown = [output for cell in ran.cells for output in cell.get("outputs", [])]
    assert "application/vnd.jupyter.widget-view+json" in shown[-1]["data"]
