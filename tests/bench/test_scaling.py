"""The arithmetic of a scaling run, what it asks of the machine, and what it knows of builds."""

import math
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from dtrag_core.bench.fresh import run_fresh
from dtrag_core.bench.scaling.building import timed_build
from dtrag_core.bench.scaling.growth import fit_power_law, ratios
from dtrag_core.bench.scaling.peak import peak_memory
from dtrag_core.bench.scaling.plan import SCALING_ARMS, ScalingPlan, make_workload
from dtrag_core.bench.scaling.results import read_scaling_result
from dtrag_core.bench.scaling.roofline import memory_bandwidth, postings_read, roofline
from dtrag_core.bench.scaling.room import check_room, disk_needed, memory_needed
from dtrag_core.bench.scaling.steps import describe_steps
from dtrag_core.config import BM25Settings
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.datasets.synthetic import SyntheticDataset
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import InvalidRequestError, MeasuringError, ResultError
from dtrag_core.index.replacing import building
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import Progress, Span, no_progress
from dtrag_core.workbench import prepare

CHUNKS = (10_000, 30_000, 100_000, 300_000, 1_000_000)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.3])
def test_a_power_law_is_found_exactly(exponent: float) -> None:
    law = fit_power_law(CHUNKS, [0.02 * n**exponent for n in CHUNKS])

    assert law is not None
    assert law.exponent.value == pytest.approx(exponent, abs=1e-9)
    assert law.exponent.high - law.exponent.low == pytest.approx(0, abs=1e-6)
    assert law.at(55_000) == pytest.approx(0.02 * 55_000**exponent)


def test_the_interval_of_the_exponent_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        law = fit_power_law(CHUNKS, [n**0.7 * math.exp(rng.normal(0, 0.1)) for n in CHUNKS])
        held += law is not None and 0.7 in law.exponent

    assert 0.91 <= held / 400 <= 0.98


def test_what_was_not_measured_is_left_out_of_a_fit() -> None:
    law = fit_power_law(CHUNKS, [None, *(2.0 * n for n in CHUNKS[1:])])

    assert law is not None
    assert law.exponent.n == 4
    assert law.exponent.value == pytest.approx(1.0)
    assert fit_power_law(CHUNKS[:3], [None, 1.0, 2.0]) is None


def test_what_does_not_grow_has_the_exponent_0() -> None:
    law = fit_power_law(CHUNKS[:3], [7.0, 7.0, 7.0])

    assert law is not None
    exponent = law.to_json()["exponent"]
    assert exponent == pytest.approx({"value": 0, "ci_low": 0, "ci_high": 0, "n": 3}, abs=1e-9)
    assert law.factor == pytest.approx(7.0)


def test_ratios_are_of_every_size_to_every_smaller_one() -> None:
    def size(chunks: int, p95: float | None) -> dict[str, Any]:
        of = {"percentiles_ms": {"p50": chunks / 1e5, "p95": p95}}
        return {"chunks": chunks, "latency": dict.fromkeys(SCALING_ARMS, of)}

    found = ratios([size(10_000, None), size(100_000, 2.0), size(1_000_000, 5.0)])

    bm25 = [one for one in found if one["arm"] == "bm25"]
    assert [(one["from"], one["to"]) for one in bm25] == [
        (10_000, 100_000),
        (10_000, 1_000_000),
        (100_000, 1_000_000),
    ]
    assert [one["p50"] for one in bm25] == pytest.approx([10, 100, 10])
    assert [one["p95"] for one in bm25] == [None, None, 2.5]


def test_the_roofline_is_five_bytes_a_posting_at_the_memory_s_speed() -> None:
    postings = np.array([1_000_000] * 19 + [0])
    taken = np.array([2_000_000.0] * 19 + [1_000.0])

    block = roofline(taken, postings, bandwidth=5e9)

    assert (block["p50_ms"], block["p95_ms"]) == (1.0, 1.0)
    assert (block["p50_ratio"], block["p95_ratio"]) == (2.0, 2.0)
    assert (block["measured_p50_ms"], block["measured_p95_ms"]) == (2.0, 2.0)
    assert set(block["ratios"].values()) == {2.0}
    assert block["n"] == 19  # a query without postings has no ratio


@pytest.mark.parametrize("postings", [[0, 0], [1, 2, 3]])
def test_a_roofline_of_nothing_is_refused(postings: list[int]) -> None:
    with pytest.raises(MeasuringError, match="postings for each latency"):
        roofline(np.array([1.0, 2.0]), np.array(postings), 1e9)


def test_bandwidth_is_of_the_best_repeat() -> None:
    ticks = iter([0, 500, 1000, 1400, 2000, 3000, *range(4000, 12000, 1000)])

    assert memory_bandwidth(4_000, lambda: next(ticks)) == pytest.approx(4_000 / 400e-9)


def test_postings_read_are_the_frequencies_of_the_distinct_terms(
    small_index: Path, corpus_file: Path
) -> None:
    dataset = open_dataset(f"jsonl:{corpus_file}")
    analyzer = Analyzer(dataset.info.analyzer)
    held = [set(analyzer.tokens(chunk.content)) for chunk in dataset.chunks()]
    tokens = analyzer.tokens("return the list of the list, sorted, as a new string; qqqqzzzz")
    engine = EmbeddedEngine(small_index)

    read = postings_read(engine.bm25, tokens, engine.info.chunks)
    engine.close()

    assert read == sum(term in chunk for term in set(tokens) for chunk in held) > 0


def test_steps_add_up_over_threads_and_leave_what_no_step_took() -> None:
    def spans(start: int) -> list[Span]:
        return [
            Span("embed", start, start + 100, 1),
            Span("bm25", start + 100, start + 300, 1),
            Span("vector", start + 150, start + 250, 2),
            Span("vector", start + 250, start + 350, 2),
            Span("fuse", start + 400, start + 450, 1),
        ]

    found = describe_steps([spans(0), spans(5_000)], np.array([600, 600]))

    assert found["mean_us"] == pytest.approx(
        {"embed": 0.1, "bm25": 0.2, "vector": 0.2, "fuse": 0.05, "fetch": 0, "other": 0.2}
    )
    assert sum(found["share"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("sizes", "queries", "said"),
    [
        ((9_999,), 100, "10,000 to 10,000,000 chunks, got 9,999"),
        ((10_000, 20_000_000), 100, "got 20,000,000"),
        ((), 100, "got none"),
        ((30_000, 10_000), 100, "must ascend"),
        ((10_000, 10_000), 100, "must ascend"),
        ((10_000,), 5, "queries must be 20 to 1,900, got 5"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(sizes: tuple[int, ...], queries: int, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(said)):
        ScalingPlan(sizes, queries)


def test_queries_have_their_chunk_at_every_size_and_are_not_those_of_the_warm_up() -> None:
    workload = make_workload(1_900)
    timed = [query for batch in workload.batches for query in batch]
    smallest = SyntheticDataset(10_000)

    assert len(timed) == 1_900
    assert {len(batch) for batch in workload.batches} == {50}
    assert not set(timed) & set(workload.warmup)
    relevant = {name for q in smallest.queries("test") for name in q.relevant}
    assert max(map(int, relevant)) < 10_000
    some = {chunk.id: chunk for _, chunk in zip(range(500), smallest.chunks(), strict=False)}
    larger = zip(range(500), SyntheticDataset(20_000).chunks(), strict=False)
    assert all(some[chunk.id] == chunk for _, chunk in larger)


def test_few_queries_are_one_round() -> None:
    assert [len(batch) for batch in make_workload(33).batches] == [33]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """A machine with so many bytes of memory and disk free."""

    def have(memory: int, disk: int) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: _available(memory))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disk))

    return have


def _available(memory: int) -> SimpleNamespace:
    return SimpleNamespace(available=memory, total=memory)


def test_more_memory_needed_than_there_is_is_said_beforehand(
    machine: Callable[[int, int], None], tmp_path: Path
) -> None:
    machine(memory_needed(100_000), 1 << 50)

    check_room([10_000, 100_000], [], tmp_path)
    with pytest.raises(MeasuringError, match=r"GiB of memory.*ask for --sizes 10000,100000$"):
        check_room([10_000, 100_000, 10_000_000], [], tmp_path)


def test_only_what_is_not_built_needs_disk(
    machine: Callable[[int, int], None], tmp_path: Path
) -> None:
    machine(1 << 50, disk_needed([110_000]))
    folder = tmp_path / "not" / "there"

    check_room([10_000, 100_000, 1_000_000], [10_000, 100_000], folder)
    with pytest.raises(MeasuringError, match=rf"disk at {tmp_path}, .*--sizes 10000,100000$"):
        check_room([10_000, 100_000, 1_000_000], [10_000, 100_000, 1_000_000], folder)


def test_memory_needed_does_not_shrink_with_the_size() -> None:
    assert all(memory_needed(a) <= memory_needed(b) for a, b in pairwise(CHUNKS))


Build = Callable[[bool], dict[str, Any]]


@pytest.fixture
def build(corpus_file: Path, tmp_path: Path) -> Build:
    dataset = open_dataset(f"jsonl:{corpus_file}")

    def timed(rebuild: bool) -> dict[str, Any]:
        def prepared(told: Progress) -> Path:
            return prepare(
                dataset, "lsa", directory=tmp_path / "index", rebuild=rebuild, progress=told
            )

        return timed_build(tmp_path / "index", prepared, rebuild, no_progress)

    return timed


def test_an_index_that_is_there_still_says_what_its_build_took(build: Build) -> None:
    first, second = build(False), build(False)

    assert (first["measured_now"], second["measured_now"]) == (True, False)
    assert first["record"] == second["record"]
    record = first["record"]
    assert record["seconds"] >= sum(record["stages"].values()) > 0
    assert not record["resumed"]
    assert record["peak_bytes"] > 1 << 20
    parts = first["disk_bytes"]
    assert {"postings", "vectors_float32", "chunks", "vocabulary"} <= parts.keys()
    files = [path for path in Path(first["directory"]).rglob("*") if path.is_file()]
    unlisted = Path(first["directory"]) / "manifest.json"
    assert sum(parts.values()) == sum(one.stat().st_size for one in files if one != unlisted)

    assert build(True)["record"]["created"] >= record["created"]


def test_a_build_that_was_not_timed_wears_no_other_s_time(
    build: Build, corpus_file: Path, tmp_path: Path
) -> None:
    build(False)
    other = open_dataset(f"jsonl:{corpus_file}")
    prepare(other, "lsa", BM25Settings(k1=0.9), directory=tmp_path / "index", rebuild=True)
    again = timed_build(tmp_path / "index", lambda _: tmp_path / "index", False, no_progress)

    assert (again["measured_now"], again["record"]) == (False, None)


def test_a_build_that_goes_on_says_so_and_rebuilding_begins_anew(
    build: Build, tmp_path: Path
) -> None:
    left = building(tmp_path / "index")
    left.mkdir()

    assert build(False)["record"]["resumed"]
    left.mkdir()
    (left / "something").touch()
    assert not build(True)["record"]["resumed"]
    assert not left.exists()


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    order = {"directory": str(tmp_path / "none"), "depths": {}, "query": "x"}

    with pytest.raises(MeasuringError, match="holds no index"):
        run_fresh("dtrag_core.bench.scaling.measuring", "opening", order, no_progress, {})
    with pytest.raises(MeasuringError, match=r"(?s)the guessing process ended with 1: .*KeyError"):
        run_fresh("dtrag_core.bench.scaling.measuring", "guessing", order, no_progress, {})


def test_peak_memory_is_read_where_the_system_keeps_it(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmPeak:\t 9999 kB\nVmHWM:\t    2048 kB\n")

    assert peak_memory(status) == 2 << 20
    assert peak_memory(tmp_path / "none") > 1 << 20


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", '{"kind": "peers", "schema_version": 1}'])
def test_another_file_is_no_result(text: str, tmp_path: Path) -> None:
    (tmp_path / "scaling.json").write_text(text)

    with pytest.raises(ResultError, match=r"scaling\.json"):
        read_scaling_result(tmp_path)
