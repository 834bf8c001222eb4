"""Search over lists and segments, against a plain scan of the restored vectors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dtrag_core.errors import EmbeddingError, InvalidRequestError
from dtrag_core.index.centroids import (
    assign_lists,
    encode_rows,
    list_bounds,
    list_count,
    train_centroids,
)
from dtrag_core.index.ivf import IVFVectors
from dtrag_core.index.vectors import Float32Segments, SegmentVectors, VectorIndex, padded
from dtrag_core.optimization.memory_optimizer import EmbeddingQuantizer
from dtrag_core.types import Candidates, FloatArray, Mask

EVERYTHING: Mask = np.zeros(0, np.bool_)


@dataclass(frozen=True)
class Corpus:
    """Vectors in the order of their ids, and the segments that hold them."""

    vectors: FloatArray
    centroids: FloatArray
    segments: list[SegmentVectors]
    matrices: list[FloatArray]

    @property
    def float32(self) -> Float32Segments:
        return Float32Segments(self.segments, self.matrices)

    def deleting(self, deleted: Mask) -> "Corpus":
        segments = [
            replace(each, live=~deleted[each.first_row : each.first_row + each.rows])
            for each in self.segments
        ]
        return replace(self, segments=segments)


def clustered(seed: int, rows: int, clusters: int, dimension: int = 32) -> FloatArray:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, dimension))
    vectors = centres[random.integers(0, clusters, rows)]
    vectors = vectors + 0.6 * random.standard_normal((rows, dimension))
    unit: FloatArray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def make(vectors: FloatArray, lists: int, segment_rows: int) -> Corpus:
    centroids = train_centroids(vectors, lists)
    segments, matrices = [], []
    ordered = np.empty_like(vectors)
    for start in range(0, len(vectors), segment_rows):
        part = vectors[start : start + segment_rows]
        assigned = assign_lists(part, centroids)
        order = np.argsort(assigned, kind="stable")
        part, assigned = part[order], assigned[order]
        ordered[start : start + len(part)] = part
        codes = encode_rows(part, assigned, centroids)
        segments.append(SegmentVectors(codes, list_bounds(assigned, lists), start))
        matrices.append(np.zeros((padded(len(part)), part.shape[1]), np.float32))
        matrices[-1][: len(part)] = part
    return Corpus(ordered, centroids, segments, matrices)


def best_of(
    index: VectorIndex, query: FloatArray, depth: int, allowed: NDArray[np.intp]
) -> Candidates:
    """Return the best of the allowed rows by the index's own scores: nothing left out."""
    ids = allowed.astype(np.int32)
    scores = index.scores(query, ids)
    order = np.lexsort((ids, -scores))[:depth]
    return Candidates(ids[order], scores[order])


def same(found: Candidates, wanted: Candidates) -> None:
    assert found.ids.tolist() == wanted.ids.tolist()
    assert found.scores.tolist() == wanted.scores.tolist()
    assert (found.ids.dtype.name, found.scores.dtype.name) == ("int32", "float32")


def merged(parts: list[Candidates], depth: int) -> Candidates:
    ids = np.concatenate([part.ids for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    assert len(set(ids.tolist())) == len(ids)
    order = np.lexsort((ids, -scores))[:depth]
    return Candidates(ids[order], scores[order])


SHAPES = {
    "seed": st.integers(0, 2**32 - 1),
    "rows": st.integers(1, 150),
    "lists": st.integers(1, 40),
    "segment_rows": st.integers(7, 80),
    "depth": st.integers(1, 200),
}


@given(**SHAPES, deleted_share=st.sampled_from([0.0, 0.3, 1.0]), mask_share=st.floats(0, 1))
def test_all_lists_are_an_exact_search(
    seed: int,
    rows: int,
    lists: int,
    segment_rows: int,
    depth: int,
    deleted_share: float,
    mask_share: float,
) -> None:
    random = np.random.default_rng(seed)
    corpus = make(clustered(seed, rows, 5), lists, segment_rows)
    deleted = random.random(rows) < deleted_share
    corpus = corpus.deleting(deleted) if deleted_share else corpus
    mask = random.random(rows) < mask_share
    query = clustered(seed + 1, 1, 1)[0]
    for index in (IVFVectors(corpus.centroids, corpus.segments, 1).exact(), corpus.float32):
        wanted = best_of(index, query, depth, np.flatnonzero(~deleted))
        found = index.search(query, depth, EVERYTHING)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
        wanted = best_of(index, query, depth, np.flatnonzero(mask & ~deleted))
        found = index.search(query, depth, mask)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
        assert np.all((mask & ~deleted)[found.ids])
        if isinstance(index, IVFVectors):
            same(found, wanted)


@given(**SHAPES, probes=st.integers(1, 10), reach=st.sampled_from([0.0, 2.0, np.inf]))
def test_few_lists_find_as_many_rows_and_no_forbidden_ones(
    seed: int, rows: int, lists: int, segment_rows: int, depth: int, probes: int, reach: float
) -> None:
    random = np.random.default_rng(seed)
    deleted, mask = random.random(rows) < 0.2, random.random(rows) < 0.5
    corpus = make(clustered(seed, rows, 5), lists, segment_rows).deleting(deleted)
    index = IVFVectors(corpus.centroids, corpus.segments, probes, reach)
    query = clustered(seed + 1, 1, 1)[0]
    for each, allowed in ((EVERYTHING, ~deleted), (mask, mask & ~deleted)):
        found = index.search(query, depth, each)
        assert len(found) == min(depth, int(allowed.sum()))
        assert np.all(allowed[found.ids])
        same(found, best_of(index, query, depth, found.ids.astype(np.intp)))
        for shards in (1, 2, 3):
            parts = [index.search_shard(query, depth, each, at, shards) for at in range(shards)]
            same(merged(parts, depth), found)
    batch = np.stack((query, np.zeros_like(query), clustered(seed + 2, 1, 1)[0], query))
    depths = np.array([depth, depth, 3, 1])
    for each in (EVERYTHING, mask):
        found_by_batch = index.search_batch(batch, depths, each)
        assert len(found_by_batch.of(1)) == 0
        for which in (0, 2, 3):
            same(found_by_batch.of(which), index.search(batch[which], int(depths[which]), each))
        scores = index.scores_batch(batch, found_by_batch.ids, found_by_batch.starts)
        np.testing.assert_array_equal(scores, found_by_batch.scores)


def test_a_batch_passes_over_no_list_of_equal_rows_where_all_are_searched() -> None:
    distinct = np.eye(12, dtype=np.float32)  # coded without a residual
    corpus = make(np.repeat(distinct, 5, axis=0), 12, 60)
    index = IVFVectors(corpus.centroids, corpus.segments, 12).exact()
    queries = np.abs(np.random.default_rng(4).normal(size=(4, 12))).astype(np.float32)
    found = index.search_batch(queries, np.full(4, 20), EVERYTHING)
    for which, query in enumerate(queries):
        same(found.of(which), index.search(query, 20, EVERYTHING))


def test_scores_are_those_of_the_vectors() -> None:
    corpus = make(clustered(0, 500, 9, 384), 16, 200)
    query = clustered(1, 1, 1, 384)[0]
    ids = np.random.default_rng(0).permutation(500).astype(np.int32)
    wanted = corpus.vectors[ids] @ query
    np.testing.assert_allclose(corpus.float32.scores(query, ids), wanted, atol=1e-6)
    index = IVFVectors(corpus.centroids, corpus.segments, 4)
    np.testing.assert_allclose(index.scores(query, ids), wanted, atol=2e-3)
    longer = index.scores(query * np.float32(3), ids)
    np.testing.assert_allclose(longer, 3 * index.scores(query, ids), rtol=1e-4, atol=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    dimension=st.sampled_from([1, 2, 7, 33, 64, 129]),
    tail=st.sampled_from([0.0, 1.0, 3.0]),
    length=st.sampled_from([1e-6, 1.0, 1e6, 1e36]),
)
def test_no_row_is_missed_for_its_upper_half(
    seed: int, dimension: int, tail: float, length: float
) -> None:
    """Components of a few large numbers among small ones are coded worst."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((120, dimension)) * np.exp(
        tail * random.standard_normal((120, dimension))
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[60:90] = vectors[:30] + 1e-4 * random.standard_normal((30, dimension))
    rows = vectors[:100].astype(np.float32)
    corpus = make(rows, 5, 40)
    index = IVFVectors(corpus.centroids, corpus.segments, 1).exact()
    vectors[100] = -1 / dimension**0.5
    for query in (length * vectors[100:105]).astype(np.float32):
        wanted = best_of(index, query, 5, np.arange(100))
        same(index.search(query, 5, EVERYTHING), wanted)
    queries = np.ascontiguousarray(length * vectors[100:109], np.float32)
    found = index.search_batch(queries, np.full(9, 5), EVERYTHING)
    for place, query in enumerate(queries):
        here = slice(found.starts[place], found.starts[place + 1])
        wanted = best_of(index, query, 5, np.arange(100))
        same(Candidates(found.ids[here], found.scores[here]), wanted)


def test_rows_that_are_their_centroid_are_found() -> None:
    """Their lower halves are all the same, which is as far from random as may be."""
    same_row = np.full(256, -1 / 16, np.float32)
    others = clustered(0, 200, 4, 256)
    near = same_row + 0.2 * others[:1]
    rows = np.concatenate([near / np.linalg.norm(near), [same_row, same_row], others])
    centroids = np.stack([same_row, *others[:3]])
    lists = np.sort(np.concatenate([[0, 0, 0], 1 + np.arange(200) % 3])).astype(np.int32)
    codes = encode_rows(rows.astype(np.float32), lists, centroids)
    index = IVFVectors(centroids, [SegmentVectors(codes, list_bounds(lists, 4), 0)], 4, 3.0)
    assert index.search(same_row, 1, EVERYTHING).ids.tolist() == [1]
    batch = index.search_batch(np.stack([same_row] * 5), np.full(5, 2), EVERYTHING)
    assert batch.ids.tolist() == [1, 2] * 5


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_with_many_codes_of_zero_are_found(seed: int) -> None:
    """Lower halves have a mean then, which adds up with a query of one sign."""
    random = np.random.default_rng(seed)
    rows = np.abs(random.standard_normal((900, 768)))
    rows *= np.where(random.random(768) < 0.3, 0.01, 1)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    corpus = make(rows, 12, 900)
    some = IVFVectors(corpus.centroids, corpus.segments, 12, 50.0)
    for query in (-rows[0], rows[1], np.full(768, -1 / 768**0.5, np.float32)):
        same(some.search(query, 10, EVERYTHING), some.exact().search(query, 10, EVERYTHING))


def test_residuals_make_finer_codes() -> None:
    vectors = clustered(0, 2_000, 20, 64)
    centroids = train_centroids(vectors, 20)
    lists = assign_lists(vectors, centroids)
    scales = encode_rows(vectors, lists, centroids).scales
    _, whole = EmbeddingQuantizer().quantize_batch(vectors)
    assert np.median(scales) < 0.75 * np.median(whole)


@pytest.mark.parametrize("lists", [1, 4, 30])
def test_equal_rows_come_in_order_of_their_ids(lists: int) -> None:
    corpus = make(np.repeat(clustered(3, 1, 1), 50, axis=0), lists, 20)
    for index in (IVFVectors(corpus.centroids, corpus.segments, 1), corpus.float32):
        assert index.search(corpus.vectors[0], 5, EVERYTHING).ids.tolist() == [0, 1, 2, 3, 4]


def test_zero_vectors_are_found_last() -> None:
    vectors = clustered(0, 40, 4)
    vectors[[3, 30]] = 0
    corpus = make(vectors, 8, 25)
    query = clustered(1, 1, 1)[0]
    found = IVFVectors(corpus.centroids, corpus.segments, 1).exact().search(query, 40, EVERYTHING)
    zeros = np.flatnonzero(~np.any(corpus.vectors, axis=1))
    np.testing.assert_allclose(found.scores[np.isin(found.ids, zeros)], 0, atol=1e-2)
    nothing = (
        IVFVectors(corpus.centroids, corpus.segments, 1).exact().search(0 * query, 3, EVERYTHING)
    )
    assert nothing.ids.tolist() == [0, 1, 2]


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("selectivity", [0.001, 0.01, 0.1])
def test_filters_do_not_cost_recall(selectivity: float, correlated: bool) -> None:
    rows = 20_000
    corpus = make(clustered(0, rows, 200), 140, 6_000)
    random = np.random.default_rng(1)
    if correlated:
        mask = np.zeros(rows, np.bool_)
        order = np.argsort(corpus.vectors @ corpus.vectors[7])
        mask[order[-int(selectivity * rows) :]] = True
    else:
        mask = random.random(rows) < selectivity
    index = IVFVectors(corpus.centroids, corpus.segments, 24, 4.0)
    queries = corpus.vectors[random.permutation(rows)[:60]] + 0.1 * clustered(2, 60, 60)

    def recall(allowed: Mask) -> float:
        hits = wanted = 0
        for query in queries:
            truth = set(corpus.float32.search(query, 10, allowed).ids.tolist())
            hits += len(truth & set(index.search(query, 10, allowed).ids.tolist()))
            wanted += len(truth)
        return hits / wanted

    assert recall(mask) >= min(recall(EVERYTHING), 0.99) - 0.005


def test_what_is_resident_is_a_quarter_of_float32() -> None:
    corpus = make(clustered(0, 20_000, 200, 256), list_count(20_000), 6_000)
    index = IVFVectors(corpus.centroids, corpus.segments, 8)
    assert corpus.float32.nbytes == 20_000 * 256 * 4
    assert 0.25 < index.nbytes / corpus.float32.nbytes < 0.27


def test_an_index_without_rows_finds_nothing() -> None:
    centroids = train_centroids(np.zeros((0, 8), np.float32), 3)
    query = np.ones(8, np.float32)
    for index in (IVFVectors(centroids, [], 1), Float32Segments([], [])):
        assert len(index.search(query, 5, EVERYTHING)) == 0
        assert len(index.scores(query, np.zeros(0, np.int32))) == 0


def test_arrays_that_do_not_fit_are_refused() -> None:
    corpus = make(clustered(0, 50, 3), 4, 50)
    segment = corpus.segments[0]
    codes = segment.codes._replace(scales=segment.codes.scales[1:])
    with pytest.raises(InvalidRequestError, match="do not fit"):
        IVFVectors(corpus.centroids, [replace(segment, codes=codes)], 1)
    with pytest.raises(InvalidRequestError, match="ascending"):
        IVFVectors(corpus.centroids, [replace(segment, bounds=segment.bounds[::-1])], 1)
    with pytest.raises(InvalidRequestError, match="got 0"):
        IVFVectors(corpus.centroids, corpus.segments, 0)
    index = IVFVectors(corpus.centroids, corpus.segments, 1)
    with pytest.raises(InvalidRequestError, match="49 places for 50 rows"):
        index.search(corpus.vectors[0], 1, np.ones(49, np.bool_))
    with pytest.raises(EmbeddingError, match="one embedder"):
        assign_lists(corpus.vectors, corpus.centroids[:, 1:])


def test_training_finds_the_clusters() -> None:
    vectors = clustered(0, 3_000, 10, 64)
    centroids = train_centroids(vectors, 30)
    assert np.array_equal(centroids, train_centroids(vectors, 30))
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
    nearest = (vectors @ centroids.T).max(axis=1)
    at_random = (vectors @ vectors[:30].T).max(axis=1)
    assert nearest.mean() > at_random.mean() + 0.05
    with pytest.raises(InvalidRequestError, match="got 0"):
        train_centroids(vectors, 0)


def test_list_bounds() -> None:
    lists = np.array([0, 0, 2, 2, 2, 4], np.int32)
    assert list_bounds(lists, 6).tolist() == [0, 2, 2, 5, 5, 6, 6]
    assert list_bounds(lists[:0], 2).tolist() == [0, 0, 0]


def test_small_corpora_have_one_list_and_large_ones_no_more_than_thousands() -> None:
    counts = [list_count(rows) for rows in (0, 1, 3_000, 10_000, 100_000, 1_000_000, 10**8)]
    assert counts[:3] == [1, 1, 1]
    assert counts == sorted(counts)
    assert counts[-1] == 4096


def test_lists_of_like_topics_have_numbers_near_each_other() -> None:
    """Of eight topics with eight lists or so each, neighbours are mostly of one topic."""
    rng = np.random.default_rng(0)
    topics = 3 * rng.standard_normal((8, 32)).astype(np.float32)
    vectors = np.repeat(topics, 400, axis=0) + rng.standard_normal((3_200, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centroids = train_centroids(vectors, 64)
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    topic = np.argmax(centroids @ topics.T, axis=1)
    assert np.count_nonzero(topic[1:] != topic[:-1]) < 20
