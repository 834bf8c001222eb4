"""`dtrag bench`: measures, prints the verdicts, and keeps the result."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.cli.exit_codes import ExitCode, gate_code
from dtrag_core.cli.options import (
    Commands,
    add_command,
    add_index_choice,
    add_json,
    bm25_of,
    number,
    prepared,
    seed,
)
from dtrag_core.cli.output import note, say, say_json, table
from dtrag_core.cli.progress import shown_progress
from dtrag_core.errors import InvalidRequestError

_EXAMPLES = """\
  dtrag bench --dataset synthetic:100000 --gate
  dtrag bench --dataset pydocs --suite full             everything, about sixteen minutes
  dtrag bench --dataset jsonl:notes.jsonl --only quality --json
"""
_DAY_S: Final = 86_400
_STRESS_S: Final = 60.0
_SETTINGS: Final = (
    "rounds",
    "processes",
    "rates",
    "load_seconds",
    "capacity_seconds",
    "ingest_seconds",
    "seed",
)


def add_rounds_and_rates(parser: argparse.ArgumentParser) -> None:
    """Add `--rounds` and `--rates`, absent unless given."""
    unset = argparse.SUPPRESS
    parser.add_argument(
        "--rounds", type=int, metavar="N", default=unset, help="paired rounds in all"
    )
    parser.add_argument(
        "--rates",
        type=rates,
        metavar="R[,R...]",
        default=unset,
        help="requests/s; the first is the target rate",
    )


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "bench", "measure a dataset and judge the six targets", _bench, _EXAMPLES
    )
    add_index_choice(parser, required=True)
    parser.add_argument(
        "--suite",
        choices=("targets", "full"),
        default="targets",
        help="full: overload and batching of the service too, and a report",
    )
    parser.add_argument("--only", choices=("quality",), help="measure this alone, without verdicts")
    unset = argparse.SUPPRESS
    add_rounds_and_rates(parser)
    parser.add_argument(
        "--processes", type=int, metavar="N", default=unset, help="fresh processes they are run in"
    )
    parser.add_argument("--load-seconds", type=number(1, _DAY_S), metavar="S", default=unset)
    parser.add_argument("--capacity-seconds", type=number(1, _DAY_S), metavar="S", default=unset)
    parser.add_argument(
        "--ingest-seconds",
        type=number(0, _DAY_S),
        metavar="S",
        default=unset,
        help="latency while chunks are added; 0: not measured",
    )
    parser.add_argument("--seed", type=seed, metavar="N", default=unset)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("reports"), help="default: reports"
    )
    add_json(parser)
    add_gate(parser)


def add_gate(parser: argparse.ArgumentParser) -> None:
    """Add `--gate`."""
    parser.add_argument(
        "--gate", action="store_true", help="exit 10 if a target FAILs, else 11 if one is open"
    )


def rates(text: str) -> tuple[float, ...]:
    """Read rates separated by commas, for argparse."""
    read = number(0.1, 1e6)
    return tuple(read(part) for part in text.split(","))


def _bench(args: argparse.Namespace) -> int:
    from dtrag_core.bench.results import write_result
    from dtrag_core.bench.settings import MeasureSettings
    from dtrag_core.workbench import measure

    full = args.suite == "full"
    settings = MeasureSettings(
        stress_seconds=_STRESS_S if full else 0.0,
        **{name: getattr(args, name) for name in _SETTINGS if hasattr(args, name)},
    )
    if args.only == "quality":
        return _quality(args, settings)
    with shown_progress() as progress:
        result = measure(
            args.dataset, args.embedder, settings, bm25=bm25_of(args), progress=progress
        )
    path = write_result(result, args.out / result["run_id"])
    if args.json:
        say_json(result)
        note(f"result: {path}")
    else:
        from dtrag_core.cli.verdicts import verdict_table

        say(verdict_table(result))
        say(f"result: {path}")
    if full:
        from dtrag_core.report.html import write_report

        note(f"report: {write_report(result, path.parent)}")
    return gate_code(result["targets"]) if args.gate else ExitCode.DONE


def _quality(args: argparse.Namespace, settings: Any) -> int:  # noqa: ANN401
    from dtrag_core.bench.suite import Suite

    if args.gate:
        raise InvalidRequestError("--gate needs all six targets, and quality alone judges none")
    with shown_progress() as progress:
        dataset, directory = prepared(args, progress)
        quality = Suite(dataset, directory, settings).measure_quality(progress)
    if args.json:
        say_json({"quality": quality})
    else:
        say(quality_text(quality))
    return ExitCode.DONE


def quality_text(quality: Mapping[str, Any]) -> str:
    """Return the quality block of a result as text."""
    lines = []
    if quality["judged"] is None:
        lines.append("no judged queries: only the two paths can be compared")
    else:
        judged = quality["judged"]
        rows = [
            (name, f"{measured['ndcg_at_10']:.4f}", f"{measured['recall_at_100']:.4f}")
            for name, measured in judged["methods"].items()
        ]
        lines.append(table(("method", "nDCG@10", "recall@100"), rows, "lr"))
        lines.append(
            f"{judged['queries']:,} judged queries; BM25 weight {judged['weight']['chosen']:g}, "
            "chosen on the train queries"
        )
        lines += [
            f"hybrid - {leg}: {_interval(judged[f'hybrid_minus_{leg}'])} nDCG@10"
            for leg in ("bm25", "vector")
        ]
    paths = quality["optimized_vs_legacy"]
    lines.append(
        f"optimised against legacy, {paths['queries']:,} queries: "
        f"overlap@10 {paths['overlap_at_10']:.4f}"
        + (
            f", nDCG@10 {_interval(paths['ndcg_difference'])}, margin {paths['margin']:g}"
            if paths["ndcg_difference"]
            else ""
        )
        + f": {'equal' if paths['equal'] else 'NOT equal'}"
    )
    return "\n".join(lines)


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['value']:+.4f} [{found['ci_low']:+.4f}, {found['ci_high']:+.4f}]"
