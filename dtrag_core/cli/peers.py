"""`dtrag peers`: other retrieval libraries beside this one, on the same data."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json, seed
from dtrag_core.cli.output import note, say, say_json, table
from dtrag_core.cli.progress import shown_progress

_EXAMPLES: Final = """\
  dtrag peers --dataset synthetic:100000
  dtrag peers --dataset pydocs --engines dtrag,tantivy+faiss --only bm25 --json

needs: pip install 'dtrag-bench[peers]'. Engines: dtrag, dtrag-vectors (is given the query's
vector), dtrag-rrf (fuses as the peers do), lancedb, tantivy+faiss, bm25s+faiss, sqlite, duckdb,
lucene, numpy (exact), and those of the entry point group dtrag.peers. sqlite and duckdb read the
whole corpus at every search: leave them out of large ones. Built engines are kept under
$DTRAG_HOME/peers.
"""
_COUNTS: Final = {
    "rounds": "paired rounds",
    "queries": "queries a round; P95 needs 1,000 in all",
    "judged": "judged queries for the quality, at most",
    "k": "results of a search",
    "depth": "candidates of each leg of a hybrid search",
}


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "peers", "measure other retrieval libraries beside this one", _run, _EXAMPLES
    )
    parser.add_argument("--dataset", metavar="SPEC", required=True, help="see: dtrag datasets")
    parser.add_argument("--embedder", metavar="SPEC", help="default: the dataset's own")
    parser.add_argument(
        "--engines", metavar="A[,B...]", help="default: dtrag and all the others but numpy"
    )
    parser.add_argument("--only", choices=("bm25", "hybrid"), help="one of the two comparisons")
    for name, help_ in _COUNTS.items():
        parser.add_argument(
            f"--{name}", type=int, metavar="N", default=argparse.SUPPRESS, help=help_
        )
    parser.add_argument(
        "--recall-floor",
        type=float,
        metavar="R",
        default=argparse.SUPPRESS,
        help="recall@10 that vector legs are tuned to, default 0.99; 0: as documented",
    )
    parser.add_argument("--seed", type=seed, metavar="N", default=argparse.SUPPRESS)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("reports"), help="default: reports"
    )
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from dtrag_core.bench.peers.plan import PeerPlan
    from dtrag_core.bench.peers.results import write_peers_result
    from dtrag_core.report.peers import measure_peers

    chosen = {
        name: getattr(args, name)
        for name in (*_COUNTS, "recall_floor", "seed")
        if hasattr(args, name)
    }
    if args.only:
        chosen["comparisons"] = (args.only,)
    plan = PeerPlan(**chosen)
    engines = None if args.engines is None else tuple(args.engines.split(","))
    with shown_progress() as progress:
        result = measure_peers(args.dataset, args.embedder, engines, plan, progress)
    path = write_peers_result(result, args.out / result["run_id"])
    if args.json:
        say_json(result)
        note(f"result: {path}")
    else:
        say(peers_text(result))
        say(f"result: {path}")
    return ExitCode.DONE


def peers_text(result: Mapping[str, Any]) -> str:
    """Return a comparison as tables, with what each engine is and how it is set."""
    from dtrag_core.report import tables_peers

    parts = [tables_peers.run_line(result)]
    for name in result["comparisons"]:
        shown = tables_peers.comparison(result, name)
        if shown is not None:
            text = table(shown.columns, shown.rows, shown.align)
            parts.append("\n".join((name, text, *shown.notes)))
    engines = tables_peers.engines(result)
    parts.append(table(engines.columns, engines.rows, engines.align))
    return "\n\n".join(parts)
