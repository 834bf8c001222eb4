"""The quick check as a script: what `dtrag check` does."""

import sys

from dtrag_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
