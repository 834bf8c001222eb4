"""`python -m dtrag_core.cli` is `dtrag`."""

import sys

from dtrag_core.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
