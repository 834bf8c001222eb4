"""What may be asked: checks a search request and brings it into one normal form."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, get_args

from dtrag_core.engines.base import EngineInfo
from dtrag_core.errors import InvalidRequestError, UnknownNameError
from dtrag_core.ranking.fusion import check_fusion
from dtrag_core.types import Filters, Fusion, Mode, SearchParams

MAX_QUERY_CHARACTERS: Final = 10_000
_MODES: Final = get_args(Mode)
_SIZES: Final = ("topk", "bm25_topk", "vector_topk", "rerank_candidates")
FiltersLike = Filters | Mapping[str, Iterable[str]] | None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A checked request in normal form; equal requests mean the same search."""

    query: str
    params: SearchParams
    fusion: Fusion
    mode: Mode


def normalize_request(
    query: str, params: SearchParams, mode: Mode, corpus: EngineInfo
) -> SearchRequest:
    """Check a request against the corpus and return its normal form.

    White space is collapsed, Unicode composed (NFC), leg depths raised to `topk` and cut to the
    corpus. Raises InvalidRequestError with the offending value. A `topk` above the corpus is such a
    value, unless chunks were deleted since it was not: what was a good request once stays one, and
    finds what there is.
    """
    if mode not in _MODES:
        raise UnknownNameError("mode", str(mode), _MODES)
    if not isinstance(query, str):
        raise InvalidRequestError(f"the query must be text, got {query!r}")
    composed = query if query.isascii() else unicodedata.normalize("NFC", query)
    text = " ".join(composed.split())
    if not text:
        raise InvalidRequestError(f"the query is empty ({query!r}); give at least one word")
    if len(text) > MAX_QUERY_CHARACTERS:
        raise InvalidRequestError(
            f"the query has {len(text):,} characters, at most {MAX_QUERY_CHARACTERS:,} are "
            "accepted; search for its key sentences"
        )
    sizes = params.topk, params.bm25_topk, params.vector_topk, params.rerank_candidates
    for name, value in zip(_SIZES, sizes, strict=True):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidRequestError(f"{name} must be a whole number, got {value!r}")
    if not 1 <= params.topk <= corpus.most_chunks:
        raise InvalidRequestError(
            f"topk must be in 1..{corpus.most_chunks:,} (the corpus has {corpus.chunks:,} chunks), "
            f"got {params.topk:,}"
        )
    for name, value in zip(_SIZES, sizes, strict=True):
        if value < 1:
            raise InvalidRequestError(f"{name} must be at least 1, got {value}")
    fusion = params.fusion or corpus.fusion
    check_fusion(fusion)
    most = max(corpus.chunks, 1)
    topk = min(params.topk, most)
    normal = SearchParams(
        topk,
        min(max(params.bm25_topk, topk), most),
        min(max(params.vector_topk, topk), most),
        max(params.rerank_candidates, topk),
        params.filters,
    )
    return SearchRequest(text, normal, fusion, mode)


def parse_filters(filters: FiltersLike) -> Filters | None:
    """Return filters from `{"canonical_in": [...], "doc_type": [...]}`.

    A path is a string with "/" between its parts, or a sequence of parts. Raises
    InvalidRequestError for other keys, empty lists and values that are no text.
    """
    if filters is None or isinstance(filters, Filters):
        return filters
    if not isinstance(filters, Mapping):
        raise InvalidRequestError(f"filters are given by name, got {filters!r}")
    unknown = sorted(set(filters) - {"canonical_in", "doc_type"})
    if unknown:
        raise InvalidRequestError(
            f"unknown filter {', '.join(map(repr, unknown))}; known: canonical_in, doc_type"
        )
    for name, values in filters.items():
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            raise InvalidRequestError(
                f"filter {name} must be a non-empty list, got {values!r}; leave it out to allow all"
            )
    paths = filters.get("canonical_in")
    types = filters.get("doc_type")
    if types is not None and not all(isinstance(name, str) for name in types):
        raise InvalidRequestError(f"filter doc_type must be a list of texts, got {types!r}")
    return Filters(
        None if paths is None else tuple(sorted({_path(path) for path in paths})),
        None if types is None else tuple(sorted(set(types))),
    )


def _path(value: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        parts = tuple(value.split("/"))
    else:
        parts = tuple(value) if isinstance(value, Iterable) else ()
    if not parts or not all(isinstance(part, str) and part for part in parts):
        raise InvalidRequestError(
            f"a taxonomy path is text such as 'numpy/linalg' or its parts, got {value!r}"
        )
    return parts
