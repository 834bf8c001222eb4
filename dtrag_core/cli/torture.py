"""`dtrag torture`: kills processes that write an index, then soaks the service."""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json, number, seed
from dtrag_core.cli.output import note, say, say_json, table
from dtrag_core.cli.progress import shown_progress

if TYPE_CHECKING:
    from dtrag_core.bench.torture.run import TortureReport

_SHORTEST = 0.2
_EXAMPLES = """\
  dtrag torture                                  100 kills, then a soak of 30 minutes
  dtrag torture --kills 10 --soak 2
  dtrag torture --kills 1000 --soak 0 --seed 7 --dir /tmp/torture

exit code: 0 if nothing was damaged by a kill, and nothing grew or fell in the soak; else 1
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "torture",
        "kill what writes an index, check that nothing is lost, then soak the service",
        _run,
        _EXAMPLES,
    )
    parser.add_argument(
        "--kills",
        type=number(0, 1_000_000),
        default=100,
        metavar="N",
        help="builds, updates and merges to kill; default 100, 0 for none",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default 0")
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="a new folder for the kills, which is kept; default: a temporary one, kept on failure",
    )
    parser.add_argument(
        "--soak",
        type=number(0, 10_000),
        default=30.0,
        metavar="MINUTES",
        help="load the service steadily: nothing it holds may creep; default 30, 0 for none",
    )
    parser.add_argument(
        "--rate", type=number(1, 1e6), default=50.0, metavar="R", help="of the soak, default 50/s"
    )
    parser.add_argument(
        "--dataset", default="pydocs", metavar="SPEC", help="of the soak, default pydocs"
    )
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    _check(args)
    parts = {
        name: part(args)
        for name, part, asked in (("kills", _kill, args.kills), ("soak", _soak, args.soak))
        if asked
    }
    failed = [name for name, told in parts.items() if not told["ok"]]
    if args.json:
        say_json({"ok": not failed, "kills": None, "soak": None, **parts})
    else:
        say(f"verdict: FAIL ({', '.join(failed)})" if failed else "verdict: PASS")
    return ExitCode.ERROR if failed else ExitCode.DONE


def _check(args: argparse.Namespace) -> None:
    """Refuse before the kills what the soak could not do after them."""
    from dtrag_core.datasets.registry import open_dataset
    from dtrag_core.errors import InvalidRequestError

    if not args.kills and not args.soak:
        raise InvalidRequestError("--kills 0 and --soak 0 leave nothing to do; give one of them")
    if 0 < args.soak < _SHORTEST:
        raise InvalidRequestError(
            f"--soak {args.soak:g} is too short for a slope; give {_SHORTEST:g} minutes or more, "
            "or 0 for none"
        )
    if args.soak:
        open_dataset(args.dataset)


def _kill(args: argparse.Namespace) -> dict[str, Any]:
    from dtrag_core.bench.torture.run import torture

    folder = args.dir or Path(tempfile.mkdtemp(prefix="dtrag-torture-"))
    with shown_progress() as progress:
        report = torture(folder, int(args.kills), args.seed, progress)
    if not args.json:
        say(_text(report) + "\n")
    if not report.ok:
        note(f"dtrag: what was found after the last kill is kept in {folder}")
    elif args.dir is None:
        shutil.rmtree(folder)
    return report.to_json()


def _soak(args: argparse.Namespace) -> dict[str, Any]:
    from dtrag_core.bench.service_process import serve_command
    from dtrag_core.bench.soak import SoakPlan, run_soak
    from dtrag_core.errors import MeasuringError
    from dtrag_core.report.tables_service import slopes

    plan = SoakPlan(args.rate, 60 * args.soak, seed=args.seed)
    command = serve_command("--dataset", args.dataset, "--no-cache")
    try:
        with shown_progress() as progress:
            result = run_soak(command, args.dataset, plan, progress)
    except MeasuringError as error:  # what the kills found is told all the same
        if not args.json:
            say(f"soak: {error}\n")
        return {"ok": False, "complaints": [str(error)]}
    if not args.json:
        shown = slopes(result)
        told = table(shown.columns, shown.rows, shown.align)
        say("\n".join((told, *shown.notes, *result.complaints)) + "\n")
    return result.to_json()


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
