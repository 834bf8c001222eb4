"""The taxonomy tree: counts, codes of subtrees, and help with unknown paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.datasets import Taxonomy
from dtrag_core.errors import InvalidRequestError

PATHS = [("a", "b"), ("a", "b", "c"), ("a",), ("a", "b!"), ("ab", "b"), ("a", "b"), ()]
TREE = Taxonomy.from_paths(PATHS)
ANY_PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "a ", "ab", "a!", "\u00e9"]), max_size=4).map(tuple),
    min_size=1,
)


def test_counts_of_subtrees_and_of_nodes() -> None:
    assert TREE.count() == 7
    assert (TREE.count(("a",)), TREE.own_count(("a",))) == (5, 1)
    assert (TREE.count(("a", "b")), TREE.own_count(("a", "b"))) == (3, 2)
    assert (TREE.count(("ab",)), TREE.own_count(("ab",))) == (1, 0)


def test_children_and_rendering_to_a_depth() -> None:
    assert TREE.children() == (("a",), ("ab",))
    assert TREE.children(("ab",)) == (("ab", "b"),)
    assert TREE.children(("ab", "b")) == ()
    assert TREE.render(depth=2) == "a (5)\n  b (3)\n  b! (1)\nab (1)\n  b (1)"
    assert TREE.render(depth=1) == "a (5)\nab (1)"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("a", "bb"), r"'a/bb'; nearest under 'a': a/b"),
        (("ac", "x"), r"'ac/x'; nearest at the root: a"),
        (("a", "b", "zzz"), r"nearest under 'a/b': a/b/c"),
        (("a", "b", "c", "d"), r"nearest under 'a/b/c': nothing"),
    ],
)
def test_an_unknown_path_names_the_nearest_known(path: tuple[str, ...], message: str) -> None:
    for question in (TREE.subtree, TREE.count, TREE.code):
        with pytest.raises(InvalidRequestError, match=message):
            question(path)


def test_an_inner_node_has_a_subtree_but_no_code() -> None:
    assert [TREE.paths[code] for code in TREE.subtree(("ab",))] == [("ab", "b")]
    with pytest.raises(InvalidRequestError, match="'ab'"):
        TREE.code(("ab",))


def test_an_empty_corpus_has_an_empty_tree() -> None:
    empty = Taxonomy.from_paths([])
    assert (empty.count(), empty.children(), empty.render()) == (0, (), "")
    with pytest.raises(InvalidRequestError, match="at the root: nothing"):
        empty.subtree(("a",))


@given(ANY_PATHS)
def test_a_subtree_is_exactly_the_paths_with_that_prefix(paths: list[tuple[str, ...]]) -> None:
    tree = Taxonomy.from_paths(paths)
    assert sorted(set(paths)) == list(tree.paths)
    for path in paths:
        for depth in range(len(path) + 1):
            prefix = path[:depth]
            below = [p for p in paths if p[:depth] == prefix]
            assert {tree.paths[code] for code in tree.subtree(prefix)} == set(below)
            assert tree.count(prefix) == len(below)
            assert {tree.code(p) for p in below} == set(tree.subtree(prefix))
