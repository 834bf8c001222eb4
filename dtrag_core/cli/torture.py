"""`dtrag torture`: kills processes that write an index, or soaks the service."""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json, number, seed
from dtrag_core.cli.output import note, say, say_json, table
from dtrag_core.cli.progress import shown_progress

if TYPE_CHECKING:
    from dtrag_core.bench.torture.run import TortureReport

_EXAMPLES = """\
  dtrag torture
  dtrag torture --kills 1000 --seed 7 --dir /tmp/torture
  dtrag torture --soak 30                        loads the service instead, and looks for slopes
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "torture",
        "kill builds, updates and merges at random moments, and check that nothing is lost",
        _run,
        _EXAMPLES,
    )
    parser.add_argument(
        "--kills", type=number(1, 1_000_000), default=100, metavar="N", help="default 100"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default 0")
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="a new folder to work in, which is kept; default: a temporary one, kept on failure",
    )
    parser.add_argument(
        "--soak",
        type=number(0.2, 10_000),
        metavar="MINUTES",
        help="instead of killing, load the service steadily: nothing it holds may grow",
    )
    parser.add_argument(
        "--rate", type=number(1, 1e6), default=50.0, metavar="R", help="of --soak, default 50/s"
    )
    parser.add_argument(
        "--dataset", default="pydocs", metavar="SPEC", help="of --soak, default pydocs"
    )
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    if args.soak is not None:
        return _soak(args)
    from dtrag_core.bench.torture.run import torture

    folder = args.dir or Path(tempfile.mkdtemp(prefix="dtrag-torture-"))
    with shown_progress() as progress:
        report = torture(folder, int(args.kills), args.seed, progress)
    if args.json:
        say_json(report.to_json())
    else:
        say(_text(report))
    if not report.ok:
        note(f"dtrag: what was found after the last kill is kept in {folder}")
        return ExitCode.ERROR
    if args.dir is None:
        shutil.rmtree(folder)
    return ExitCode.DONE


def _soak(args: argparse.Namespace) -> int:
    from dtrag_core.bench.soak import SoakPlan, run_soak
    from dtrag_core.cli.load import serve_command
    from dtrag_core.report.tables_service import slopes

    plan = SoakPlan(args.rate, 60 * args.soak, seed=args.seed)
    command = serve_command(args.dataset, workers=1)
    with shown_progress() as progress:
        result = run_soak(command, args.dataset, plan, progress)
    if args.json:
        say_json(result.to_json())
    else:
        shown = slopes(result)
        say("\n".join((table(shown.columns, shown.rows, shown.align), *shown.notes)))
    return ExitCode.DONE if result.ok else ExitCode.ERROR


def _text(report: "TortureReport") -> str:
    rows = [
        (
            name,
            str(len(phase.moments)),
            f"{phase.undisturbed_s:.2f}",
            f"{phase.updates:,}" if name != "build" else "",
            str(phase.kept) if name != "build" else "",
            str(phase.resumed) if name == "build" else "",
            f"{phase.seconds:.1f}",
        )
        for name, phase in report.phases.items()
    ]
    header = ("killed", "kills", "unkilled s", "updates", "kept", "resumed", "seconds")
    lines = [
        table(header, rows, "lrrrrrr"),
        f"{report.kills} kills, {report.acknowledged:,} updates acknowledged, "
        f"{report.missing} chunks missing, generation {report.generations}, "
        f"{report.seconds:.0f} s, seed {report.seed}",
        *report.complaints,
    ]
    return "\n".join(lines)
