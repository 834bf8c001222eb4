"""`dtrag torture`: processes that write an index are killed, and nothing may be lost."""

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
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
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
