"""`dtrag compare A B`: whether two runs differ by more than chance and noise."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json
from dtrag_core.cli.output import say, say_json, table

if TYPE_CHECKING:
    from dtrag_core.bench.compare import Comparison, Row

_EXAMPLES = """\
  dtrag compare reports/20260101T020000Z-1a2b3c4d reports/20260102T020000Z-1a2b3c4d
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "compare", "say where two runs differ significantly", _compare, _EXAMPLES
    )
    parser.add_argument("a", type=Path, metavar="A", help="a result.json, or a run's folder")
    parser.add_argument("b", type=Path, metavar="B")
    parser.add_argument(
        "--force",
        action="store_true",
        help="compare also what was measured under other conditions, and mark it",
    )
    add_json(parser)


def _compare(args: argparse.Namespace) -> int:
    from dtrag_core.bench.compare import compare
    from dtrag_core.bench.results import read_result

    comparison = compare(read_result(args.a), read_result(args.b), force=args.force)
    if args.json:
        say_json(comparison.to_json())
    else:
        say(comparison_text(comparison))
    return ExitCode.DONE


def comparison_text(comparison: "Comparison") -> str:
    """Return the comparison as text: the table, then what it comes to."""
    header = ("metric", "A", "B", "B/A", "95 % interval", "p (Holm)", "", "why")
    lines = [
        f"A {comparison.run_a}",
        f"B {comparison.run_b}",
        table(header, [_row(row) for row in comparison.rows], "lrrrrrl"),
        f"noise floor: {comparison.floor:.1%}",
    ]
    lines += [f"FORCED, conditions differ: {each}" for each in comparison.forced]
    differing = [row.metric for row in comparison.rows if row.significant]
    if differing:
        lines.append(f"significant difference (Holm, 5 %) in: {', '.join(differing)}")
    else:
        lines.append("no significant difference (Holm, 5 %)")
    return "\n".join(lines)


def _row(row: "Row") -> tuple[str, ...]:
    both_ends = row.ratio_low is not None and row.ratio_high is not None
    return (
        row.metric,
        _number(row.a),
        _number(row.b),
        _number(row.ratio),
        f"{_number(row.ratio_low)} … {_number(row.ratio_high)}" if both_ends else "-",
        _number(row.p_holm),
        "differs" if row.significant else "same",
        row.why,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
