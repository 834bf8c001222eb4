"""A whole comparison on a small corpus, and the result it leaves."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.bench.peers.base import Peer, PeerCorpus
from dtrag_core.bench.peers.compare import compare_peers
from dtrag_core.bench.peers.corpus import Prepared
from dtrag_core.bench.peers.plan import PeerPlan
from dtrag_core.bench.peers.registry import load_peers
from dtrag_core.bench.peers.results import read_peers_result, write_peers_result
from dtrag_core.bench.peers.store import built
from dtrag_core.bench.peers.template import NumpyPeer
from dtrag_core.datasets.base import Dataset
from dtrag_core.errors import BuildError, InvalidRequestError, ResultError
from dtrag_core.report import figures_peers, tables_peers
from dtrag_core.types import Progress, no_progress

PLAN = PeerPlan(rounds=4, queries=5, warmup=2, judged=20)


@pytest.fixture(scope="module")
def result(
    dataset: Dataset, prepared: Prepared, build_index: Callable[[Path, Progress], None]
) -> dict[str, Any]:
    peers = load_peers(["dtrag", "numpy", "lucene"], build_index)
    return compare_peers(dataset, prepared, peers, PLAN, no_progress)


def test_it_runs_inside_a_running_loop_as_in_a_notebook(
    dataset: Dataset, prepared: Prepared, build_index: Callable[[Path, Progress], None]
) -> None:
    plan = PeerPlan(("bm25",), rounds=1, queries=2, warmup=1, judged=2)

    async def cell() -> dict[str, Any]:
        peers = load_peers(["numpy"], build_index)
        return compare_peers(dataset, prepared, peers, plan, no_progress)

    found = asyncio.run(cell())["comparisons"]["bm25"]
    assert found["engines"]["numpy"]["n"] == 2
    assert found["engines"]["numpy"]["mean_ratio"] is None


def test_exact_engines_find_what_exact_search_finds(result: dict[str, Any]) -> None:
    for found in result["comparisons"].values():
        assert found["quality"]["numpy"]["overlap_at_10"] == 1
        assert found["quality"]["dtrag"]["overlap_at_10"] > 0.9
        assert found["engines"]["numpy"]["n"] == 20
        assert found["engines"]["numpy"]["percentiles_ms"]["p95"] is None
        assert found["engines"]["dtrag"]["mean_ratio"] is None
        ratio = found["engines"]["numpy"]["mean_ratio"]
        assert 0 < ratio["ci_low"] <= ratio["value"] <= ratio["ci_high"]
    assert result["comparisons"]["hybrid"]["quality"]["numpy"]["vector_recall_at_10"] == 1
    for found in result["comparisons"].values():
        assert set(found["engines"]) == {"dtrag", "numpy"}
        assert found["noise_floor"]["mean_ratio"]["value"] > 0
    assert [one["name"] for one in result["unavailable"]] == ["lucene"]


def test_it_can_be_written_read_and_is_refused_if_altered(
    result: dict[str, Any], tmp_path: Path
) -> None:
    path = write_peers_result(result, tmp_path / "run")

    assert read_peers_result(path.parent)["run_id"] == result["run_id"]
    with pytest.raises(ResultError, match="already holds"):
        write_peers_result(result, tmp_path / "run")
    wrong = deepcopy(result)
    wrong["comparisons"]["bm25"]["quality"]["numpy"]["overlap_at_10"] = 1.5
    with pytest.raises(ResultError, match="overlap_at_10"):
        write_peers_result(wrong, tmp_path / "wrong")
    path.write_text('{"schema_version": 1}')
    with pytest.raises(ResultError, match="kind and version"):
        read_peers_result(path)


def test_tables_and_figures_show_every_engine(result: dict[str, Any]) -> None:
    for name in ("bm25", "hybrid"):
        table = tables_peers.comparison(result, name)
        assert table is not None
        assert [row[0] for row in table.rows] == ["dtrag", "numpy"]
    assert "Java" in tables_peers.engines(result).rows[-1][2]
    drawings = [figures_peers.recall_latency(result), figures_peers.quality_latency(result, "bm25")]
    for drawing in drawings:
        assert drawing is not None
        svg = drawing.svg()
        assert ">dtrag<" in svg
        assert ">numpy<" in svg
    without = {**result, "comparisons": {"bm25": result["comparisons"]["bm25"]}}
    assert figures_peers.recall_latency(without) is None
    assert tables_peers.comparison(without, "hybrid") is None


def test_built_engines_are_kept_and_half_built_ones_are_not(prepared: Prepared) -> None:
    class Failing(NumpyPeer):
        name = index = "failing"
        fails = True

        def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
            (directory / "half").touch()
            if self.fails:
                raise RuntimeError("the library says no")
            super().build(corpus, directory, progress)

    peer: Peer = Failing()
    home = prepared.corpus.directory.parent
    with pytest.raises(BuildError, match=r"failing could not build.*the library says no"):
        built(peer, prepared.corpus, no_progress)
    assert not [path for path in home.iterdir() if "failing" in path.name]

    Failing.fails = False
    first = built(peer, prepared.corpus, no_progress)
    again = built(peer, prepared.corpus, no_progress)

    assert (first.reused, again.reused) == (False, True)
    assert first.directory == again.directory
    assert again.nbytes > 0


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"k": 20, "depth": 10}, {"queries": -1}])
def test_impossible_plans_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidRequestError, match="at least"):
        PeerPlan(**wrong)  # type: ignore[arg-type]
