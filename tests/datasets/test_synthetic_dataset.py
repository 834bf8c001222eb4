"""The generated corpus: deterministic, independent of its size, topical, with planted relevance."""

from collections import Counter
from itertools import islice, pairwise

import pytest

from dtrag_core.datasets import Dataset, open_dataset
from dtrag_core.datasets.synthetic_blocks import BLOCK
from dtrag_core.errors import InvalidRequestError


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("synthetic:10000")


def test_chunk_i_is_the_same_whatever_the_size_and_the_run(dataset: Dataset) -> None:
    assert 10_000 % BLOCK, "the last block must be a partial one"
    larger = open_dataset("synthetic:10001")
    chunks = list(dataset.chunks())
    assert len(chunks) == len(dataset) == 10_000
    assert list(islice(larger.chunks(), 10_000)) == chunks
    assert larger.info.fingerprint != dataset.info.fingerprint
    assert len({chunk.text for chunk in chunks}) == 10_000


def test_words_follow_topic_and_background(dataset: Dataset) -> None:
    chunks = list(islice(dataset.chunks(), 3_000))
    lengths = [len(chunk.text.split()) for chunk in chunks]
    assert 115 < sorted(lengths)[1_500] < 125
    own = other = total = 0
    frequencies: Counter[str] = Counter()
    for chunk, stranger in pairwise(chunks):
        words = chunk.text.split()
        heads = Counter(word[:4] for word in words)
        own += sum(heads[head] for head in chunk.path)
        other += sum(heads[head] for head in set(stranger.path) - set(chunk.path))
        total += len(words)
        frequencies.update(words)
    assert 0.25 < own / total < 0.35
    assert other / total < 0.02
    (_, most), *_ = frequencies.most_common(1)
    assert 0.015 < most / total < 0.035
    assert sum(count == 1 for count in frequencies.values()) > 10_000


def test_paths_form_a_tree_of_three_levels(dataset: Dataset) -> None:
    paths = {chunk.path for chunk in dataset.chunks()}
    assert [len({path[:depth] for path in paths}) for depth in (1, 2, 3)] == [8, 64, 256]
    assert len({head for path in paths for head in path}) == 8 + 64 + 256
    assert {chunk.doc_type for chunk in islice(dataset.chunks(), 100)} == (
        {"note", "article", "report", "manual"}
    )


@pytest.mark.parametrize("spec", ["synthetic:10000", "synthetic:1000000"])
def test_each_query_is_made_of_words_of_its_chunk(spec: str) -> None:
    dataset = open_dataset(spec)
    queries = [*dataset.queries("test"), *dataset.queries("train")]
    planted = {row: query for query in queries for row in query.relevant}
    assert len(dataset.queries("test")) == len(dataset.queries("train")) == 1_000
    assert len(planted) == 2_000, "each of another chunk"
    assert [q.text for q in queries] == list(dataset.query_texts())
    assert {len(q.text.split()) for q in queries} == set(range(2, 9))
    read = 0
    for chunk in islice(dataset.chunks(), 10_000):
        if chunk.id in planted:
            assert set(planted[chunk.id].text.split()) <= set(chunk.text.split())
            read += 1
    assert read == sum(int(row) < 10_000 for row in planted) > 0


def test_queries_are_the_same_in_every_run(dataset: Dataset) -> None:
    assert open_dataset("synthetic:10000").queries("test") == dataset.queries("test")


@pytest.mark.parametrize("size", ["9999", "10000001", "1e5", "-10000", "many"])
def test_impossible_sizes_are_refused(size: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"synthetic:{size}"):
        open_dataset(f"synthetic:{size}")
