"""Relevance judgments: tab-separated lines of query id, chunk id, gain and perhaps a split."""

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dtrag_core.datasets.records import open_input, read_records, unique_ids
from dtrag_core.errors import MalformedLineError
from dtrag_core.types import JudgedQuery, Split


@dataclass(frozen=True, slots=True)
class Judgment:
    """One line; `split` is empty where the file has no such column."""

    query: str
    chunk: str
    gain: int
    split: str


def stable_split(key: str) -> Split:
    """Put `key` in one half, always the same one."""
    return "train" if hashlib.sha256(key.encode()).digest()[0] & 1 else "test"


def read_judgments(
    path: Path, queries: Container[str], chunks: Container[str]
) -> Iterator[Judgment]:
    """Stream the judgments of a file; a first line with a name for its third column is a header.

    Raises `DataError` if there is no such file, `MalformedLineError` at a line with a wrong number
    of columns, a gain that is no whole number, an unknown split, a query or chunk that does not
    exist, or a second gain for the same pair.
    """
    gains: dict[tuple[str, str], int] = {}
    for line, columns in _rows(path):
        try:
            judgment = _judgment(columns)
        except ValueError as error:
            raise MalformedLineError(path, line, str(error)) from None
        if judgment.query not in queries:
            raise MalformedLineError(path, line, f"no query has the id {judgment.query!r}")
        if judgment.chunk not in chunks:
            raise MalformedLineError(path, line, f"no chunk has the id {judgment.chunk!r}")
        pair = judgment.query, judgment.chunk
        before = gains.setdefault(pair, judgment.gain)
        if before != judgment.gain:
            problem = f"{pair} has gain {judgment.gain} here and {before} before"
            raise MalformedLineError(path, line, problem)
        yield judgment


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with open_input(path) as file:
        for line, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise MalformedLineError(path, line, f"not UTF-8: {error}") from None
            columns = text.rstrip("\r\n").split("\t")
            is_header = line == 1 and len(columns) in (3, 4) and columns[2].isidentifier()
            if text.strip() and not is_header:
                yield line, columns


def _judgment(columns: list[str]) -> Judgment:
    if len(columns) not in (3, 4):
        raise ValueError(
            f"{len(columns)} columns; expected query, chunk, gain and perhaps split, between tabs"
        )
    query, chunk, gain, split = (*columns, "")[:4]
    if not gain.strip().lstrip("-").isdecimal():
        raise ValueError(f"gain {gain!r} is no whole number")
    if split not in ("", "train", "test"):
        raise ValueError(f"split {split!r} is neither 'train' nor 'test'")
    return Judgment(query, chunk, int(gain), split)


def read_queries(path: Path, id_key: str) -> dict[str, str]:
    """Return id -> text of a JSON-lines file of queries, in file order."""
    identified = [(r, r.identifier(id_key)) for r in read_records(path)]
    unique_ids(identified)
    return {identifier: record.query_text() for record, identifier in identified}


def judged_queries(
    texts: Mapping[str, str], judgments: Iterable[Judgment]
) -> tuple[JudgedQuery, ...]:
    """Return the queries with at least one gain above 0, in the order of `texts` (id -> text)."""
    relevant: dict[str, dict[str, int]] = {}
    for judgment in judgments:
        if judgment.gain > 0:
            relevant.setdefault(judgment.query, {})[judgment.chunk] = judgment.gain
    return tuple(
        JudgedQuery(query, text, relevant[query])
        for query, text in texts.items()
        if query in relevant
    )


def fingerprint(*paths: Path) -> str:
    """Return the SHA-256 over the digests of these files' bytes."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        whole.update(digest)
    return whole.hexdigest()
