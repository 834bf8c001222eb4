"""What every engine must do, on one small real corpus."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dtrag_core.engines.base import Engine
from dtrag_core.engines.registry import ENGINES, open_engine
from dtrag_core.errors import EmbeddingError, InvalidRequestError, UnknownNameError
from dtrag_core.optimization.legs import ShardedSession
from dtrag_core.types import LEGACY, OPTIMIZED, Filters, FloatArray, Switches

QUERY = "split a string into a list of words"
BOTH = pytest.mark.parametrize("switches", [LEGACY, OPTIMIZED], ids=["legacy", "optimized"])


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, small_index: Path) -> Iterator[Engine]:
    opened = open_engine(request.param, small_index)
    yield opened
    opened.close()


def embedded(engine: Engine) -> FloatArray:
    return engine.embed_query(QUERY)


@BOTH
def test_legs_return_descending_scores_with_ties_by_id(engine: Engine, switches: Switches) -> None:
    session = engine.session(switches)
    for found in (
        session.bm25_leg(QUERY, 30, None),
        session.vector_leg(embedded(engine), 30, None),
    ):
        assert found.ids.dtype == np.int32
        assert found.scores.dtype == np.float32
        assert len(found) == len(set(found.ids.tolist())) == 30
        order = list(zip((-found.scores).tolist(), found.ids.tolist(), strict=True))
        assert order == sorted(order)


@BOTH
def test_completed_scores_are_those_of_the_legs(engine: Engine, switches: Switches) -> None:
    session = engine.session(switches)
    vector = embedded(engine)
    bm25 = session.bm25_leg(QUERY, 20, None)
    near = session.vector_leg(vector, 20, None)
    np.testing.assert_allclose(session.bm25_scores(QUERY, bm25.ids), bm25.scores, rtol=1e-6)
    np.testing.assert_allclose(session.cosine_scores(vector, near.ids), near.scores, atol=1e-6)


@BOTH
def test_depth_beyond_the_corpus_returns_everything(engine: Engine, switches: Switches) -> None:
    chunks = engine.info.chunks
    near = engine.session(switches).vector_leg(embedded(engine), chunks + 100, None)
    assert sorted(near.ids.tolist()) == list(range(chunks))


@BOTH
def test_legs_in_parts_find_what_whole_legs_find(engine: Engine, switches: Switches) -> None:
    session = engine.session(switches)
    if not isinstance(session, ShardedSession):
        pytest.skip("this engine does not cut its legs")
    # The opposite of a query: most cosines are negative.
    vector = -embedded(engine)
    for depth in (10, engine.info.chunks):
        for shards in (2, 3):
            for whole, jobs in (
                (
                    session.vector_leg(vector, depth, None),
                    session.vector_shards(vector, depth, None, shards),
                ),
                (
                    session.bm25_leg(QUERY, depth, None),
                    session.bm25_shards(QUERY, depth, None, shards),
                ),
            ):
                parts = session.merge([job() for job in jobs], depth)
                assert parts.ids.tolist() == whole.ids.tolist()
                assert parts.scores.tolist() == whole.scores.tolist()


@BOTH
def test_filters_hold_inside_both_legs(engine: Engine, switches: Switches) -> None:
    session = engine.session(switches)
    mask = session.compile_filters(Filters(canonical_in=(("python", "json"),)))
    assert mask is not None
    allowed = set(np.flatnonzero(mask).tolist())
    assert 0 < len(allowed) < 50
    near = session.vector_leg(embedded(engine), 1_000, mask)
    assert set(near.ids.tolist()) == allowed
    assert set(session.bm25_leg("json object", 1_000, mask).ids.tolist()) <= allowed
    for chunk in session.fetch(near.ids):
        assert chunk.path[:2] == ("python", "json")


def test_a_path_matches_its_subtree_and_filters_combine(engine: Engine) -> None:
    session = engine.session(OPTIMIZED)
    whole = session.compile_filters(Filters(canonical_in=(("python", "xml"),)))
    parts = session.compile_filters(
        Filters(canonical_in=(("python", "xml", "dom"), ("python", "xml", "etree")))
    )
    classes = session.compile_filters(
        Filters(canonical_in=(("python", "xml"),), doc_type=("class",))
    )
    assert whole is not None
    assert parts is not None
    assert classes is not None
    assert whole.tolist() == parts.tolist()
    assert 0 < classes.sum() < whole.sum()
    assert session.compile_filters(None) is None
    assert session.compile_filters(Filters()) is None


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (Filters(canonical_in=(("python", "jsom"),)), "json"),
        (Filters(doc_type=("klass",)), "class"),
    ],
)
def test_what_the_corpus_does_not_have_is_named_with_what_it_has(
    engine: Engine, filters: Filters, said: str
) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        engine.session(OPTIMIZED).compile_filters(filters)


@BOTH
@pytest.mark.parametrize("vector", [np.zeros(3, np.float32), np.full(256, np.nan, np.float32)])
def test_impossible_vectors_are_refused(
    engine: Engine, switches: Switches, vector: FloatArray
) -> None:
    if len(vector) > 3:
        vector = np.full(engine.info.dimension, np.nan, np.float32)
    with pytest.raises(EmbeddingError, match=r"dimension|NaN"):
        engine.session(switches).vector_leg(vector, 5, None)


@BOTH
def test_a_vector_without_direction_finds_nothing(engine: Engine, switches: Switches) -> None:
    nothing = np.zeros(engine.info.dimension, np.float32)
    assert len(engine.session(switches).vector_leg(nothing, 5, None)) == 0


def test_texts_come_in_the_order_asked_and_their_sizes_are_known(engine: Engine) -> None:
    ids = np.array([5, 0, 3], np.int32)
    session = engine.session(OPTIMIZED)
    chunks = session.fetch(ids)
    names = engine.chunk_ids()
    assert [chunk.id for chunk in chunks] == [names[5], names[0], names[3]]
    sizes = [len(chunk.text.encode()) for chunk in chunks]
    assert list(session.text_bytes(ids)) == sizes
    for record, chunk in zip(session.records(ids), chunks, strict=True):
        shown = json.loads(record)
        assert tuple(shown.pop("path")) == chunk.path
        assert shown == {name: getattr(chunk, name) for name in ("id", "title", "text", "doc_type")}


@BOTH
def test_a_vector_may_be_part_of_a_larger_array(engine: Engine, switches: Switches) -> None:
    session, vector = engine.session(switches), engine.embed_query("parse json text")
    apart = np.zeros((len(vector), 3), np.float32)
    apart[:, 1] = vector
    found, same = (session.vector_leg(each, 9, None) for each in (vector, apart[:, 1]))
    assert np.array_equal(found.ids, same.ids)
    assert np.array_equal(found.scores, same.scores)


def test_int8_vectors_are_a_quarter_and_both_paths_share_the_postings(engine: Engine) -> None:
    legacy, optimized = engine.resident_bytes(LEGACY), engine.resident_bytes(OPTIMIZED)
    assert 0.25 <= optimized["vectors"] / legacy["vectors"] <= 0.27
    assert optimized["postings"] == legacy["postings"]


def test_unknown_engines_are_named_with_those_there_are(small_index: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'elastic'.*embedded"):
        open_engine("elastic", small_index)
