from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.workload import (
    CacheMix,
    ceiling,
    distinct_queries,
    round_queries,
    workload_hash,
    zipf_stream,
)
from dtrag_core.config import AnalyzerSettings
from dtrag_core.datasets.base import DatasetInfo
from dtrag_core.errors import MeasuringError
from dtrag_core.types import Chunk, JudgedQuery, Split


@dataclass
class Corpus:
    """A small corpus in memory that counts how often it was streamed."""

    texts: Sequence[str]
    judged: Sequence[str] = ()
    streamed: int = 0

    @property
    def info(self) -> DatasetInfo:
        return DatasetInfo("corpus", "0" * 16, AnalyzerSettings(), "static", "made up")

    def __len__(self) -> int:
        return len(self.texts)

    def chunks(self) -> Iterator[Chunk]:
        self.streamed += 1
        for number, text in enumerate(self.texts):
            yield Chunk(str(number), "", text)

    def queries(self, split: Split) -> Sequence[JudgedQuery]:
        texts = self.judged if split == "test" else ["a train query"]
        return [JudgedQuery(str(n), text, {"0": 1}) for n, text in enumerate(texts)]

    def query_texts(self) -> Sequence[str]:
        return list(self.judged)


def _corpus(chunks: int = 200, judged: Sequence[str] = ()) -> Corpus:
    return Corpus([" ".join(f"w{c}x{w}" for w in range(30)) for c in range(chunks)], judged)


def test_judged_test_queries_come_first_then_snippets_of_single_chunks() -> None:
    corpus = _corpus(judged=["first question", "second question", "first question"])
    queries = distinct_queries(corpus, 150, seed=1)
    assert queries[:2] == ["first question", "second question"]
    assert len(queries) == len(set(queries)) == 150
    for snippet in queries[2:]:
        assert 3 <= len(snippet.split()) <= 8
        assert sum(f" {snippet} " in f" {text} " for text in corpus.texts) == 1
    sources = Counter(snippet.split("x")[0] for snippet in queries[2:])
    assert len(sources) > 100
    assert corpus.streamed == 1


def test_equal_seeds_give_equal_workloads_and_others_do_not() -> None:
    queries = [distinct_queries(_corpus(), 100, seed) for seed in (1, 1, 2)]
    assert queries[0] == queries[1] != queries[2]
    assert workload_hash(queries[0]) == workload_hash(queries[1]) != workload_hash(queries[2])
    assert workload_hash(["ab", "c"]) != workload_hash(["a", "bc"])


def test_more_queries_than_chunks_come_from_several_places_of_each() -> None:
    corpus = _corpus(chunks=10)
    queries = distinct_queries(corpus, 300, seed=0)
    assert len(set(queries)) == 300
    assert corpus.streamed <= 4


def test_judged_queries_alone_leave_the_corpus_unread() -> None:
    corpus = _corpus(judged=["one", "two", "three"])
    assert distinct_queries(corpus, 2, seed=0) == ["one", "two"]
    assert corpus.streamed == 0


def test_a_corpus_without_enough_text_says_both_numbers() -> None:
    too_short = Corpus(["word", "", "two words", "!!! ??? ... ---", "y" * 400 + " a b"])
    with pytest.raises(MeasuringError, match="yields 0 distinct queries, 5 are needed"):
        distinct_queries(too_short, 5, seed=0)
    with pytest.raises(MeasuringError, match="yields 1 distinct queries, 9 are needed"):
        distinct_queries(Corpus([], ["only"]), 9, seed=0)
    with pytest.raises(MeasuringError, match="not 0"):
        distinct_queries(_corpus(), 0, seed=0)


def test_rounds_never_repeat_a_query_nor_time_one_of_the_warm_up() -> None:
    queries = [f"q{number}" for number in range(100)]
    drawn = round_queries(queries, rounds=6, per_round=15, warmup=10, seed=3)
    assert [len(batch) for batch in drawn.batches] == [15] * 6
    everything = [*drawn.warmup, *(query for batch in drawn.batches for query in batch)]
    assert len(everything) == len(set(everything)) == 100
    assert drawn == round_queries(queries, rounds=6, per_round=15, warmup=10, seed=3)
    assert drawn != round_queries(queries, rounds=6, per_round=15, warmup=10, seed=4)


def test_too_few_or_repeated_queries_are_refused() -> None:
    with pytest.raises(MeasuringError, match="take 11 distinct queries; there are 10"):
        round_queries([f"q{n}" for n in range(10)], rounds=2, per_round=5, warmup=1, seed=0)
    with pytest.raises(MeasuringError, match="2 distinct ones among 3"):
        round_queries(["a", "b", "a"], rounds=1, per_round=1, warmup=1, seed=0)
    with pytest.raises(MeasuringError, match="0 rounds"):
        round_queries(["a"], rounds=0, per_round=1, warmup=0, seed=0)


def test_the_stream_follows_zipf() -> None:
    mix = CacheMix()
    distinct = [f"q{number}" for number in range(mix.distinct)]
    stream = zipf_stream(distinct, mix.requests, mix.zipf_s, seed=0)
    assert len(stream) == mix.requests
    counts = [count for _, count in Counter(stream).most_common()]
    harmonic = sum(1 / rank for rank in range(1, mix.distinct + 1))
    assert counts[0] == pytest.approx(mix.requests / harmonic, rel=0.1)
    assert sum(counts[:100]) == pytest.approx(
        mix.requests * sum(1 / rank for rank in range(1, 101)) / harmonic, rel=0.03
    )
    assert stream == zipf_stream(distinct, mix.requests, mix.zipf_s, seed=0)
    other = zipf_stream(distinct, mix.requests, mix.zipf_s, seed=1)
    assert Counter(stream).most_common(1)[0][0] != Counter(other).most_common(1)[0][0]


def test_without_skew_all_queries_are_equally_likely() -> None:
    counts = Counter(zipf_stream(["a", "b", "c", "d"], 4_000, 0.0, seed=0))
    assert all(900 < count < 1_100 for count in counts.values())
    for distinct, requests, s in (([], 1, 1.0), (["a"], 0, 1.0), (["a"], 1, -1.0)):
        with pytest.raises(MeasuringError, match="needs s >= 0"):
            zipf_stream(distinct, requests, s, seed=0)


@given(st.lists(st.sampled_from("abcde"), min_size=1))
def test_the_ceiling_is_what_a_cache_without_limit_reaches(stream: list[str]) -> None:
    cache: set[str] = set()
    hits = 0
    for query in stream:
        hits += query in cache
        cache.add(query)
    assert ceiling(stream) == pytest.approx(hits / len(stream))


def test_an_empty_stream_has_no_ceiling() -> None:
    with pytest.raises(MeasuringError, match="empty stream"):
        ceiling([])


def test_the_frozen_mix_is_the_one_the_target_is_defined_on() -> None:
    assert CacheMix() == CacheMix(1.0, 5_000, 20_000, 1_000, 20)
