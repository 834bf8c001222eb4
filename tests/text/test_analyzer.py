"""Tokens: what is kept, split, stemmed and dropped."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.config import AnalyzerSettings, TextProfile
from dtrag_core.text import Analyzer

ENGLISH = Analyzer(AnalyzerSettings("english"))
CODE = Analyzer(AnalyzerSettings("code"))
PLAIN = Analyzer(AnalyzerSettings("plain"))
ANALYZERS = st.sampled_from([ENGLISH, CODE, PLAIN])
HANGUL = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1)


def test_english_drops_stop_words_and_single_letters_and_stems() -> None:
    assert ENGLISH.tokens("The studies of X were relating, a FLYING 2 snake_case!") == (
        ["studi", "were", "relat", "fli", "snake_cas"]
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("read_csv", ["read", "csv", "read_csv"]),
        ("DataFrames", ["data", "frame", "datafram"]),
        ("HTTPServer", ["http", "server", "httpserver"]),
        (
            "numpy.linalg.default_rng",
            ["numpi", "linalg", "default", "rng", "default_rng", "numpy.linalg.default_rng"],
        ),
        ("__init__ coef_", ["init", "__init__", "coef", "coef_"]),
        ("The float32 arrays.", ["float32", "array"]),
        ("to_dict", ["dict", "to_dict"]),
    ],
)
def test_code_splits_names_and_keeps_them_whole(text: str, tokens: list[str]) -> None:
    assert CODE.tokens(text) == tokens


def test_a_name_finds_its_dotted_and_its_spelled_out_form() -> None:
    document = set(CODE.tokens("See numpy.random.default_rng and DataFrame."))
    assert set(CODE.tokens("default_rng dataframe")) <= document
    assert set(CODE.tokens("data frame")) <= document


@pytest.mark.parametrize("analyzer", [ENGLISH, CODE])
def test_cjk_runs_become_bigrams_amid_other_text(analyzer: Analyzer) -> None:
    assert analyzer.tokens("검색엔진abc 東 カタカナ・東京") == (
        ["검색", "색엔", "엔진", "abc", "東", "カタ", "タカ", "カナ", "東京"]
    )


@pytest.mark.parametrize("analyzer", [ENGLISH, CODE])
def test_decomposed_hangul_and_full_width_letters_match_the_usual_spelling(
    analyzer: Analyzer,
) -> None:
    decomposed = "\u1100\u1165\u11b7\u1109\u1162\u11a8"
    assert analyzer.tokens(decomposed) == analyzer.tokens("검색") == ["검색"]
    assert analyzer.tokens("\uff21\uff22\uff23") == ["abc"]


def test_plain_splits_at_white_space_only() -> None:
    assert PLAIN.tokens(" The  CamelCase,\n검색 a ") == ["The", "CamelCase,", "검색", "a"]


@given(HANGUL)
def test_bigrams_of_a_run_rebuild_it(run: str) -> None:
    tokens = ENGLISH.tokens(run)
    assert tokens[0] + "".join(token[1:] for token in tokens[1:]) == run
    assert {len(token) for token in tokens} == {min(2, len(run))}


@given(ANALYZERS, st.text(), st.text(alphabet=" \t\n\u00a0\u3000"))
def test_surrounding_white_space_changes_nothing(analyzer: Analyzer, text: str, space: str) -> None:
    assert analyzer.tokens(space + text + space) == analyzer.tokens(text)


@given(ANALYZERS, st.text(), st.text())
def test_tokens_of_joined_texts_are_the_tokens_of_each(
    analyzer: Analyzer, first: str, second: str
) -> None:
    joined = analyzer.tokens(f"{first}\n{second}")
    assert joined == analyzer.tokens(first) + analyzer.tokens(second)
    assert all(joined)


@pytest.mark.parametrize("profile", ["english", "code", "plain"])
def test_threads_sharing_an_analyzer_agree_with_one_alone(profile: TextProfile) -> None:
    texts = [f"relational{n} flying{n} studies_of{n} TheName{n}" for n in range(2_000)]
    alone = [Analyzer(AnalyzerSettings(profile)).tokens(text) for text in texts]
    shared = Analyzer(AnalyzerSettings(profile))
    with ThreadPoolExecutor(4) as pool:
        passes = list(pool.map(lambda _: [shared.tokens(text) for text in texts], range(4)))
    assert passes == [alone] * 4


def test_a_very_long_word_and_nothing_at_all() -> None:
    assert ENGLISH.tokens("x" * 100_000) == ["x" * 100_000]
    assert [analyzer.tokens(" ") for analyzer in (ENGLISH, CODE, PLAIN)] == [[], [], []]
