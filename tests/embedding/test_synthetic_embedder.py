import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.embedding.base import CorpusTexts
from dtrag_core.embedding.synthetic import SyntheticEmbedder, fit_synthetic

EVEN = SyntheticEmbedder(np.ones(65_536, dtype=np.float32))
NORMAL = np.random.default_rng(4).standard_normal((2, 4096, 256), dtype=np.float32)
UNITS = NORMAL / np.linalg.norm(NORMAL, axis=2, keepdims=True)
words = st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=20)


def test_words_of_one_topic_lie_together_but_apart_from_each_other() -> None:
    one, other, elsewhere = map(EVEN.embed_query, ("bakoriva", "bakolumi", "tezurosa"))
    assert 0.6 < one @ other < 0.95
    assert abs(one @ elsewhere) < 0.25


def test_words_that_are_everywhere_do_not_hide_the_topic() -> None:
    documents = [f"common common common {name}topic" for name in ("abcd", "bcde", "cdef", "defg")]
    embedder = fit_synthetic(CorpusTexts(documents * 200, []))
    damped = embedder.embed_query("common common common abcdtopic") @ embedder.embed_query(
        "abcdtopic"
    )
    plain = EVEN.embed_query("common common common abcdtopic") @ EVEN.embed_query("abcdtopic")
    assert damped > plain


@given(words)
def test_order_and_white_space_do_not_matter(parts: list[str]) -> None:
    forward, backward = " ".join(parts), "\n ".join(["", *parts[::-1], ""])
    np.testing.assert_allclose(EVEN.embed_query(forward), EVEN.embed_query(backward), atol=1e-5)


@given(st.lists(words, min_size=1, max_size=6))
def test_a_text_is_the_sum_of_its_words(texts: list[list[str]]) -> None:
    found = EVEN.embed_documents([" ".join(parts) for parts in texts])
    for row, parts in zip(found, texts, strict=True):
        total = sum((raw_vector(word) for word in parts), np.zeros(256))
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-5)


def raw_vector(word: str) -> np.ndarray:
    """The definition, spelled out: head direction plus half a word direction."""
    return np.asarray(UNITS[0, fnv1a(word[:4]) % 4096] + 0.5 * UNITS[1, fnv1a(word) % 4096])


def fnv1a(word: str) -> int:
    value = 2166136261
    for letter in word.encode():
        value = (value ^ letter) * 16777619 % 2**32
    return value


@pytest.mark.parametrize("text", ["\u00e9", "\ud800", "a" * 100_000, "x " * 50_000])
def test_any_text_is_embedded(text: str) -> None:
    assert np.linalg.norm(EVEN.embed_query(text)) == pytest.approx(1, rel=1e-5)
