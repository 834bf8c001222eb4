"""`dtrag certified`: how often the usual top k is the certified one, and what certifying costs."""

import argparse
from typing import TYPE_CHECKING, Final

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import (
    Commands,
    add_command,
    add_index_choice,
    add_json,
    number,
    prepared,
    seed,
)
from dtrag_core.cli.output import say, say_json, table
from dtrag_core.cli.progress import shown_progress

if TYPE_CHECKING:
    from dtrag_core.bench.certified_cost import CertifiedCost
    from dtrag_core.bench.statistics import Interval

_EXAMPLES: Final = """\
  dtrag certified --dataset pydocs
  dtrag certified --dataset beir:scifact --queries 1000 --json
"""
_TITLES: Final = {"optimized": "optimised", "int8": "... with exact legs"}


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "certified",
        "compare the usual top 10 with the one proven to be the full corpus'",
        _run,
        _EXAMPLES,
    )
    add_index_choice(parser, required=True)
    parser.add_argument(
        "--queries", type=number(20, 100_000), default=300, metavar="N", help="default 300"
    )
    parser.add_argument(
        "--rounds", type=number(2, 1_000), default=10, metavar="N", help="default 10"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="default 0")
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from dtrag_core.bench.certified_cost import certified_cost
    from dtrag_core.bench.tasks import run
    from dtrag_core.bench.workload import distinct_queries
    from dtrag_core.engines.embedded import EmbeddedEngine

    with shown_progress() as progress:
        dataset, directory = prepared(args, progress)
        rounds = int(args.rounds)
        queries = distinct_queries(dataset, int(args.queries), args.seed, at_least=rounds + 1)
        engine = EmbeddedEngine(directory)
        try:
            cost = run(
                certified_cost(engine, queries, rounds=rounds, seed=args.seed, progress=progress)
            )
        finally:
            engine.close()
    if args.json:
        say_json({"dataset": args.dataset, **cost.to_json()})
    else:
        say(_text(cost))
    return ExitCode.DONE


def _text(cost: "CertifiedCost") -> str:
    rows = [
        (
            _TITLES[name],
            _interval(each.ranking),
            _interval(each.chosen),
            f"{each.overlap:.4f}",
            f"{cost.median_ms[name]:.2f}",
            _interval(each.latency),
        )
        for name, each in cost.agreements.items()
    ]
    header = ("search", "same ranking", "same set", "overlap", "median ms", "certified / it")
    facts, count = cost.to_json(), len(cost.certificates)
    depths = ", ".join(f"{depth:,} for {n}" for depth, n in cost.vector_depths.items())
    scored = facts["scored"]
    return "\n".join(
        [
            table(header, rows, "lrrrrl"),
            f"{count:,} queries of {cost.chunks:,} chunks, top {cost.depths.topk} from depth "
            f"{cost.depths.vector_topk}, {cost.fusion.method} fusion; certified: median "
            f"{cost.median_ms['certified']:.2f} ms",
            f"certified at the usual depth: {_interval(cost.settled)}; where rankings differ "
            "all the same, the candidates' least cosine was not the corpus'",
            f"depth of the vector leg when certified: {depths}",
            f"chunks scored: median {scored['p50']:,.0f}, P95 {scored['p95']:,.0f}, "
            f"most {scored['max']:,.0f}",
        ]
    )


def _interval(found: "Interval") -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
