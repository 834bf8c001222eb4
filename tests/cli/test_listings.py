"""What can be named is listed."""

import json
import subprocess
from collections.abc import Callable

Dtrag = Callable[..., subprocess.CompletedProcess[str]]


def test_datasets_come_with_what_they_are_good_for(dtrag: Dtrag) -> None:
    listed = json.loads(dtrag("datasets", "--json").stdout)
    shown = " ".join(dtrag("datasets").stdout.split())

    assert [each["form"] for each in listed] == [
        "pydocs",
        "beir:DIR",
        "jsonl:FILE",
        "synthetic:N",
    ]
    assert all(" ".join(each["caveat"].split()) in shown for each in listed)


def test_embedders_come_with_the_extra_they_need(dtrag: Dtrag) -> None:
    listed = {each["name"]: each for each in json.loads(dtrag("embedders", "--json").stdout)}
    shown = dtrag("embedders").stdout

    assert listed["minilm"]["extra"] == "minilm"
    assert listed["static"]["extra"] == ""
    assert all(each["form"] in shown for each in listed.values())
