"""What every engine must do, in one suite: the template, the shipped ones, and this package's."""

import asyncio

import numpy as np
import pytest

from dtrag_core.bench.peers.base import OpenPeer, Peer, PeerCorpus, PeerQuery
from dtrag_core.bench.peers.corpus import Prepared
from dtrag_core.bench.peers.store import built
from dtrag_core.bench.peers.template import NumpyPeer
from dtrag_core.types import no_progress


@pytest.fixture
def opened(peer: Peer, corpus: PeerCorpus) -> OpenPeer:
    return peer.open(corpus, built(peer, corpus, no_progress).directory)


def exact(corpus: PeerCorpus) -> OpenPeer:
    template = NumpyPeer()
    return template.open(corpus, built(template, corpus, no_progress).directory)


def query(prepared: Prepared, number: int) -> PeerQuery:
    return prepared.query(f"planted{number} unique{number} salmon")


def test_says_what_it_is(peer: Peer) -> None:
    assert peer.name
    assert all(peer.versions().values())
    assert peer.settings()


def test_bm25_finds_the_planted_chunk_and_scores_descend(
    opened: OpenPeer, prepared: Prepared
) -> None:
    async def search() -> None:
        for number in (0, 7, 499):
            found = await opened.bm25(query(prepared, number).terms, 5)
            assert found.ids[0] == number
            assert found.ids.dtype == np.int32
            assert found.scores.dtype == np.float32
            assert len(found.ids) == len(found.scores) == 5
            assert (np.diff(found.scores) <= 0).all()

    asyncio.run(search())
    opened.close()


def test_bm25_returns_only_chunks_that_hold_a_term(opened: OpenPeer) -> None:
    async def search() -> None:
        assert (await opened.bm25(("planted3",), 10)).ids.tolist() == [3]
        assert len((await opened.bm25(("nowhere",), 10)).ids) == 0

    asyncio.run(search())
    opened.close()


def test_bm25_ranks_as_exact_search_does(
    opened: OpenPeer, corpus: PeerCorpus, prepared: Prepared
) -> None:
    """Every note has the same length, so that no engine's length rounding can differ."""
    terms = prepared.query("planted7 sings salmon quarry").terms

    async def search() -> None:
        found = await opened.bm25(terms, 500)
        wanted = await exact(corpus).bm25(terms, 500)
        score_of = dict(zip(wanted.ids.tolist(), wanted.scores.tolist(), strict=True))
        assert wanted.ids[0] == 7
        assert [score_of[row] for row in found.ids.tolist()] == pytest.approx(wanted.scores)

    asyncio.run(search())
    opened.close()


def test_the_vector_leg_finds_what_is_near(
    opened: OpenPeer, corpus: PeerCorpus, prepared: Prepared
) -> None:
    async def search() -> None:
        for number in (4, 250):
            vector = query(prepared, number).vector
            found = await opened.nearest(vector, 10)
            cosines = corpus.vectors @ vector
            tenth = np.sort(cosines)[-10]
            assert len(found) == 10
            # Half are enough of an approximate leg on nearly equal neighbours.
            assert (cosines[found] >= tenth - 0.02).sum() >= 5

    asyncio.run(search())
    opened.close()


def test_hybrid_search_puts_the_planted_chunk_first(opened: OpenPeer, prepared: Prepared) -> None:
    async def search() -> None:
        for number in (11, 333):
            found = await opened.hybrid(query(prepared, number), 10, 50)
            assert found[0] == number
            assert len(found) == len(set(found.tolist())) == 10

    asyncio.run(search())
    opened.close()


def test_terms_with_signs_are_found_and_steer_nothing(opened: OpenPeer, prepared: Prepared) -> None:
    async def search() -> None:
        for sign in ('"', "*", "'", "-", "OR", "(", "?", "\\", "a:b^2~"):
            asked = PeerQuery("planted5", (sign, "planted5"), query(prepared, 5).vector)
            assert (await opened.bm25(asked.terms, 3)).ids.tolist() == [5]
            assert 5 in await opened.hybrid(asked, 10, 50)

    asyncio.run(search())
    opened.close()
