"""Choosing limits from measured recall."""

import numpy as np
import pytest

from dtrag_core.errors import MeasuringError
from dtrag_core.index.centroids import assign_lists, encode_rows, list_bounds, train_centroids
from dtrag_core.index.ivf import IVFVectors
from dtrag_core.index.ivf_tuning import tune
from dtrag_core.index.vectors import Float32Segments, SegmentVectors, VectorIndex, padded
from dtrag_core.types import FloatArray, Mask

EVERYTHING: Mask = np.zeros(0, np.bool_)


def unit(vectors: FloatArray) -> FloatArray:
    rows: FloatArray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return rows


def corpus(rows: int, clusters: int, lists: int) -> tuple[IVFVectors, Float32Segments, FloatArray]:
    random = np.random.default_rng(5)
    centres = random.standard_normal((clusters, 64)).astype(np.float32)
    noise = random.standard_normal((rows + 100, 64)).astype(np.float32)
    vectors = unit(centres[random.integers(0, clusters, rows + 100)] + np.float32(0.5) * noise)
    vectors, queries = vectors[:rows], vectors[rows:]
    centroids = train_centroids(vectors, lists)
    assigned = assign_lists(vectors, centroids)
    order = np.argsort(assigned, kind="stable")
    vectors, assigned = vectors[order], assigned[order]
    codes = encode_rows(vectors, assigned, centroids)
    segments = [SegmentVectors(codes, list_bounds(assigned, lists), 0)]
    matrix = np.zeros((padded(rows), 64), np.float32)
    matrix[:rows] = vectors
    return IVFVectors(centroids, segments, 1).exact(), Float32Segments(segments, [matrix]), queries


def measured(index: VectorIndex, truth: Float32Segments, queries: FloatArray) -> float:
    found = [
        len(
            set(index.search(query, 10, EVERYTHING).ids.tolist())
            & set(truth.search(query, 10, EVERYTHING).ids.tolist())
        )
        for query in queries
    ]
    return float(np.mean(found)) / 10


def test_finds_limits_that_hold_the_floor_and_save_work() -> None:
    index, truth, queries = corpus(10_000, 100, 100)
    for floor in (0.8, 0.95):
        point = tune(index, truth, queries, floor)
        assert point.structure == "ivf"
        assert point.holds
        assert (point.floor, point.queries) == (floor, 100)
        tuned = index.tuned(point.probes, point.reach)
        assert measured(tuned, truth, queries) == pytest.approx(point.recall)
        assert sum(tuned.scanned(query, 10) for query in queries) < 0.5 * len(queries) * index.rows
    assert tune(index, truth, queries, 0.8).probes <= tune(index, truth, queries, 0.95).probes


def test_says_that_a_floor_cannot_be_held() -> None:
    index, truth, queries = corpus(3_000, 10, 30)
    point = tune(index, truth, queries, 1.01)
    assert not point.holds
    assert point.recall == pytest.approx(measured(index, truth, queries))


def test_one_list_is_searched_exactly() -> None:
    index, truth, queries = corpus(500, 10, 1)
    point = tune(index, truth, queries)
    assert (point.structure, point.probes) == ("exact", 1)


def test_equally_near_rows_are_all_right() -> None:
    index, truth, queries = corpus(40, 1, 2)
    same = np.repeat(queries[:1], 40, axis=0)
    codes = encode_rows(same, np.zeros(40, np.int32), queries[:1])
    bounds = np.array([0, 40], np.int32)
    matrix = np.zeros((padded(40), 64), np.float32)
    matrix[:40] = same
    segments = [SegmentVectors(codes, bounds, 0)]
    index, truth = IVFVectors(queries[:1], segments, 1).exact(), Float32Segments(segments, [matrix])
    assert tune(index, truth, queries).recall == 1


def test_wants_queries() -> None:
    index, truth, queries = corpus(40, 1, 2)
    with pytest.raises(MeasuringError, match="at least one"):
        tune(index, truth, queries[:0])
