"""Opening datasets by name."""

import pytest

import dtrag_core.datasets
from dtrag_core.datasets import describe_datasets, open_dataset
from dtrag_core.errors import InvalidRequestError, UnknownNameError


def test_every_kind_says_how_it_is_written_and_what_it_is_good_for() -> None:
    kinds = {kind.name: kind for kind in describe_datasets()}
    assert set(kinds) == {"pydocs", "beir", "jsonl", "synthetic"}
    assert kinds["pydocs"].caveat == (
        "known-item, lexical-leaning: for latency and plumbing, weak evidence on quality"
    )
    assert [kind.form for kind in kinds.values()] == (
        ["pydocs", "beir:DIR", "jsonl:FILE", "synthetic:N"]
    )


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"'wiki'; known: beir:DIR, jsonl:FILE, pydocs"):
        open_dataset("wiki:en")


@pytest.mark.parametrize("spec", ["beir", "beir:", "jsonl", "synthetic:", "pydocs:numpy"])
def test_a_missing_or_needless_argument_shows_the_form(spec: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"'{spec}': write it as {spec.split(':')[0]}"):
        open_dataset(spec)


def test_what_is_exported() -> None:
    assert dtrag_core.datasets.__all__ == [
        "Dataset",
        "DatasetDescription",
        "DatasetInfo",
        "Taxonomy",
        "describe_datasets",
        "open_dataset",
    ]
