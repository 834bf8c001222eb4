"""The `dtrag` command: it parses, calls and renders; everything else is in the library."""

from dtrag_core.cli.command import main
from dtrag_core.cli.exit_codes import ExitCode

__all__ = ["ExitCode", "main"]
