import numpy as np
import pytest

from dtrag_core.embedding.base import CorpusTexts
from dtrag_core.embedding.lsa import fit_lsa
from dtrag_core.errors import EmbeddingError


def test_a_small_corpus_gives_fewer_dimensions() -> None:
    embedder = fit_lsa(CorpusTexts(["red apple", "green pear", "blue plum"], []))
    assert embedder.dimension == 3


def test_texts_of_one_topic_meet_without_a_common_word() -> None:
    rng = np.random.default_rng(3)

    def draw(topic: str, low: int, high: int) -> str:
        return " ".join(f"{topic}{word}" for word in rng.integers(low, high, size=20))

    documents = [draw(("road", "kitchen")[row % 2], 0, 300) for row in range(800)]
    embedder = fit_lsa(CorpusTexts(documents, []))
    assert embedder.dimension == 256
    query = embedder.embed_query(draw("road", 0, 150))
    near = embedder.embed_documents([draw("road", 150, 300) for _ in range(20)]) @ query
    far = embedder.embed_documents([draw("kitchen", 150, 300) for _ in range(20)]) @ query
    assert near.mean() > 0.04
    assert np.abs(far).mean() < 0.02


def test_unknown_words_give_zero() -> None:
    embedder = fit_lsa(CorpusTexts(["red apple", "green pear"], []))
    assert not embedder.embed_query("submarine").any()
    np.testing.assert_allclose(
        embedder.embed_query("apple submarine"), embedder.embed_query("apple"), atol=1e-6
    )


@pytest.mark.parametrize("documents", [[], ["", "  "], ["?!", "--"]])
def test_a_corpus_without_words_is_refused(documents: list[str]) -> None:
    with pytest.raises(EmbeddingError, match=f"no word in {len(documents)} documents"):
        fit_lsa(CorpusTexts(documents, []))
