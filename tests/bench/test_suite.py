"""A whole small run in fresh processes, as a user makes it: every block, and what it must say."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.arms import ARMS
from dtrag_core.bench.blocks import overlap_bound
from dtrag_core.bench.results import read_result, write_result
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.suite import Suite
from dtrag_core.bench.workload import CacheMix
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.errors import InvalidRequestError, MeasuringError
from dtrag_core.index.manifest import read_manifest
from dtrag_core.targets import PERFORMANCE_TARGETS

SETTINGS = MeasureSettings(
    rates=(50.0, 80.0),
    load_seconds=2,
    segments=4,
    capacity_seconds=1,
    ingest_seconds=6,
    rounds=4,
    queries_per_round=20,
    processes=2,
    warmup=10,
    cache=CacheMix(distinct=200, requests=600, capacity=50, streams=3),
)


@pytest.fixture(scope="module")
def stages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(
    corpus_file: Path,
    small_index: Path,
    stages: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    def progress(stage: str, done: int, total: int | None) -> None:
        stages.append(stage)

    suite = Suite(open_dataset(f"jsonl:{corpus_file}"), small_index, SETTINGS)
    folder = tmp_path_factory.mktemp("run")
    write_result(suite.measure(progress), folder)
    return read_result(folder)


def test_every_target_is_there_once_and_in_order(result: dict[str, Any]) -> None:
    assert [target["metric"] for target in result["targets"]] == list(PERFORMANCE_TARGETS)
    verdicts = {target["metric"]: target for target in result["targets"]}
    assert verdicts["memory_efficiency"]["verdict"] == "PASS"
    # 100 requests cannot carry a P95: saying so is the point.
    assert verdicts["p95_latency_ms"]["verdict"] == "INCONCLUSIVE"
    assert verdicts["p95_latency_ms"]["reason"] == "too few samples"
    assert verdicts["error_rate"]["n"] == 100


def test_arms_ran_with_the_switches_they_are_named_for(result: dict[str, Any]) -> None:
    modes = result["modes"]
    assert not any(modes["legacy"]["switches"].values())
    assert all(modes["optimized"]["switches"].values())
    assert modes["optimized_sequential"]["switches"] == {
        "overlap": False,
        "int8": True,
        "ann": True,
        "shards": False,
    }
    for mode in modes.values():
        assert mode["n"] == 80
        assert mode["percentiles_ms"]["p95"] is None, "80 searches do not carry a P95"
        for timeline in mode["timeline"]:
            names = [span["name"] for span in timeline["spans"]]
            assert set(names) == {"bm25", "embed", "fetch", "fuse", "vector"}
            assert timeline["total_ms"] * 1e3 >= max(s["end_us"] for s in timeline["spans"])
            if mode["plans"] == {"in_turn": 1.0}:
                assert all(span["thread"] == 0 for span in timeline["spans"])


def test_rounds_are_kept_by_process_for_every_arm(result: dict[str, Any]) -> None:
    rounds = result["speedup"]["rounds"]
    assert [part["process"] for part in rounds] == [0, 1]
    for part in rounds:
        assert set(part["arms"]) == set(ARMS)
        assert all(len(means) == len(part["reference_ns"]) == 2 for means in part["arms"].values())


def test_the_ladder_multiplies_up(result: dict[str, Any]) -> None:
    product = 1.0
    for rung in result["speedup"]["ladder"]:
        product *= rung["step"]["value"]
        assert rung["cumulative"]["value"] == pytest.approx(product)
    assert product == pytest.approx(result["speedup"]["end_to_end"]["value"])


def test_memory_is_the_arrays_size_and_seen_from_outside(
    result: dict[str, Any], small_index: Path
) -> None:
    manifest = read_manifest(small_index)
    memory = result["memory"]
    legacy, optimized = memory["inside"]["legacy"], memory["inside"]["optimized"]
    assert legacy["vectors"] == 4 * manifest.chunks * manifest.dimension
    codes_and_scales = manifest.chunks * (manifest.dimension + 4)
    assert codes_and_scales < optimized["vectors"] < 1.01 * codes_and_scales
    assert memory["outside"]["legacy"]["rss"] > 1 << 20
    # All texts of this corpus make one part of the stream, so that nothing more can be saved.
    streaming = memory["streaming"]
    assert streaming["peak_streamed_bytes"] < 1.05 * streaming["peak_whole_bytes"]


def test_the_load_counts_every_request_that_was_due(result: dict[str, Any]) -> None:
    load = result["load"]
    assert load["sent"] == 100
    assert sum(segment["sent"] for segment in load["segments"]) == 100
    assert load["errors"] == {}


def test_extra_rates_stand_beside_the_capacity_steps(result: dict[str, Any]) -> None:
    assert 80.0 in [step["rate"] for step in result["capacity"]["steps"]]


def test_latency_is_measured_while_chunks_are_added(result: dict[str, Any]) -> None:
    ingest = result["ingest"]
    assert ingest["idle"]["n"] == ingest["during"]["n"] == 6 * 25
    assert ingest["generations_written"] >= 6
    assert ingest["rate_reached"] > 0


def test_the_cache_hits_less_than_its_ceiling(result: dict[str, Any]) -> None:
    cache = result["cache"]
    assert len(cache["streams"]) == 3
    assert 0 < cache["hit_rate"]["value"] < cache["ceiling"] < 1
    assert cache["hit"]["n"] + cache["miss"]["n"] == 600
    assert cache["hit"]["n"] == round(cache["streams"][0] * 600)
    rates = [point["hit_rate"] for point in cache["curve"]]
    assert rates == sorted(rates), "the more the queries repeat, the more hits"


def test_quality_is_measured_on_judged_queries(result: dict[str, Any]) -> None:
    judged = result["quality"]["judged"]
    assert judged["queries"] == result["dataset"]["queries"]["test"] > 20
    assert judged["methods"]["bm25"]["ndcg_at_10"] > 0.2
    curve = {point["weight"]: point["ndcg_at_10"] for point in judged["weight"]["curve"]}
    assert curve[judged["weight"]["chosen"]] == max(curve.values())
    compared = result["quality"]["optimized_vs_legacy"]
    assert compared["overlap_at_10"] > 0.9


def test_progress_named_every_part(result: dict[str, Any], stages: list[str]) -> None:
    said = " ".join(stages)
    for part in ("quality", "memory", "rounds", "load", "capacity", "cache"):
        assert f"starting {part}" in said


def test_a_part_that_fails_ends_the_run_with_its_own_message(
    corpus_file: Path, small_index: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(small_index, tmp_path / "broken"))
    (broken / "embedder.npz").write_bytes(b"not an archive, but of the right size"[:0])
    suite = Suite(open_dataset(f"jsonl:{corpus_file}"), broken, SETTINGS)
    with pytest.raises(Exception, match=r"embedder\.npz has 0 bytes"):
        suite.measure()


def test_a_task_that_fails_in_its_process_is_reported(corpus_file: Path, small_index: Path) -> None:
    suite = Suite(open_dataset(f"jsonl:{corpus_file}"), small_index, SETTINGS, engine="elastic")
    with pytest.raises(MeasuringError, match="unknown engine 'elastic'"):
        suite.measure_quality()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"rounds": 4, "processes": 5}, "4 rounds are too few for 5 processes"),
        ({"rates": ()}, "rates must be positive"),
        ({"rates": (50.0, -1.0)}, "-1"),
        ({"rates": (float("inf"),)}, "inf"),
        ({"seed": -1}, "-1"),
        ({"load_seconds": 0}, "load_seconds must be positive, got 0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        MeasureSettings(**changes)


def test_settings_survive_the_way_to_a_worker() -> None:
    assert MeasureSettings.from_json(SETTINGS.to_json()) == SETTINGS


def test_the_bound_of_overlapping() -> None:
    steps = {"bm25": 5.0, "embed": 1.0, "vector": 4.0, "fuse": 0.5, "fetch": 0.5}
    assert overlap_bound(steps) == pytest.approx(11 / 6)
    assert overlap_bound({**steps, "bm25": 2.0}) == pytest.approx(8 / 6)
