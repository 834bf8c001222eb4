"""`dtrag load`: starts the service, or takes one that runs, and loads it on a schedule."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.cli.bench import add_gate
from dtrag_core.cli.exit_codes import ExitCode, gate_code
from dtrag_core.cli.options import Commands, add_command, add_json, number, seed
from dtrag_core.cli.output import note, say, say_json, table
from dtrag_core.cli.progress import shown_progress

KEY: Final = "DTRAG_API_KEY"
_EXAMPLES: Final = f"""\
  dtrag load                                     50/s for 2 minutes, distinct queries, cache off
  dtrag load --scenario steps --rate 500 --gate
  dtrag load --scenario spike --mix mixed --dataset synthetic:100000 -- --batch-size 16
  dtrag load --url http://127.0.0.1:8090 --rate 200

What follows -- goes to dtrag serve. A key for the service is taken from ${KEY}.
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "load", "load the service on a schedule, and write a report", _run, _EXAMPLES
    )
    unset = argparse.SUPPRESS
    parser.add_argument(
        "--scenario", default="steady", help="steady (default), ramp, spike, soak or steps"
    )
    parser.add_argument(
        "--mix", default="unique", help="unique (default), zipf, filtered, batch or mixed"
    )
    parser.add_argument(
        "--rate", type=number(0.01, 1e6), metavar="R", default=50.0, help="requests/s, default 50"
    )
    parser.add_argument(
        "--seconds", type=number(1, 1e6), metavar="S", help="default 120, of a soak 1,800"
    )
    parser.add_argument(
        "--dataset",
        metavar="SPEC",
        help="where queries come from, default pydocs; with --url, default: the service itself",
    )
    parser.add_argument("--url", metavar="URL", help="a service that runs, instead of starting one")
    parser.add_argument(
        "--workers", type=int, metavar="N", default=1, help="processes of the service, default 1"
    )
    parser.add_argument("--cache", action="store_true", help="start the service with its cache on")
    parser.add_argument("--timeout-s", type=number(0.01, 60), metavar="S", default=unset)
    parser.add_argument("--max-in-flight", type=int, metavar="N", default=unset)
    parser.add_argument("--cost-seconds", type=number(0, 600), metavar="S", default=unset)
    parser.add_argument("--seed", type=seed, metavar="N", default=unset)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("reports"), help="default: reports"
    )
    parser.add_argument("serve", nargs="*", metavar="-- OPTION", help="of dtrag serve")
    add_json(parser)
    add_gate(parser)


def _run(args: argparse.Namespace) -> int:
    from dtrag_core.bench.load_results import write_load_result
    from dtrag_core.bench.load_run import Target, run_service_load
    from dtrag_core.bench.load_settings import LoadSettings
    from dtrag_core.bench.service_process import serve_command
    from dtrag_core.errors import InvalidRequestError
    from dtrag_core.report.load_page import write_load_report

    if args.url and (args.serve or args.cache or args.workers != 1):
        raise InvalidRequestError(
            f"--url {args.url} runs already: --workers, --cache and options of dtrag serve go "
            "where it is started"
        )
    optional = ("timeout_s", "max_in_flight", "cost_seconds", "seed")
    settings = LoadSettings(
        scenario=args.scenario,
        mix=args.mix,
        rate=args.rate,
        seconds=args.seconds,
        dataset=args.dataset or (None if args.url else "pydocs"),
        **{name: getattr(args, name) for name in optional if hasattr(args, name)},
    )
    key = os.environ.get(KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    dataset = settings.dataset or ""
    options = ("--workers", str(args.workers), "--cache" if args.cache else "--no-cache")
    command = serve_command("--dataset", dataset, *options, *args.serve)
    target = Target(() if args.url else command, args.url, args.workers, headers)
    with shown_progress() as progress:
        result = run_service_load(settings, target, progress)
    path = write_load_result(result, args.out / result["run_id"])
    page = write_load_report(result, path.parent)
    if args.json:
        say_json(result)
        note(f"result: {path}\nreport: {page}")
    else:
        say(load_text(result))
        say(f"result: {path}\nreport: {page}")
    return gate_code(result["targets"]) if args.gate else ExitCode.DONE


def load_text(result: Mapping[str, Any]) -> str:
    """Return verdicts and streams of a load as tables."""
    from dtrag_core.cli.verdicts import verdict_table
    from dtrag_core.report import tables_service
    from dtrag_core.report.load_page import load_summary

    tables = [tables_service.streams(result)]
    if result["http_cost"] is not None:
        tables.append(tables_service.http_cost(result))
    parts = [verdict_table(result) if result["targets"] else load_summary(result)]
    parts += [
        "\n".join((table(each.columns, each.rows, each.align), *each.notes)) for each in tables
    ]
    return "\n\n".join(parts)
