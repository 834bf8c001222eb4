"""Collections in files: what is read, and what each mistake in them is answered with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dtrag_core.datasets import open_dataset
from dtrag_core.errors import DataError, MalformedLineError

DOCUMENTS: list[Mapping[str, object]] = [
    {
        "_id": "d1",
        "title": "One",
        "text": "first text",
        "metadata": {"path": "a/b", "doc_type": "note", "url": "u", "year": 1999},
    },
    {"_id": 2, "text": "second text"},
    {"_id": "d3", "title": "", "text": ""},
]
QUERIES: list[Mapping[str, object]] = [
    {"_id": "q2", "text": "in train"},
    {"_id": "q1", "text": "in test"},
    {"_id": "q0", "text": "judged useless"},
    {"_id": "q9", "text": "never judged"},
]
HEADER = "query-id\tcorpus-id\tscore\n"


def lines(path: Path, records: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    lines(tmp_path / "corpus.jsonl", DOCUMENTS)
    lines(tmp_path / "queries.jsonl", QUERIES)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(HEADER + "q1\td1\t2\nq1\t2\t1\nq0\t2\t0\n")
    return tmp_path


def test_beir_documents_and_queries(beir: Path) -> None:
    (beir / "qrels" / "train.tsv").write_text("q2\td1\t1\n")
    dataset = open_dataset(f"beir:{beir}")
    first, second, third = dataset.chunks()
    assert (first.path, first.doc_type) == (("a", "b"), "note")
    assert first.attributes == {"url": "u", "year": "1999"}
    assert (second.id, second.title, second.path, third.content) == ("2", "", (), "")
    assert len(dataset) == 3
    assert [(q.id, q.text, q.relevant) for q in dataset.queries("test")] == [
        ("q1", "in test", {"d1": 2, "2": 1})
    ]
    assert [q.id for q in dataset.queries("train")] == ["q2"]
    assert dataset.query_texts() == ("in train", "in test", "judged useless", "never judged")


def test_beir_queries_come_in_the_order_of_their_file(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").write_text("q1\td1\t1\nq9\td1\t1\nq2\td1\t1\n")
    assert [q.id for q in open_dataset(f"beir:{beir}").queries("test")] == ["q2", "q1", "q9"]


def test_beir_without_train_judgments_has_an_empty_split(beir: Path) -> None:
    assert len(open_dataset(f"beir:{beir}").queries("train")) == 0


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_beir_says_which_file_is_missing(beir: Path, missing: str) -> None:
    (beir / missing).unlink()
    with pytest.raises(DataError, match=missing):
        open_dataset(f"beir:{beir}")


@pytest.mark.parametrize(
    ("file", "content", "line", "problem"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "b", "te', 2, "not JSON"),
        ("corpus.jsonl", '\n["a"]', 2, "not a JSON object"),
        ("corpus.jsonl", '{"_id": "a"}', 1, "no 'text'; the line has .'_id'."),
        ("corpus.jsonl", '{"_id": "a", "text": 5}', 1, "'text' must be a string, not 5"),
        ("corpus.jsonl", '{"_id": "", "text": "x"}', 1, "'_id' is empty"),
        ("corpus.jsonl", '{"_id": "a", "text": "\\ud800"}', 1, "not valid Unicode"),
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n' * 2, 2, "duplicate id 'a'"),
        ("corpus.jsonl", '{"_id": "a", "text": "x", "metadata": 5}', 1, "'metadata' must be"),
        ("corpus.jsonl", '{"_id": "a", "text": "", "metadata": {"path": [1]}}', 1, "'path' must"),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "", "metadata": {"path": ["\\udc00"]}}',
            1,
            "'path' is not valid Unicode",
        ),
        ("queries.jsonl", '{"_id": "q1", "text": " "}', 1, "text is empty"),
        ("queries.jsonl", '{"_id": "q1", "text": "x"}\n' * 2, 2, "duplicate id 'q1'"),
        ("qrels/test.tsv", HEADER + "q1\tnope\t1", 2, "no chunk has the id 'nope'"),
        ("qrels/test.tsv", HEADER + "nope\td1\t1", 2, "no query has the id 'nope'"),
        ("qrels/test.tsv", "q1\td1\t0.5", 1, "gain '0.5' is no whole number"),
        ("qrels/test.tsv", HEADER + "q1 d1 1", 2, "1 columns"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t2", 2, "has gain 2 here and 1 before"),
        ("qrels/train.tsv", "q1\tgone\t1", 1, "no chunk has the id 'gone'"),
    ],
)
def test_beir_mistakes_are_shown_with_file_and_line(
    beir: Path, file: str, content: str, line: int, problem: str
) -> None:
    (beir / file).write_text(content)
    with pytest.raises(MalformedLineError, match=problem) as caught:
        open_dataset(f"beir:{beir}")
    assert (caught.value.path, caught.value.line) == (beir / file, line)


def test_beir_refuses_an_empty_corpus(beir: Path) -> None:
    (beir / "corpus.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no documents"):
        open_dataset(f"beir:{beir}")


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_the_fingerprint_follows_every_file(beir: Path, file: str) -> None:
    before = open_dataset(f"beir:{beir}").info.fingerprint
    assert open_dataset(f"beir:{beir}").info.fingerprint == before
    (beir / file).write_text((beir / file).read_text() + "\n")
    assert open_dataset(f"beir:{beir}").info.fingerprint != before


def test_scifact_as_published(scifact: Path) -> None:
    dataset = open_dataset(f"beir:{scifact}")
    assert len(dataset) == sum(1 for _ in dataset.chunks()) == 5_183
    assert (len(dataset.queries("test")), len(dataset.query_texts())) == (300, 1_109)
    assert sum(len(q.relevant) for q in dataset.queries("test")) == 339
    assert sum(len(q.relevant) for q in dataset.queries("train")) == 919


CORPUS: list[Mapping[str, object]] = [
    {"text": "one text", "path": ["a", "b"], "attributes": {"lang": "en", "new": True}},
    {"id": "x", "title": "Two", "text": "two", "path": "/a/c/", "doc_type": "memo"},
    {"text": "three"},
]


def test_jsonl_fields_and_their_defaults(tmp_path: Path) -> None:
    file = lines(tmp_path / "corpus.jsonl", CORPUS)
    dataset = open_dataset(f"jsonl:{file}")
    first, second, third = dataset.chunks()
    assert (first.id, first.path, first.attributes) == (
        "1",
        ("a", "b"),
        {"lang": "en", "new": "true"},
    )
    assert (second.id, second.title, second.path) == ("x", "Two", ("a", "c"))
    assert (second.doc_type, third.id, third.path) == ("memo", "3", ())
    assert len(dataset) == 3


def test_jsonl_judged_queries_with_and_without_a_split_column(tmp_path: Path) -> None:
    file = lines(tmp_path / "corpus.jsonl", CORPUS)
    many = [{"id": f"q{n}", "text": f"question {n}"} for n in range(40)]
    lines(tmp_path / "corpus.queries.jsonl", many)
    rows = [f"q{n}\tx\t1" for n in range(40)]
    qrels = tmp_path / "corpus.qrels.tsv"
    qrels.write_text("\n".join(rows))
    by_hash = open_dataset(f"jsonl:{file}")
    test, train = ({q.id for q in by_hash.queries(split)} for split in ("test", "train"))
    assert len(test | train) == len(test) + len(train) == 40
    assert min(len(test), len(train)) > 5
    qrels.write_text("\n".join(f"{row}\t{'test' if n else 'train'}" for n, row in enumerate(rows)))
    by_column = open_dataset(f"jsonl:{file}")
    assert [q.id for q in by_column.queries("train")] == ["q0"]
    assert len(by_column.queries("test")) == 39
    assert by_column.info.fingerprint != by_hash.info.fingerprint
    assert "known-item" not in by_column.info.caveat


@pytest.mark.parametrize("there", ["queries.jsonl", "qrels.tsv"])
def test_jsonl_wants_queries_and_judgments_together(tmp_path: Path, there: str) -> None:
    file = lines(tmp_path / "corpus.jsonl", CORPUS)
    (tmp_path / f"corpus.{there}").write_text("")
    absent = ({"queries.jsonl", "qrels.tsv"} - {there}).pop()
    with pytest.raises(DataError, match=f"corpus.{absent}"):
        open_dataset(f"jsonl:{file}")


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"text": "x", "path": "a//b"}, "'path' must be"),
        ({"text": "x", "attributes": ["a"]}, "attributes must be an object"),
        ({"text": "x", "attributes": {"a": [1]}}, "attribute 'a' must be"),
        ({"text": "x", "id": "1"}, "duplicate id '1'"),
        ({"title": "x"}, "no 'text'"),
    ],
)
def test_jsonl_mistakes_are_shown_with_file_and_line(
    tmp_path: Path, record: Mapping[str, object], problem: str
) -> None:
    file = lines(tmp_path / "corpus.jsonl", [{"text": "fine"}, record])
    with pytest.raises(MalformedLineError, match=problem) as caught:
        open_dataset(f"jsonl:{file}")
    assert (caught.value.path, caught.value.line) == (file, 2)


def test_jsonl_makes_known_items_where_nothing_is_judged(tmp_path: Path) -> None:
    texts = [f"Some words about subject {n}. More is said about it here." for n in range(30)]
    file = lines(tmp_path / "corpus.jsonl", [{"text": text} for text in texts])
    dataset = open_dataset(f"jsonl:{file}")
    queries = [*dataset.queries("train"), *dataset.queries("test")]
    chunks = {chunk.id: chunk for chunk in dataset.chunks()}
    assert sorted(q.text for q in queries) == sorted(dataset.query_texts())
    assert len(queries) == 30
    for query in queries:
        (relevant,) = query.relevant
        assert query.text == f"Some words about subject {int(relevant) - 1}."
        assert chunks[relevant].text == "More is said about it here."
    assert "known-item" in dataset.info.caveat
