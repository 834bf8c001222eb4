"""Parses the command line, runs what it names, and turns errors into exit codes.

Command modules import the library inside their functions: `dtrag --help` should not wait for it.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from dtrag_core import __version__
from dtrag_core.cli import (
    bench,
    certified,
    check,
    compare,
    index,
    keys,
    listings,
    load,
    peers,
    report,
    scaling,
    search,
    selfcheck,
    serve,
    sparse,
    torture,
)
from dtrag_core.cli.exit_codes import ExitCode
from dtrag_core.cli.output import note
from dtrag_core.errors import DtragError, UsageError

_EXIT_CODES = """\
exit codes: 0 done, whatever the verdicts; 1 error; 2 usage; with --gate also 10 if a target
FAILs, else 11 if one is INCONCLUSIVE; 130 interrupted

Indexes and walked corpora are kept under $DTRAG_HOME, else .dtrag in the current folder.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dtrag` with these arguments (those of the process) and return its exit code.

    Argument errors leave by SystemExit(2), `--help` and `--version` by SystemExit(0), as in
    argparse.
    """
    args = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        note("dtrag: interrupted; whatever was built or measured before is intact")
        return ExitCode.INTERRUPTED
    except UsageError as error:
        note(f"dtrag: {error}")
        return ExitCode.USAGE
    except BrokenPipeError:
        # The reader has gone; what is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except (DtragError, OSError) as error:
        note(f"dtrag: {error}")
        return ExitCode.ERROR
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dtrag",
        usage="dtrag [-h] [--version] COMMAND ...",
        description="Measures hybrid retrieval, legacy against optimised, and says what holds.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dtrag {__version__}")
    commands = parser.add_subparsers(
        prog="dtrag", title="commands", metavar="COMMAND ...", required=True
    )
    for module in (
        report,
        bench,
        compare,
        load,
        peers,
        scaling,
        search,
        certified,
        index,
        serve,
        keys,
        listings,
        sparse,
        selfcheck,
        torture,
        check,
    ):
        module.register(commands)
    return parser
