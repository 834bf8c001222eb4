"""Latency with and without a writer beside the searches."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from dtrag_core.bench.arms import Depths
from dtrag_core.bench.ingest import IngestPlan, ingest, linked_copy, measure_ingest
from dtrag_core.bench.ingest_feed import Feed, FeedOrder
from dtrag_core.bench.ingest_writer import WriterProcess
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.tasks import TaskInput
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.errors import MeasuringError
from dtrag_core.index.compaction import Compaction
from dtrag_core.index.manifest import read_manifest, verify_files
from dtrag_core.index.writer import IndexWriter
from dtrag_core.types import no_progress
from dtrag_core.workbench import prepare

DEPTHS = Depths(5, 20, 20, 40)


@pytest.fixture(scope="module")
def queries(corpus_file: Path) -> Sequence[str]:
    dataset = open_dataset(f"jsonl:{corpus_file}")
    return [query.text for query in dataset.queries("test")[:50]]


def test_both_kinds_of_period_are_measured_and_the_index_is_left_alone(
    small_index: Path, queries: Sequence[str]
) -> None:
    before = verify_files(small_index)
    beside = sorted(path.name for path in small_index.parent.iterdir())
    plan = IngestPlan(rate=100, search_rate=40, pairs=2, period_s=1.0)

    block = measure_ingest(small_index, queries, plan, DEPTHS, queries[:5])

    assert verify_files(small_index) == before
    assert sorted(path.name for path in small_index.parent.iterdir()) == beside
    assert block["idle"]["n"] == block["during"]["n"] == 80
    assert len(block["p95_ms"]) == 2
    ratio = block["p95_ratio"]
    assert ratio["n"] == 2
    assert 0 < ratio["ci_low"] <= ratio["value"] <= ratio["ci_high"]
    assert 0 < block["rate_reached"] <= 101
    assert block["generations_written"] >= 2 * 4
    assert block["generations_served"] > 1
    assert block["deleted"] > 0
    assert block["segments"]["end"] >= 1
    assert block["visible_after_s"]["median"] <= block["visible_after_s"]["max"]


def test_nothing_is_measured_where_no_text_can_be_added(tmp_path: Path) -> None:
    import numpy as np

    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "wren and heron"}\n{"id": "b", "text": "pike"}\n')
    dataset = open_dataset(f"jsonl:{corpus}")
    vectors = np.eye(4, dtype=np.float32)
    questions = vectors[: len(dataset.query_texts())].reshape(-1, 4)
    np.savez(tmp_path / "vectors.npz", docs=vectors[:2], queries=questions)
    location = prepare(
        dataset, f"precomputed:{tmp_path / 'vectors.npz'}", directory=tmp_path / "index"
    )
    task = TaskInput("embedded", location, MeasureSettings(), ("wren",))
    assert ingest(task, no_progress) == {"ingest": None}


def test_a_copy_shares_everything_but_the_manifest(small_index: Path, tmp_path: Path) -> None:
    scratch = Path(os.path.relpath(small_index.parent / "scratch"))
    copy = linked_copy(small_index, scratch)
    manifest = read_manifest(copy)
    assert manifest == verify_files(copy)
    for name in manifest.files:
        assert (copy / name).samefile(small_index / name)
    assert not (copy / "manifest.json").samefile(small_index / "manifest.json")
    shutil.rmtree(scratch)


def test_the_feed_adds_replaces_and_deletes(small_index: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_index, tmp_path / "copy"))
    before = read_manifest(copy)
    order = FeedOrder(str(copy), before.dataset, 80.0)
    with IndexWriter(copy) as writer, Compaction(writer) as compaction:
        feed = Feed(order, writer, compaction)
        lines = [feed.write_batch(0.0) for _ in range(4)]
        feed.settle()
    written, deleted = (sum(line[name] for line in lines) for name in ("written", "deleted"))
    assert written == 80
    assert deleted == 4
    replaced = 4 * 4
    assert verify_files(copy).chunks == before.chunks + written - replaced - deleted
    generations = [line["generation"] for line in lines]
    assert generations == sorted(set(generations))


def test_a_writer_that_fails_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    order = FeedOrder(str(tmp_path / "nowhere"), "pydocs", 10.0)
    with WriterProcess(order) as writer, pytest.raises(MeasuringError, match="exit code 1"):
        writer.settle()
    assert "holds no index" in capfd.readouterr().err
