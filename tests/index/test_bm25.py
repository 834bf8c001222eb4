"""BM25 against an exhaustive float64 reference over random corpora."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.config import BM25Settings
from dtrag_core.index.bm25 import BM25Index, PostingsBuilder
from dtrag_core.types import Mask

EVERYTHING: Mask = np.zeros(0, np.bool_)
WORDS = st.sampled_from(["ab", "cd", "ef", "gh", "ij"])
CORPORA = st.lists(st.lists(WORDS, max_size=8), min_size=1, max_size=40)


def build(corpus: list[list[str]], settings: BM25Settings) -> BM25Index:
    builder = PostingsBuilder()
    half = len(corpus) // 2
    builder.add(corpus[:half])
    builder.add(corpus[half:])
    return BM25Index(builder.vocabulary, builder.finish(settings))


def reference(corpus: list[list[str]], query: list[str], settings: BM25Settings) -> list[float]:
    average = sum(map(len, corpus)) / len(corpus) or 1.0
    scores = []
    for chunk in corpus:
        counts = Counter(chunk)
        length = settings.k1 * (1 - settings.b + settings.b * len(chunk) / average)
        score = 0.0
        for term in query:
            frequency = sum(term in other for other in corpus)
            idf = math.log(1 + (len(corpus) - frequency + 0.5) / (frequency + 0.5))
            score += idf * counts[term] / (counts[term] + length) if counts[term] else 0.0
        scores.append(score)
    return scores


@given(
    corpus=CORPORA,
    query=st.lists(st.sampled_from(["ab", "cd", "ef", "unknown"]), min_size=1, max_size=6),
    k=st.integers(1, 60),
    settings=st.sampled_from([BM25Settings(), BM25Settings(0.9, 0.4), BM25Settings(1.5, 0.0)]),
)
def test_top_k_is_the_exhaustive_one(
    corpus: list[list[str]], query: list[str], k: int, settings: BM25Settings
) -> None:
    index = build(corpus, settings)
    terms = index.query_terms(query)
    found = index.search(terms, k, EVERYTHING)
    expected = np.array(reference(corpus, query, settings))

    matching = np.flatnonzero(expected > 0)
    assert len(found) == min(k, len(matching))
    np.testing.assert_allclose(found.scores, expected[found.ids], rtol=1e-5)
    best = np.sort(expected[matching])[::-1][:k]
    np.testing.assert_allclose(found.scores, best, rtol=1e-5)
    order = list(zip((-found.scores).tolist(), found.ids.tolist(), strict=True))
    assert order == sorted(order), "descending, ties by id"


@given(corpus=CORPORA, query=st.lists(WORDS, min_size=1, max_size=6))
def test_scores_of_any_chunk_equal_those_of_the_search(
    corpus: list[list[str]], query: list[str]
) -> None:
    index = build(corpus, BM25Settings())
    terms = index.query_terms(query)
    found = index.search(terms, len(corpus), EVERYTHING)
    everyone = np.arange(len(corpus), dtype=np.int32)
    scores = index.scores(terms, everyone)
    assert scores[found.ids].tolist() == found.scores.tolist()
    assert np.count_nonzero(scores) == len(found)


@given(corpus=CORPORA, data=st.data())
def test_mask_restricts_within_the_kernel(corpus: list[list[str]], data: st.DataObject) -> None:
    index = build(corpus, BM25Settings())
    allowed = data.draw(st.lists(st.booleans(), min_size=len(corpus), max_size=len(corpus)))
    mask = np.array(allowed, np.bool_)
    terms = index.query_terms(["ab", "cd"])
    everything = index.search(terms, len(corpus), EVERYTHING)
    expected = [chunk for chunk in everything.ids.tolist() if mask[chunk]]
    assert index.search(terms, len(corpus), mask).ids.tolist() == expected


def test_tie_storm_goes_to_the_lowest_ids() -> None:
    index = build([["ab"]] * 500, BM25Settings())
    found = index.search(index.query_terms(["ab"]), 7, EVERYTHING)
    assert found.ids.tolist() == list(range(7))


def test_unknown_terms_find_nothing() -> None:
    index = build([["ab"], ["cd"]], BM25Settings())
    assert len(index.search(index.query_terms(["zz"]), 5, EVERYTHING)) == 0
    assert len(index.search(index.query_terms([]), 5, EVERYTHING)) == 0


def test_postings_are_counted_byte_for_byte() -> None:
    postings = build([["ab", "cd"], ["ab"]], BM25Settings()).postings
    assert postings.nbytes == 3 * 8 + 3 * 4 + 3 * 4
    assert postings.ids.tolist() == [0, 1, 0]


@pytest.mark.parametrize("corpus", [[[]], [[], []]])
def test_chunks_without_tokens_are_never_found(corpus: list[list[str]]) -> None:
    index = build(corpus, BM25Settings())
    assert len(index.search(index.query_terms(["ab"]), 3, EVERYTHING)) == 0
