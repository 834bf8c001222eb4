"""`dtrag sparse build|search`: imported sparse vectors through BM25's kernel."""

import argparse
from pathlib import Path

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, number
from dtrag_core.cli.output import say

_EXAMPLES = """\
  dtrag sparse build splade-corpus.jsonl splade-index
  dtrag sparse search splade-index splade-queries.jsonl --topk 100 > run.trec
"""


def register(commands: Commands) -> None:
    """Add the commands."""
    group = commands.add_parser("sparse", help="index and search imported sparse vectors")
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = add_command(
        actions,
        "build",
        'index a file of {"id": ..., "vector": {term: weight}} lines',
        _build,
        _EXAMPLES,
    )
    build.add_argument("file", type=Path, metavar="FILE.jsonl")
    build.add_argument("directory", type=Path, metavar="DIR")
    search = add_command(
        actions, "search", "answer a file of query vectors, as a TREC run", _search, _EXAMPLES
    )
    search.add_argument("directory", type=Path, metavar="DIR")
    search.add_argument("queries", type=Path, metavar="QUERIES.jsonl")
    search.add_argument(
        "--topk", type=number(1, 1_000_000), default=10, metavar="K", help="default 10"
    )


def _build(args: argparse.Namespace) -> int:
    from dtrag_core.index.sparse import build_sparse_index

    count = build_sparse_index(args.file, args.directory)
    say(f"{args.directory}: {count:,} sparse vectors")
    return ExitCode.DONE


def _search(args: argparse.Namespace) -> int:
    from dtrag_core.index.sparse import SparseIndex, read_vectors

    index = SparseIndex(args.directory)
    for query in read_vectors(args.queries):
        for rank, hit in enumerate(index.search(query.weights, int(args.topk)), 1):
            say(f"{query.id} Q0 {hit.id} {rank} {hit.score:.6f} dtrag")
    return ExitCode.DONE
