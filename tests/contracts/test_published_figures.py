"""Figures published for SciFact, and those measured for it, reached by the whole way of a query."""

from pathlib import Path

import pytest

from dtrag_core.bench.judged import Judged
from dtrag_core.bench.quality_task import quality
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.tasks import TaskInput
from dtrag_core.config import BM25Settings
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.embedding.registry import fit_embedder, restore_embedder
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.index.builder import BuildPlan, build_index
from dtrag_core.types import Fusion, no_progress
from dtrag_core.workbench import prepare


def minilm(scifact: Path) -> str:
    return f"precomputed:{scifact / 'minilm-l6-v2.npz'}"


@pytest.fixture(scope="module")
def index(scifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scifact") / "minilm"
    return prepare(open_dataset(f"beir:{scifact}"), minilm(scifact), directory=directory)


@pytest.mark.parametrize(
    ("k1", "b", "published"), [(0.9, 0.4, 0.676), (1.2, 0.75, 0.679), (1.5, 0.75, 0.686)]
)
def test_bm25(scifact: Path, tmp_path: Path, k1: float, b: float, published: float) -> None:
    dataset = open_dataset(f"beir:{scifact}")
    spec = minilm(scifact)
    plan = BuildPlan(
        dataset,
        spec,
        lambda texts: fit_embedder(spec, texts),
        lambda state: restore_embedder(spec, state),
        BM25Settings(k1, b),
    )
    build_index(plan, tmp_path / "index")
    judged = Judged(EmbeddedEngine(tmp_path / "index"), dataset.queries("test"))
    methods, _ = judged.methods(Fusion())
    assert methods["bm25"]["ndcg_at_10"] == pytest.approx(published, abs=0.005)


def test_legs_and_fusions(scifact: Path, index: Path) -> None:
    judged = Judged(EmbeddedEngine(index), open_dataset(f"beir:{scifact}").queries("test"))
    methods, _ = judged.methods(Fusion("weighted", 0.4))
    found = {name: method["ndcg_at_10"] for name, method in methods.items()}
    expected = {"bm25": 0.679, "vector": 0.647, "weighted": 0.738, "rrf": 0.712}
    assert found == pytest.approx(expected, abs=0.005)


def test_int8_is_as_good_as_exact_float32(scifact: Path, index: Path) -> None:
    task = TaskInput("embedded", index, MeasureSettings(), (), f"beir:{scifact}")
    compared = quality(task, no_progress)["optimized_vs_legacy"]
    assert compared["basis"] == "ndcg"
    assert compared["queries"] == 300
    assert compared["overlap_at_10"] >= 0.99
    assert compared["equal"]


def test_the_default_embedder_makes_hybrid_beat_both_legs(scifact: Path, tmp_path: Path) -> None:
    dataset = open_dataset(f"beir:{scifact}")
    engine = EmbeddedEngine(prepare(dataset, "static", directory=tmp_path / "static"))
    _, gains = Judged(engine, dataset.queries("test")).methods(engine.info.fusion)
    assert gains["bm25"].low > 0
    assert gains["vector"].low > 0
