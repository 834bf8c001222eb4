"""`dtrag check`: in seconds, whether everything is there and wired."""

import argparse
from dataclasses import asdict

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, add_json
from dtrag_core.cli.output import say, say_json, table


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "check",
        "check in seconds that modules import, functions exist and searches are wired",
        _check,
    )
    add_json(parser)


def _check(args: argparse.Namespace) -> int:
    from dtrag_core.cli.quick_check import run_quick_check

    items = run_quick_check()
    failed = [item for item in items if not item.ok]
    if args.json:
        say_json({"items": [{**asdict(item), "ok": item.ok} for item in items], "ok": not failed})
    else:
        rows = [(i.id, "ok" if i.ok else "FAIL", f"{i.what} {i.problem}".rstrip()) for i in items]
        say(table(("item", "", "what"), rows))
        say(f"{len(items) - len(failed)} of {len(items)} items ok")
    return ExitCode.ERROR if failed else ExitCode.DONE
