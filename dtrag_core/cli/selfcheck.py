"""`dtrag selfcheck`: the harness measures doubles whose truth is known."""

import argparse
from typing import TYPE_CHECKING

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json
from dtrag_core.cli.output import say, say_json, table
from dtrag_core.cli.progress import shown_progress
from dtrag_core.errors import InvalidRequestError

if TYPE_CHECKING:
    from dtrag_core.bench.claims import Claim, SelfcheckReport

_EXAMPLES = """\
  dtrag selfcheck                              a few minutes of real time, then 1,000 trials
  dtrag selfcheck --only trials --trials 100   on a virtual clock alone
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "selfcheck", "check the measuring itself against known truths", _run, _EXAMPLES
    )
    parser.add_argument("--only", choices=("real", "trials"), help="one of the two parts")
    parser.add_argument(
        "--trials", type=int, default=1_000, metavar="N", help="on a virtual clock, default 1,000"
    )
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from dtrag_core.bench.environment import cores
    from dtrag_core.bench.selfcheck import run_selfcheck, run_trials

    if args.trials < 1:
        raise InvalidRequestError(f"--trials must be at least 1, got {args.trials}")
    reports: dict[str, SelfcheckReport] = {}
    with shown_progress() as progress:
        if args.only != "trials":
            reports["real"] = run_selfcheck(progress)
        if args.only != "real":
            reports["trials"] = run_trials(args.trials, workers=cores(), progress=progress)
    ok = all(report.ok for report in reports.values())
    if args.json:
        parts = {name: report.to_json() for name, report in reports.items()}
        say_json({**parts, "ok": ok})
    else:
        say("\n\n".join(claims_text(name, report) for name, report in reports.items()))
    return ExitCode.DONE if ok else ExitCode.ERROR


def claims_text(name: str, report: "SelfcheckReport") -> str:
    """Return the claims of one part as a table, and how long they took to check."""
    titles = {"real": "in real time", "trials": "on a virtual clock"}
    rows = [_row(line) for line in report.lines]
    held = sum(line.ok for line in report.lines)
    return "\n".join(
        [
            table(("measured", "bound", "ok", f"claim, {titles[name]}"), rows, "rr"),
            f"{held} of {len(rows)} claims hold, checked in {report.seconds:.0f} s",
        ]
    )


def _row(line: "Claim") -> tuple[str, ...]:
    sign = "<=" if line.direction == "at_most" else ">="
    return (
        f"{line.measured:.4g}",
        f"{sign} {line.bound:g}",
        "yes" if line.ok else "NO",
        line.claim,
    )
