"""The comprehensive performance suite as a script: what `dtrag bench --suite full` does."""

import sys

from dtrag_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "--suite", "full", *(sys.argv[1:] or ["--dataset", "pydocs"])]))
