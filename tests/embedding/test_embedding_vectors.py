import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.embedding.vectors import (
    fingerprint_of,
    pack_words,
    sample_of,
    unit_rows,
    unpack_words,
)
from dtrag_core.errors import EmbeddingError

words = st.lists(st.text(st.characters(exclude_characters="\n"), min_size=1), unique=True)


@given(words)
def test_words_come_back_as_they_were_packed(given_words: list[str]) -> None:
    packed = pack_words(given_words)
    assert packed.dtype == np.uint8
    assert unpack_words(packed) == given_words


def test_zero_rows_stay_zero_and_others_get_length_one() -> None:
    found = unit_rows(np.array([[0.0, 0.0], [3.0, 4.0]]), "test")
    np.testing.assert_allclose(found, np.array([[0, 0], [0.6, 0.8]]), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_with_their_row(value: float) -> None:
    rows = np.ones((5, 3))
    rows[3, 1] = value
    with pytest.raises(EmbeddingError, match=r"the model gave NaN .* 1 of 5 texts .*row 3"):
        unit_rows(rows, "the model")


def test_a_fingerprint_sees_name_type_shape_and_values() -> None:
    base = np.arange(6, dtype=np.float32)
    variants = [
        fingerprint_of("model", {"a": base}),
        fingerprint_of("other", {"a": base}),
        fingerprint_of("model", {"b": base}),
        fingerprint_of("model", {"a": base.reshape(2, 3)}),
        fingerprint_of("model", {"a": base.view(np.int32)}),
        fingerprint_of("model", {"a": base[::-1]}),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint_of("model", {"a": base.copy()}) == variants[0]


@given(st.integers(0, 60), st.integers(1, 40))
def test_a_sample_is_all_or_a_fixed_choice(documents: int, size: int) -> None:
    texts = [str(row) for row in range(documents)]
    found = sample_of(iter(texts), size)
    assert len(found) == min(documents, size)
    assert len(set(found)) == len(found)
    assert set(found) <= set(texts)
    assert found == sample_of(iter(texts), size)


def test_a_sample_reaches_the_end_of_the_corpus() -> None:
    found = [int(text) for text in sample_of(map(str, range(10_000)), 500)]
    assert 4_000 < np.mean(found) < 6_000
