"""`dtrag keys`: the API keys of the service."""

import argparse
from pathlib import Path
from typing import Final

from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.options import Commands, add_command, number
from dtrag_core.cli.output import note, say, table
from dtrag_core.config import cache_root

_EXAMPLES: Final = """\
  dtrag keys add phone --rate 5 --burst 20
  dtrag keys add dashboard --read-only
  dtrag keys revoke phone
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "keys",
        help="add, list and revoke the API keys of the service",
        description="Add, list and revoke the API keys of the service.",
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(
        prog="dtrag keys", title="actions", metavar="ACTION", required=True
    )
    add = add_command(actions, "add", "make a key; it is printed once and kept as a hash", _add)
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--rate", type=number(0.001, 1e6), metavar="R", help="requests/s; default: no bound"
    )
    add.add_argument(
        "--burst", type=number(1, 1e6), metavar="N", help="at once; default: a second's worth"
    )
    add.add_argument(
        "--jobs", type=number(1, 1e6), default=16, metavar="N", help="unfinished jobs, default 16"
    )
    add.add_argument("--read-only", action="store_true", help="may not change the index")
    listing = add_command(actions, "list", "show what is known of each key", _list)
    revoke = add_command(actions, "revoke", "take a key back, in running services too", _revoke)
    revoke.add_argument("name", metavar="NAME")
    for action in (add, listing, revoke):
        action.add_argument(
            "--file", type=Path, metavar="FILE", help="default $DTRAG_HOME/keys.json"
        )


def _add(args: argparse.Namespace) -> int:
    from dtrag_core.api.keys import add_key

    file = _file(args)
    key = add_key(
        file,
        args.name,
        rate=args.rate,
        burst=args.burst,
        jobs=int(args.jobs),
        read_only=args.read_only,
    )
    say(key)
    note(f"dtrag: this key is shown once; {file} keeps its hash")
    return ExitCode.DONE


def _list(args: argparse.Namespace) -> int:
    from dtrag_core.api.keys import load_keys

    rows = [
        (
            key.name,
            "-" if key.rate is None else f"{key.rate:g}",
            "-" if key.rate is None else f"{key.burst:g}",
            str(key.jobs),
            "search" if key.read_only else "search, write",
        )
        for key in load_keys(_file(args)).values()
    ]
    say(table(("name", "rate", "burst", "jobs", "may"), rows, "lrrrl"))
    return ExitCode.DONE


def _revoke(args: argparse.Namespace) -> int:
    from dtrag_core.api.keys import revoke_key

    revoke_key(_file(args), args.name)
    say(f"{args.name} is revoked")
    return ExitCode.DONE


def _file(args: argparse.Namespace) -> Path:
    return args.file or cache_root() / "keys.json"
