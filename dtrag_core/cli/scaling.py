"""`dtrag scaling`: build time, opening, latency and memory over the number of chunks."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json
from dtrag_core.cli.output import note, say, say_json, table
from dtrag_core.cli.progress import shown_progress

_EXAMPLES: Final = """\
  dtrag scaling
  dtrag scaling --sizes 10000,30000,100000 --json

Built indexes are kept, with the time each took, and used again. An interrupted run goes on where
its build stopped; the default sizes take about 6 GB of disk.
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "scaling", "measure how search grows with the corpus", _run, _EXAMPLES
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        metavar="N[,N...]",
        default=argparse.SUPPRESS,
        help="of generated corpora, 10,000 to 10,000,000 chunks; default 10k, 30k ... 1M",
    )
    parser.add_argument(
        "--queries",
        type=int,
        metavar="N",
        default=argparse.SUPPRESS,
        help="at each size, default 1,000; P95 needs as many",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        default=argparse.SUPPRESS,
        help="build anew what is built, to time it in this run",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("reports"), help="default: reports"
    )
    add_json(parser)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted(int(part) for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers, as in 10000,100000"
        ) from error


def _run(args: argparse.Namespace) -> int:
    from dtrag_core.bench.scaling.plan import ScalingPlan
    from dtrag_core.bench.scaling.results import write_scaling_result
    from dtrag_core.report.scaling import measure_scaling

    asked = {
        name: getattr(args, name) for name in ("sizes", "queries", "rebuild") if hasattr(args, name)
    }
    plan = ScalingPlan(**asked)
    with shown_progress() as progress:
        result = measure_scaling(plan, progress)
    path = write_scaling_result(result, args.out / result["run_id"])
    if args.json:
        say_json(result)
        note(f"result: {path}")
    else:
        say(scaling_text(result))
        say(f"result: {path}")
    return ExitCode.DONE


def scaling_text(result: Mapping[str, Any]) -> str:
    """Return a scaling run as tables."""
    from dtrag_core.report import tables_scaling

    parts = [tables_scaling.run_line(result)]
    for name, make in tables_scaling.TABLES.items():
        shown = make(result)
        text = table(shown.columns, shown.rows, shown.align)
        parts.append("\n".join((name, text, *shown.notes)))
    return "\n\n".join(parts)
