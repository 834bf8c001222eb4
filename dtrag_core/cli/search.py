"""`dtrag search`: one query, on either path or both."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import (
    Commands,
    add_command,
    add_index_choice,
    add_json,
    bm25_of,
    prepared,
)
from dtrag_core.cli.output import printable, say, say_json
from dtrag_core.cli.progress import shown_progress
from dtrag_core.config import BM25Settings
from dtrag_core.errors import InvalidRequestError
from dtrag_core.types import Fusion, Hit, Mode, SearchParams, SearchResult

if TYPE_CHECKING:
    from dtrag_core.search.certified import Certificate
    from dtrag_core.search.dao import SearchDAO

_SNIPPET: Final = 160
_TOPK: Final = 5
_MODES: Final[dict[str, tuple[Mode, ...]]] = {
    "legacy": ("legacy",),
    "optimized": ("optimized",),
    "both": ("legacy", "optimized"),
}
_EXAMPLES = """\
  dtrag search "invert a matrix" --dataset pydocs --mode both
  dtrag search "read a table" --dataset pydocs --path pandas/io --topk 3 --json
  dtrag search "rank fusion" --index notes-index --fusion rrf
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "search", "search a dataset by both legs and show every score", _search, _EXAMPLES
    )
    parser.add_argument("query", metavar="QUERY")
    parser.add_argument("--index", type=Path, metavar="DIR", help="an index instead of a dataset")
    add_index_choice(parser, required=False)
    parser.add_argument("--mode", choices=_MODES, default="optimized")
    parser.add_argument("--topk", type=int, metavar="K", help="hits, default 5")
    parser.add_argument(
        "--path",
        action="append",
        metavar="A/B",
        help="only this part of the taxonomy, with all below it; may be repeated",
    )
    parser.add_argument(
        "--doc-type", action="append", metavar="TYPE", help="only this type; may be repeated"
    )
    parser.add_argument(
        "--fusion", choices=("weighted", "rrf"), help="default: the one chosen at build"
    )
    parser.add_argument(
        "--bm25-weight", type=float, metavar="W", help="0 to 1, of the weighted fusion"
    )
    parser.add_argument(
        "--certified",
        action="store_true",
        help="search as deep as it takes to prove the hits to be the full corpus' best",
    )
    add_json(parser)


def _search(args: argparse.Namespace) -> int:
    from dtrag_core.workbench import open_dao

    if (args.index is None) == (args.dataset is None):
        raise InvalidRequestError("say what to search: --dataset SPEC, or --index DIR")
    if args.index is not None and (args.embedder is not None or bm25_of(args) != BM25Settings()):
        raise InvalidRequestError(
            f"{args.index} was built with an embedder, k1 and b of its own; leave out --embedder, "
            "--k1 and --b, or name a --dataset instead of --index"
        )
    if args.index is None:
        with shown_progress() as progress:
            _, directory = prepared(args, progress)
    else:
        directory = args.index
    dao = open_dao(directory)
    try:
        fusion = _fusion(args, dao.engine.info.fusion)
        results = asyncio.run(_results(dao, args, fusion))
    finally:
        dao.executor.close()
        dao.engine.close()
    if args.json:
        say_json({"query": args.query, "results": [result.to_json() for result in results]})
    else:
        say("\n\n".join(_rendered(result, fusion) for result in results))
    return ExitCode.DONE


def _fusion(args: argparse.Namespace, default: Fusion) -> Fusion:
    if args.bm25_weight is None:
        return replace(default, method=args.fusion or default.method)
    if args.fusion == "rrf":
        raise InvalidRequestError("--bm25-weight belongs to --fusion weighted; rrf has no weight")
    return replace(default, method="weighted", bm25_weight=args.bm25_weight)


async def _results(
    dao: "SearchDAO", args: argparse.Namespace, fusion: Fusion
) -> Sequence[SearchResult]:
    from dtrag_core.search.request import parse_filters

    asked = {"canonical_in": args.path, "doc_type": args.doc_type}
    # A corpus of three chunks should not fail over a number nobody asked for.
    topk = min(_TOPK, dao.engine.info.most_chunks) if args.topk is None else args.topk
    filters = {name: values for name, values in asked.items() if values is not None}
    if args.certified:
        params = SearchParams(topk, filters=parse_filters(filters or None), fusion=fusion)
        return [
            await dao.certified_search(args.query, params, mode=mode) for mode in _MODES[args.mode]
        ]
    return [
        await dao.hybrid_search(args.query, filters or None, topk, mode=mode, fusion=fusion)
        for mode in _MODES[args.mode]
    ]


def _rendered(result: SearchResult, fusion: Fusion) -> str:
    how = f"BM25 weight {fusion.bm25_weight:g}" if fusion.method == "weighted" else "rrf"
    legs = result.plan.replace("_", " ")
    spans = ", ".join(
        f"{span.name} {(span.end_ns - span.start_ns) / 1e6:.2f}" for span in result.timings
    )
    lines = [f"{result.mode}: {len(result.hits)} hits, {how}, legs {legs}"]
    certificate = getattr(result, "certificate", None)
    if certificate is not None:
        lines.append(_certified(certificate))
    for hit in result.hits:
        lines += _hit(hit)
    return "\n".join([*lines, f"spans in ms (one search, no measurement): {spans}"])


def _certified(certificate: "Certificate") -> str:
    return (
        f"certified: the full corpus' best by {certificate.vectors}; {certificate.rounds} rounds, "
        f"legs {certificate.bm25_depth:,} and {certificate.vector_depth:,} deep, "
        f"{certificate.scored:,} chunks scored"
    )


def _hit(hit: Hit) -> list[str]:
    chunk = hit.chunk
    text = printable(chunk.text)
    snippet = text if len(text) <= _SNIPPET else f"{text[: _SNIPPET - 1]}…"
    where = printable("/".join(chunk.path))
    scores = f"{hit.score:.3f}  bm25 {hit.bm25:.2f}  cosine {hit.cosine:.3f}"
    about = [f"    {line}" for line in (where, snippet) if line]
    return [f"{hit.rank:2}. {scores}  {printable(chunk.title) or printable(chunk.id)}", *about]
