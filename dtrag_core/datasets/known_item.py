"""Known-item queries: a chunk's own summary, taken out of its text, must find it again.

Used where nobody has judged anything. Such queries share their words with the chunk they came
from, so they lean towards lexical search: weak evidence on quality.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dtrag_core.datasets.judgments import stable_split
from dtrag_core.types import Chunk, JudgedQuery, Split

CAVEAT = "known-item, lexical-leaning: for latency and plumbing, weak evidence on quality"
VERSION = "1"
MAX_QUERIES = 20_000

_SUMMARY_WORDS = range(4, 41)
_REST_WORDS = 5
_SIGNATURES = re.compile(r"(?:[\w.]+\([^\n]*\)(?:[ \t]*->[^\n]*)?[ \t]*\n\s*)+")
_PARAGRAPH = re.compile(r"\s*(.+?)(?=\n[ \t]*\n|\Z)", re.DOTALL)
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s+[^\sa-z0-9]|\s*\Z)|[\u3002\uff01\uff1f])", re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_CASE_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A query, the half it belongs to, and its chunk without it."""

    query: JudgedQuery
    split: Split
    chunk: Chunk


def find_known_items(chunks: Callable[[], Iterable[Chunk]]) -> Mapping[int, KnownItem]:
    """Return the known items of a corpus by row number; reads the corpus twice.

    A summary is used if no other chunk has the same one, it has 4 to 40 words, does not name its
    chunk and is not repeated in its title or the rest of its text. Above `MAX_QUERIES` those with
    the smallest hashes stay, so that the choice does not depend on the order of the corpus.
    """
    hashes = np.fromiter(
        (_hash(item.query.text) if item else 0 for item in map(_known_item, chunks())),
        dtype=np.uint64,
    )
    values, rows, counts = np.unique(hashes, return_index=True, return_counts=True)
    unique = (counts == 1) & (values != 0)
    picked = set(rows[unique][:MAX_QUERIES].tolist())
    found = ((row, _known_item(chunk)) for row, chunk in enumerate(chunks()) if row in picked)
    return {row: item for row, item in found if item}


def queries(
    items: Mapping[int, KnownItem],
) -> tuple[Sequence[str], Mapping[Split, Sequence[JudgedQuery]]]:
    """Return all query texts in corpus order, and the queries of each split."""
    splits: dict[Split, list[JudgedQuery]] = {"train": [], "test": []}
    for item in items.values():
        splits[item.split].append(item.query)
    return tuple(item.query.text for item in items.values()), splits


def without_summaries(chunks: Iterable[Chunk], items: Mapping[int, KnownItem]) -> Iterator[Chunk]:
    """Stream the corpus with every known item's summary taken out of its chunk."""
    return (items[row].chunk if row in items else chunk for row, chunk in enumerate(chunks))


def _known_item(chunk: Chunk) -> KnownItem | None:
    """Return what `chunk` would be asked for with, unless its summary is unfit for that."""
    text = chunk.text
    start = match.end() if (match := _SIGNATURES.match(text)) else 0
    paragraph = _PARAGRAPH.match(text, start)
    if paragraph is None:
        return None
    sentence = _SENTENCE.match(paragraph[1])
    raw = sentence[0] if sentence else paragraph[1]
    begin = paragraph.start(1)
    rest = f"{text[:begin].rstrip()}\n\n{text[begin + len(raw) :].lstrip()}".strip()
    summary = " ".join(raw.split())
    words = _WORD.findall(summary)
    fit = (
        len(words) in _SUMMARY_WORDS
        and summary[0].isalnum()
        and len(_WORD.findall(rest)) >= _REST_WORDS
        and not _names(chunk.title, summary)
        and _plain(summary) not in _plain(f"{chunk.title} {rest}")
    )
    if not fit:
        return None
    query = JudgedQuery(chunk.id, summary, {chunk.id: 1})
    return KnownItem(query, stable_split(chunk.id), chunk._replace(text=rest))


def _names(title: str, summary: str) -> bool:
    """Whether the summary gives the object away.

    The title `a.b.read_csv` is given away by `read_csv`, or by `read` and `csv` both; one of
    several words only by all of them in a row.
    """
    said = _plain(summary)
    if len(title.split()) != 1:
        return bool(title) and _plain(title) in said
    whole = _WORD.findall(title.rsplit(".", 1)[-1])
    pieces = [piece for word in whole for piece in _CASE_BOUNDARY.split(word)]
    words = set(_WORD.findall(said))
    return any(words.issuperset(map(str.casefold, own)) for own in (whole, pieces))


def _plain(text: str) -> str:
    """Return `text` as it is compared: without case, spacing and a full stop at its end."""
    return " ".join(text.split()).casefold().rstrip(".")


def _hash(summary: str) -> int:
    digest = hashlib.sha256(_plain(summary).encode()).digest()
    return int.from_bytes(digest[:8], "little") | 1
