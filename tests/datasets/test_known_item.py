"""Known-item queries: unique, not giving their chunk away, taken out of its text."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.datasets import known_item
from dtrag_core.datasets.known_item import KnownItem, find_known_items, without_summaries
from dtrag_core.types import Chunk

BODY = "What follows explains it at some length."
WORDS = st.sampled_from(
    ["alpha", "beta", "Gamma", "delta.", "eps\n", "zeta\n\n", "f(x)\n", "한국 "]
)
TEXTS = st.lists(WORDS, max_size=25).map(" ".join)


def items_of(*chunks: Chunk) -> dict[str, KnownItem]:
    return {item.query.id: item for item in find_known_items(lambda: chunks).values()}


def chunk(text: str, title: str = "pkg.thing", name: str = "c") -> Chunk:
    return Chunk(name, title, text)


@pytest.mark.parametrize(
    ("text", "summary", "rest"),
    [
        (f"Sort values along an axis.\n\n{BODY}", "Sort values along an axis.", BODY),
        (f"Sort values\nalong an axis. {BODY}", "Sort values along an axis.", BODY),
        (f"Sort values, e.g. along axes\n\n{BODY}", "Sort values, e.g. along axes", BODY),
        (
            f"thing(a, b=1) -> list\n\nSort values along axes.\n\n{BODY}",
            "Sort values along axes.",
            f"thing(a, b=1) -> list\n\n{BODY}",
        ),
        (f"값을 축을 따라 정렬한다. 한국어 {BODY}", "값을 축을 따라 정렬한다.", f"한국어 {BODY}"),
    ],
)
def test_the_first_sentence_is_the_query_and_leaves_the_text(
    text: str, summary: str, rest: str
) -> None:
    item = items_of(chunk(text))["c"]
    assert (item.query.text, item.chunk.text) == (summary, rest)
    assert item.query.relevant == {"c": 1}


@pytest.mark.parametrize(
    ("title", "summary"),
    [
        ("pkg.norm", "Compute the norm of things."),
        ("pkg.DataFrame", "Make a large dataframe of things."),
        ("pkg.read_csv", "Read a large csv file."),
        ("pkg.ReadTable", "Read a very large table."),
        ("How to sort", "This is about how to sort."),
        ("All about how to sort quickly things", "How to sort quickly things."),
    ],
)
def test_a_summary_that_names_its_object_is_no_query(title: str, summary: str) -> None:
    assert not items_of(chunk(f"{summary}\n\n{BODY}", title))
    assert items_of(chunk(f"{summary}\n\n{BODY}", "pkg.unrelated"))


@pytest.mark.parametrize(
    "text",
    [
        f"Too few words.\n\n{BODY}",
        "Sort values along an axis.",
        f"Sort values along an axis.\n\n{BODY} sort Values  along an axis. More.",
        f".. deprecated since one or two years.\n\n{BODY}",
        "word " * 41 + f"\n\n{BODY}",
        "",
        " \n ",
    ],
)
def test_unfit_summaries_are_no_queries(text: str) -> None:
    assert not items_of(chunk(text))


def test_a_summary_two_chunks_share_is_no_query() -> None:
    same = [chunk(f"Sort values along an axis{end}\n\n{BODY} {end}", name=end) for end in (".", "")]
    other = chunk(f"Draw some very pretty pictures.\n\n{BODY}", name="other")
    assert list(items_of(*same, other)) == ["other"]


def test_both_splits_are_filled_whatever_the_order() -> None:
    chunks = [
        chunk(f"Sort values along axis number {n}.\n\n{BODY}", name=f"c{n}") for n in range(99)
    ]
    splits = {name: item.split for name, item in items_of(*chunks).items()}
    assert len(splits) == 99
    assert 25 < sum(split == "test" for split in splits.values()) < 75
    assert {name: item.split for name, item in items_of(*reversed(chunks)).items()} == splits


def test_of_too_many_the_same_are_kept_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_item, "MAX_QUERIES", 10)
    chunks = [
        chunk(f"Sort values along axis number {n}.\n\n{BODY}", name=f"c{n}") for n in range(50)
    ]
    kept = set(items_of(*chunks))
    assert len(kept) == 10
    assert set(items_of(*reversed(chunks))) == kept


@given(st.lists(TEXTS, max_size=6))
def test_no_query_occurs_in_its_chunk_and_no_other_chunk_changes(texts: Sequence[str]) -> None:
    chunks = [chunk(text, name=str(row)) for row, text in enumerate(texts)]
    items = find_known_items(lambda: chunks)
    searched = list(without_summaries(chunks, items))
    for row, (before, after) in enumerate(zip(chunks, searched, strict=True)):
        if row in items:
            query = items[row].query.text.casefold()
            assert query not in " ".join(after.content.split()).casefold()
            kept = Counter(after.text.split()) + Counter(items[row].query.text.split())
            assert kept == Counter(before.text.split())
        else:
            assert after is before
    summaries = [item.query.text for item in items.values()]
    assert len(set(summaries)) == len(summaries)
