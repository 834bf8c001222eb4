"""The page: one self-contained file that opens with the verdicts and escapes what it is given."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.results import write_result
from dtrag_core.report import html as pages
from dtrag_core.report.html import verdicts_html, write_report
from dtrag_core.report.sections import sections

VOID = {"meta", "br", "link", "img", "hr", "input"}
MARKED: dict[str, tuple[Any, str]] = {
    "dataset/chunks": (7_654_321, "7,654,321 chunks"),
    "targets/0/value": (31.41, "31.41 ms"),
    "targets/4/ci_high": (1.777, "1.777"),
    "targets/5/n": (54_321, "54,321"),
    "modes/legacy/percentiles_ms/p95": (8.765, "8.77"),
    "modes/optimized/mean_ms": (4.321, "4.32"),
    "speedup/overlap/bound": (1.618, "1.618"),
    "speedup/overlap/decision/hop_us": (87.3, "87.3"),
    "speedup/overlap/legs_us/bm25": (543.0, "543"),
    "speedup/overlap/decision/costs_us/in_turn": (877.0, "in turn 877 µs"),
    "speedup/ladder/3/step/value": (1.4142, "1.414"),
    "speedup/leave_one_out/1/ratio/value": (1.287, "1.287"),
    "speedup/scheduling/ci_low": (1.013, "1.013"),
    "capacity/low": (591.0, "591/s"),
    "capacity/steps/0/p95_ns": (23_400_000, "23.4"),
    "load/achieved": (47.11, "47.11/s"),
    "load/percentiles_ms/p50": (1.96, "P50 1.96 ms"),
    "load/self_test/lag_p90_ns": (678_000, "0.678"),
    "load/stalls_ns/0": (345_000_000, "345 ms"),
    "cache/ceiling": (0.8765, "87.65 %"),
    "cache/hit/percentiles_ms/p50": (0.0319, "0.0319"),
    "cache/curve/0/hit_rate": (0.3571, "35.71"),
    "memory/inside/vector_leg/efficiency": (0.6789, "67.9 %"),
    "memory/inside/optimized/postings": (3_333_333, "3.18"),
    "memory/inside/postings": (3_149_999, "3,149,999 postings"),
    "memory/outside/legacy/uss": (222_222_222, "211.93"),
    "memory/streaming/peak_streamed_bytes": (5_555_555, "5.30 MiB"),
    "quality/judged/methods/rrf/ndcg_at_10": (0.5432, "0.543"),
    "quality/judged/hybrid_minus_bm25/value": (0.0357, "+0.0357"),
    "quality/optimized_vs_legacy/overlap_at_10": (0.9871, "0.9871"),
    "ingest/idle/percentiles_ms/p95": (9.753, "9.75"),
    "ingest/p95_ratio/value": (1.8642, "1.864"),
    "ingest/rate_reached": (313.0, "reached 313"),
    "ingest/visible_after_s/max": (0.0654, "65.4 ms"),
    "ingest/segments/most": (17, "17 segments"),
    "noise_floor/floor": (0.0345, "3.5 %"),
    "stress/overload/1/goodput_share": (0.7315, "73.2"),
    "stress/overload/0/refused_p95_ns": (41_230_000, "41.2"),
    "stress/batching/ratio/value": (1.4142, "1.414"),
    "service/http_cost/share": (0.6172, "61.7 %"),
    "service/http_cost/noop/closed_rate": (3_210.0, "3,210"),
    "service/capacity_beside_writer/low": (417.0, "417/s"),
    "environment/host/steal_share": (0.4321, "43.2"),
    "workload/seed": (424_242, "--seed 424242"),
    "engine/vectors/recall_at_10": (0.9876, "0.9876"),
    "engine/vectors/probes": (37, "37 of"),
    "workload/ingest_seconds": (33.0, "ingest_seconds=33.0"),
    "engine/content_hash": ("feedfacecafebeef", "feedfacecafebeef"),
}


class Outline(HTMLParser):
    """What a page is made of; fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


@pytest.fixture(scope="module")
def page(_made: dict[str, Any]) -> str:
    return pages.render(_made, sections(_made))


def text_of(page: str) -> str:
    return re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_the_example_is_a_result(example: dict[str, Any], tmp_path: Path) -> None:
    write_result(example, tmp_path)


def test_the_page_needs_nothing_else(page: str) -> None:
    outline = Outline(page)

    assert not outline.seen & {"script", "link", "img", "iframe", "object"}
    assert {link for link in outline.links if not link.startswith("#")} == {"result.json"}
    assert "@import" not in page
    assert "url(http" not in page


def test_every_reference_inside_the_page_has_its_one_target(page: str) -> None:
    outline = Outline(page)
    used = {link[1:] for link in outline.links if link.startswith("#")}
    used |= set(re.findall(r"url\(#([^)]+)\)", page))

    assert len(used) > 20
    assert len(outline.ids) == len(set(outline.ids))
    assert used <= set(outline.ids)


def test_it_opens_with_the_verdicts_and_has_every_section(page: str) -> None:
    outline = Outline(page)

    assert "Do the Phase 2 targets hold on pydocs?" in outline.headings[0]
    assert page.index("Of 6 targets: 4 PASS, 1 FAIL, 1 INCONCLUSIVE.") < page.index("<h2>")
    assert page.index("definition of error_rate") < page.index("<h2>")
    assert len(outline.headings) == 15
    for verdict in ("PASS", "FAIL", "INCONCLUSIVE"):
        assert re.search(rf'class="verdict {verdict}">\S {verdict}<', page)


def test_what_the_result_says_is_escaped(page: str, example: dict[str, Any]) -> None:
    assert "Example CPU &lt;b&gt;@&lt;/b&gt;" in page
    assert "&lt;i&gt;weak&lt;/i&gt;" in page
    assert "<i>" not in page

    hostile = '"><script>alert(1)</script>'
    example["targets"][0]["reason"] = hostile
    assert "<script" not in verdicts_html(example)
    example["speedup"]["ladder"][1]["rung"] = hostile
    example["memory"]["inside"]["legacy"][hostile] = 1
    assert "<script" not in pages.render(example, sections(example))


def test_every_figure_on_the_page_comes_from_the_result(page: str, example: dict[str, Any]) -> None:
    for pointer, (value, _) in MARKED.items():
        *parents, last = pointer.split("/")
        at: Any = example
        for parent in parents:
            at = at[int(parent) if isinstance(at, list) else parent]
        at[int(last) if isinstance(at, list) else last] = value

    changed = text_of(pages.render(example, sections(example)))

    missing = [pointer for pointer, (_, shown) in MARKED.items() if shown not in changed]
    assert missing == []
    already_there = [shown for _, shown in MARKED.values() if shown in text_of(page)]
    assert already_there == []


def test_a_dataset_without_judgments_and_an_open_bracket_still_make_a_page(
    example: dict[str, Any],
) -> None:
    example["quality"]["judged"] = None
    example["quality"]["optimized_vs_legacy"].update(ndcg_difference=None, basis="overlap")
    example["capacity"].update(low=None, high=None, steps=[], reason="no time was left")
    example["memory"].pop("streaming")
    example["load"]["stalls_ns"] = []
    example["cache"]["curve"] = []
    for mode in example["modes"].values():
        mode["timeline"] = []

    text = text_of(pages.render(example, sections(example)))

    assert "no judged test queries" in text
    assert "confirmed to hold the service level: none" in text
    assert "No time was left." in text
    assert "was not measured in this run" in text


def test_a_result_from_before_the_living_index_still_makes_a_page(example: dict[str, Any]) -> None:
    del example["ingest"], example["engine"]["vectors"], example["memory"]["inside"]["postings"]
    decision = example["speedup"]["overlap"]["decision"]
    del decision["plan"], decision["costs_us"], example["workload"]["ingest_seconds"]

    text = text_of(pages.render(example, sections(example)))

    assert "Not measured in this run, or the embedder" in text
    assert "decided to run the legs together:" in text
    assert "ingest_seconds" not in text


def test_the_files_are_written_whole_and_replace_an_earlier_report(
    example: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "stale.svg").touch()

    written = write_report(example, tmp_path)

    assert written == tmp_path / "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.html"]
    stems = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert stems == {
        "cache",
        "capacity",
        "latency-ecdf",
        "load-segments",
        "memory",
        "quality",
        "rounds",
        "speedup-forest",
        "timeline",
    }
    for stem in stems:
        assert (tmp_path / "figures" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / "figures" / f"{stem}.svg").read_text(encoding="utf-8")


def test_a_report_that_fails_leaves_the_earlier_one(
    example: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "report.html").write_text("earlier")
    del example["environment"]["cores"]

    with pytest.raises(KeyError):
        write_report(example, tmp_path)

    assert (tmp_path / "report.html").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.html"]
