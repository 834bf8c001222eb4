"""BM25 over segments against an exhaustive float64 reference over random corpora."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dtrag_core.config import BM25Settings
from dtrag_core.errors import InvalidRequestError
from dtrag_core.index.bm25_few import FEW
from dtrag_core.index.bm25_segments import BM25Index, SegmentPostings, check_settings
from dtrag_core.index.postings import RANGE, TILE
from dtrag_core.index.postings_building import build_postings
from dtrag_core.index.segment_content import ForwardBuilder
from dtrag_core.index.topk import merge
from dtrag_core.index.vocabulary import Vocabulary
from dtrag_core.types import Candidates, FloatArray, Mask

EVERYTHING: Mask = np.zeros(0, np.bool_)
SETTINGS = st.sampled_from(
    [BM25Settings(), BM25Settings(0.9, 0.4), BM25Settings(1.5, 0.0), BM25Settings(0.0, 0.5)]
)
WORDS = ["ab", "cd", "ef", "gh", "ij", "kl"]
CHUNKS = st.lists(st.sampled_from(WORDS), max_size=8)
CORPORA = st.lists(CHUNKS, min_size=1, max_size=40)
QUERIES = st.lists(st.sampled_from([*WORDS[:4], "unknown"]), min_size=1, max_size=6)

Corpus = Sequence[Sequence[str]]


def segment(
    corpus: Corpus, first_row: int, dead: Sequence[int], settings: BM25Settings, average: float
) -> SegmentPostings:
    builder = ForwardBuilder()
    builder.add(corpus)
    forward = builder.finish()
    terms = len(builder.vocabulary)
    live = np.ones(len(corpus), np.bool_)
    live[list(dead)] = False
    gone = forward.rows(np.flatnonzero(~live))
    return SegmentPostings(
        Vocabulary.of(list(builder.vocabulary)),
        build_postings(forward, terms, settings, average),
        first_row,
        np.bincount(gone.terms, minlength=terms).astype(np.int32) if len(dead) else None,
        live if len(dead) else None,
        int(live.sum()),
        int(forward.lengths[live].sum()),
    )


def build(
    corpus: Corpus,
    settings: BM25Settings | None = None,
    cuts: Sequence[int] = (),
    dead: Sequence[int] = (),
    drift: float = 1.0,
) -> BM25Index:
    """Cut the corpus into segments, their saturations made with another average length."""
    settings = settings or BM25Settings()
    average = sum(map(len, corpus)) / len(corpus) * drift
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(corpus)}), len(corpus)]
    return BM25Index(
        [
            segment(
                corpus[start:end],
                start,
                [row - start for row in dead if start <= row < end],
                settings,
                average,
            )
            for start, end in itertools.pairwise(bounds)
        ],
        settings,
    )


def reference(
    corpus: Corpus, query: Sequence[str], settings: BM25Settings, dead: Sequence[int] = ()
) -> list[float]:
    live = [chunk for row, chunk in enumerate(corpus) if row not in set(dead)]
    average = sum(map(len, live)) / max(1, len(live)) or 1.0
    asked = Counter(query)
    counts = [Counter(chunk) for chunk in corpus]
    idf = {}
    for term in asked:
        frequency = sum(term in chunk for chunk in live)
        idf[term] = math.log1p((len(live) - frequency + 0.5) / (frequency + 0.5))
    scores = []
    for row, count in enumerate(counts):
        norm = settings.k1 * (1 - settings.b + settings.b * len(corpus[row]) / average)
        found = [
            times * idf[term] * count[term] / (count[term] + norm)
            for term, times in asked.items()
            if count[term]
        ]
        scores.append(0.0 if row in set(dead) else sum(found))
    return scores


def check(found: Candidates, expected: Sequence[float], k: int) -> None:
    """Assert that these are the k best of the rows with a score, up to rounding at the edge."""
    wanted = np.array(expected)
    matching = np.flatnonzero(wanted > 0)
    assert len(found) == min(k, len(matching))
    assert len(set(found.ids.tolist())) == len(found)
    np.testing.assert_allclose(found.scores, wanted[found.ids], rtol=1e-6)
    np.testing.assert_allclose(found.scores, np.sort(wanted[matching])[::-1][:k], rtol=1e-6)
    order = list(zip((-found.scores).tolist(), found.ids.tolist(), strict=True))
    assert order == sorted(order), "descending, ties by id"


@given(
    corpus=CORPORA,
    query=QUERIES,
    k=st.integers(1, 60),
    settings=SETTINGS,
    cuts=st.lists(st.integers(1, 39), max_size=3),
    padding=st.sampled_from([0, 0, 0, 0, 400, 400, 400, 400, FEW * RANGE]),
    drift=st.sampled_from([1.0, 0.7, 1.01, 4.0]),
    data=st.data(),
)
def test_top_k_is_the_exhaustive_one(
    corpus: list[list[str]],
    query: list[str],
    k: int,
    settings: BM25Settings,
    cuts: list[int],
    padding: int,
    drift: float,
    data: st.DataObject,
) -> None:
    # Among many rows the same terms are sparse; among more, ranges are passed over.
    corpus = corpus + [["zz"]] * padding
    dead = data.draw(st.lists(st.integers(0, 39).filter(lambda row: row < len(corpus)), max_size=9))
    index = build(corpus, settings, cuts, dead, drift)
    terms = index.query_terms(query)
    found = index.search(terms, k, EVERYTHING)
    check(found, reference(corpus, query, settings, dead), k)
    at_once = index.search_words(query, k, EVERYTHING)
    assert (at_once.ids.tolist(), at_once.scores.tolist()) == (
        found.ids.tolist(),
        found.scores.tolist(),
    )

    everyone = np.arange(len(corpus), dtype=np.int32)
    scores = index.scores(terms, everyone)
    assert index.word_scores(query, everyone).tolist() == scores.tolist()
    assert scores[found.ids].tolist() == found.scores.tolist()
    for shards in (2, 5):
        parts = [index.search_shard(terms, k, EVERYTHING, each, shards) for each in range(shards)]
        merged = merge(parts, k)
        assert merged.ids.tolist() == found.ids.tolist()
        assert merged.scores.tolist() == found.scores.tolist()


@pytest.fixture(scope="module")
def large() -> tuple[list[list[str]], BM25Index]:
    """Two blocks, a dozen tiles and three segments; terms of every frequency; lengths vary."""
    rng = np.random.default_rng(5)
    ranks = np.minimum(rng.zipf(1.2, 70_000 * 12), 5_000)
    ends = np.cumsum(rng.integers(0, 24, 70_000))
    corpus = [
        [f"w{rank}" for rank in ranks[start:end]]
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    corpus[9] = ["w1"] * 300 + ["w2"] * 70_000
    corpus += corpus[:300]
    return corpus, build(corpus, cuts=(200, 70_000), dead=range(50, 900, 7), drift=1.02)


@pytest.mark.parametrize(
    "query", ["w1", "w4999", "w1 w2", "w1 w3 w40 w40 w900", "w300 w500 w1000", "w2 w17 w5 w8 w11"]
)
def test_large_corpus(large: tuple[list[list[str]], BM25Index], query: str) -> None:
    corpus, index = large
    words = query.split()
    expected = np.array(reference(corpus, words, BM25Settings(), range(50, 900, 7)))
    terms = index.query_terms(words)
    for k in (1, 12, 50, 1_000):
        found = index.search(terms, k, EVERYTHING)
        check(found, expected.tolist(), k)
        parts = [index.search_shard(terms, k, EVERYTHING, each, 3) for each in range(3)]
        assert merge(parts, k).ids.tolist() == found.ids.tolist()
    assert len(index.search_words(["unknown"], 5, EVERYTHING)) == 0
    rng = np.random.default_rng(1)
    for share in (0.9, 0.1, 0.01, 0.001, 0.0):
        mask = rng.random(len(corpus)) < share
        check(index.search(terms, 50, mask), np.where(mask, expected, 0).tolist(), 50)


@pytest.fixture(scope="module")
def whole(large: tuple[list[list[str]], BM25Index]) -> BM25Index:
    """The same corpus with nothing deleted, in two segments."""
    return build(large[0], cuts=(66_000,))


OF_ANY_FREQUENCY = [f"w{rank}" for rank in (1, 2, 3, 4, 5, 8, 13, 30, 100, 300, 900, 3_000, 4_999)]


@given(
    weights=st.dictionaries(
        st.sampled_from(OF_ANY_FREQUENCY), st.floats(0.01, 20), min_size=1, max_size=8
    ),
    k=st.sampled_from([1, 10, 16, 17, 50, 1_000]),
    shards=st.sampled_from([1, 2, 7]),
    share=st.sampled_from([None, 0.5, 0.02]),
)
@hypothesis_settings(max_examples=200)
def test_any_weights_on_a_large_corpus(
    whole: BM25Index, weights: dict[str, float], k: int, shards: int, share: float | None
) -> None:
    mask = EVERYTHING
    terms = whole.weighted_terms(weights)
    expected = whole.scores(terms, np.arange(70_300, dtype=np.int32))
    if share is not None:
        mask = np.random.default_rng(3).random(len(expected)) < share
        expected = np.where(mask, expected, 0)
    parts = [whole.search_shard(terms, k, mask, each, shards) for each in range(shards)]
    found = merge(parts, k)
    best = np.lexsort((np.arange(len(expected)), -expected))[:k]
    assert found.scores.tolist() == expected[best][expected[best] > 0].tolist()
    assert found.ids.tolist() == best[expected[best] > 0].tolist()


def test_more_than_there_are(large: tuple[list[list[str]], BM25Index]) -> None:
    corpus, index = large
    expected = reference(corpus, ["w1", "w7"], BM25Settings(), range(50, 900, 7))
    terms = index.query_terms(["w1", "w7"])
    check(index.search(terms, len(corpus) + 5, EVERYTHING), expected, len(corpus) + 5)


@given(corpus=CORPORA, query=QUERIES, data=st.data())
def test_mask_restricts_within_the_kernel(
    corpus: list[list[str]], query: list[str], data: st.DataObject
) -> None:
    index = build(corpus, cuts=(7,))
    allowed = data.draw(st.lists(st.booleans(), min_size=len(corpus), max_size=len(corpus)))
    mask = np.array(allowed, np.bool_)
    terms = index.query_terms(query)
    everything = index.search(terms, len(corpus), EVERYTHING)
    expected = [chunk for chunk in everything.ids.tolist() if mask[chunk]]
    assert index.search(terms, len(corpus), mask).ids.tolist() == expected
    found = index.search_words(query, len(corpus), mask)
    assert found.ids.tolist() == expected


def test_a_mask_may_be_any_array_of_booleans() -> None:
    index = build([["ab"]] * 6)
    mask = np.array([True, False] * 6)
    read_only = mask[:6].copy()
    read_only.setflags(write=False)
    terms = index.query_terms(["ab"])
    assert index.search(terms, 6, read_only).ids.tolist() == [0, 2, 4]
    assert index.search(terms, 6, mask[::2]).ids.tolist() == list(range(6))


@pytest.mark.parametrize("rows", [500, 3 * TILE + 100])
@pytest.mark.parametrize("others", [0, 40])
def test_tie_storm_goes_to_the_lowest_ids(rows: int, others: int) -> None:
    index = build([["ab"]] * rows + [["cd"]] * (others * rows), cuts=(rows // 2,))
    terms = index.query_terms(["ab"])
    assert index.search(terms, 7, EVERYTHING).ids.tolist() == list(range(7))
    assert len(index.search(terms, rows + 1, EVERYTHING)) == rows


def test_a_term_of_every_row_and_one_of_few() -> None:
    corpus = [["ab"]] * 3_000 + [["ab", "cd"]] * 3
    index = build(corpus)
    found = index.search(index.query_terms(["ab", "cd"]), 10, EVERYTHING)
    check(found, reference(corpus, ["ab", "cd"], BM25Settings()), 10)
    assert found.ids.tolist() == [3_000, 3_001, 3_002, *range(7)]


@pytest.mark.parametrize(("terms", "padding"), [(3_000, 0), (90, FEW * RANGE)])
def test_many_query_terms(terms: int, padding: int) -> None:
    words = [f"w{number}" for number in range(terms)]
    corpus = [words[start : start + 5] for start in range(0, terms, 3)] + [["zz"]] * padding
    index = build(corpus)
    query = words[::2] * 2 + words
    found = index.search(index.query_terms(query), 20, EVERYTHING)
    check(found, reference(corpus, query, BM25Settings()), 20)


def test_a_batch_is_its_queries() -> None:
    index = build([["ab"], ["cd", "ab"], ["cd"]])
    queries = index.query_batch([["ab"], ["zz"], [], ["cd", "ab", "cd"]])
    for mask in (EVERYTHING, np.array([True, False, True])):
        batch = index.search_batch(queries, np.array([2, 2, 2, 5]), mask)
        for which, words in enumerate((["ab"], ["zz"], [], ["cd", "ab", "cd"])):
            alone = index.search(index.query_terms(words), (2, 2, 2, 5)[which], mask)
            assert batch.of(which).ids.tolist() == alone.ids.tolist()
            assert batch.of(which).scores.tolist() == alone.scores.tolist()
        scores = index.scores_batch(queries, batch.ids, batch.starts)
        assert scores.tolist() == batch.scores.tolist()


def test_words_may_hold_anything_and_rows_be_asked_for_twice() -> None:
    corpus = [["a\nb", "c"], ["a", "b"], ["", "\n"], ["b", "\u00e9\n", "a\nb"]]
    index = build(corpus, cuts=(2,))
    ids = np.array([3, 0, 3, 1, 2, 0], np.int32)
    queries = [["a\nb"], ["a", "b"], ["\n", "", "c\n"], ["\u00e9\n", "b", "b"], [""]]
    batch = index.query_batch(queries)
    for which, query in enumerate(queries):
        wanted = reference(corpus, query, BM25Settings())
        for terms in (index.query_terms(query), batch.one(which)):
            check(index.search(terms, 4, EVERYTHING), wanted, 4)
            scores = index.scores(terms, ids)
            np.testing.assert_allclose(scores, [wanted[row] for row in ids], rtol=1e-6)


def test_nothing_to_find() -> None:
    index = build([["ab"], ["cd"]])
    scores: FloatArray = index.scores(index.query_terms(["zz"]), np.arange(2, dtype=np.int32))
    assert len(index.search(index.query_terms(["zz"]), 5, EVERYTHING)) == 0
    assert len(index.search(index.query_terms([]), 5, EVERYTHING)) == 0
    for words, mask in ((["zz"], EVERYTHING), ([], EVERYTHING), (["ab"], np.zeros(2, np.bool_))):
        assert len(index.search_words(words, 5, mask)) == 0
    assert scores.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("corpus", [[[]], [[], []]])
def test_chunks_without_tokens_are_never_found(corpus: list[list[str]]) -> None:
    index = build(corpus)
    assert len(index.search(index.query_terms(["ab"]), 3, EVERYTHING)) == 0


def test_an_index_whose_rows_are_all_deleted() -> None:
    index = build([["ab"], ["ab"]], dead=[0, 1])
    assert len(index.search(index.query_terms(["ab"]), 3, EVERYTHING)) == 0


def test_what_it_holds_is_counted() -> None:
    index = build([["ab", "cd"], ["ab"]], cuts=(1,))
    assert index.postings_count == 3
    assert index.nbytes > 0
    assert index.vocabulary_bytes > 0


@pytest.mark.parametrize("settings", [BM25Settings(k1=-1), BM25Settings(b=1.1)])
def test_impossible_settings_are_refused(settings: BM25Settings) -> None:
    with pytest.raises(InvalidRequestError, match=str(settings.k1)):
        check_settings(settings)
